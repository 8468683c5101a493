package registry

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hamba/avro/v2"
)

// level is a compatibility level: which earlier versions a new schema is held
// against, and in which direction.
type level struct {
	backward   bool // readers with the new schema read what the old one wrote
	forward    bool // readers with the old schema read what the new one writes
	transitive bool // against every earlier version, not the latest alone
}

const defaultLevel = "BACKWARD"

// levelNamed returns the level of a name in any case.
func levelNamed(name string) (l level, upper string, ok bool) {
	upper = strings.ToUpper(name)
	kind, transitive := strings.CutSuffix(upper, "_TRANSITIVE")
	switch kind {
	case "NONE":
		ok = !transitive
	case "BACKWARD":
		l, ok = level{backward: true, transitive: transitive}, true
	case "FORWARD":
		l, ok = level{forward: true, transitive: transitive}, true
	case "FULL":
		l, ok = level{backward: true, forward: true, transitive: transitive}, true
	}
	return l, upper, ok
}

// faults returns what keeps a new schema from following an old one.
func (l level) faults(newer, older avro.Schema) (messages []string) {
	if l.backward {
		c := comparison{readerName: "new", writerName: "old", seen: map[[2]avro.Schema][]string{}}
		messages = append(messages, c.check(newer, older, "")...)
	}
	if l.forward {
		c := comparison{readerName: "old", writerName: "new", seen: map[[2]avro.Schema][]string{}}
		messages = append(messages, c.check(older, newer, "")...)
	}
	return messages
}

// comparison checks whether data of a writer's schema can be read with a
// reader's schema, by the rules of the Avro specification ("Schema
// Resolution"), and gathers all faults with the path of the field.
//
// Besides, the scale of a decimal must stay: Avro lets an unknown logical type
// pass, but every reader would be wrong by a power of ten.
type comparison struct {
	readerName, writerName string
	seen                   map[[2]avro.Schema][]string // a pair that is under way has no faults yet
}

// check compares two schemas that stand at path, the dotted names of fields.
func (c comparison) check(reader, writer avro.Schema, path string) []string {
	reader, writer = resolved(reader), resolved(writer)
	pair := [2]avro.Schema{reader, writer}
	if faults, ok := c.seen[pair]; ok {
		return faults
	}
	c.seen[pair] = nil
	faults := c.compare(reader, writer, path)
	c.seen[pair] = faults
	return faults
}

func (c comparison) compare(reader, writer avro.Schema, path string) []string {
	if w, ok := writer.(*avro.UnionSchema); ok {
		var faults []string
		for _, branch := range w.Types() {
			faults = append(faults, c.check(reader, branch, path)...)
		}
		return faults
	}
	if r, ok := reader.(*avro.UnionSchema); ok {
		return c.compareUnion(r, writer, path)
	}
	if reader.Type() != writer.Type() {
		if promotes(writer.Type(), reader.Type()) {
			return nil
		}
		return c.fault("TYPE_MISMATCH", path, "is %s in the %s schema and %s in the %s schema",
			describe(reader), c.readerName, describe(writer), c.writerName)
	}
	switch r := reader.(type) {
	case *avro.RecordSchema:
		return c.compareRecords(r, writer.(*avro.RecordSchema), path)
	case *avro.EnumSchema:
		return c.compareEnums(r, writer.(*avro.EnumSchema), path)
	case *avro.FixedSchema:
		w := writer.(*avro.FixedSchema)
		faults := append(c.compareNames(r, w, path), c.compareScales(r, w, path)...)
		if r.Size() != w.Size() {
			faults = append(faults, c.fault("FIXED_SIZE_MISMATCH", path, "has %d bytes in the %s schema and %d in the %s schema",
				r.Size(), c.readerName, w.Size(), c.writerName)...)
		}
		return faults
	case *avro.ArraySchema:
		return c.check(r.Items(), writer.(*avro.ArraySchema).Items(), join(path, "items"))
	case *avro.MapSchema:
		return c.check(r.Values(), writer.(*avro.MapSchema).Values(), join(path, "values"))
	default:
		return c.compareScales(reader, writer, path)
	}
}

// compareUnion looks for a branch that can read the writer's type. When there
// is none, the faults of the branch of the same name or kind say more than
// that none fits.
func (c comparison) compareUnion(reader *avro.UnionSchema, writer avro.Schema, path string) []string {
	var closest []string
	for _, branch := range reader.Types() {
		branch = resolved(branch)
		faults := c.check(branch, writer, path)
		if len(faults) == 0 {
			return nil
		}
		if branch.Type() == writer.Type() && sameName(branch, writer) {
			closest = faults
		}
	}
	if closest != nil {
		return closest
	}
	return c.fault("MISSING_UNION_BRANCH", path, "may be %s in the %s schema, which the union in the %s schema lacks",
		describe(writer), c.writerName, c.readerName)
}

func (c comparison) compareRecords(reader, writer *avro.RecordSchema, path string) []string {
	faults := c.compareNames(reader, writer, path)
	for _, field := range reader.Fields() {
		at := join(path, field.Name())
		i := slices.IndexFunc(writer.Fields(), func(w *avro.Field) bool {
			return w.Name() == field.Name() || slices.Contains(field.Aliases(), w.Name())
		})
		switch {
		case i >= 0:
			faults = append(faults, c.check(field.Type(), writer.Fields()[i].Type(), at)...)
		case !field.HasDefault():
			faults = append(faults, c.fault("READER_FIELD_MISSING_DEFAULT_VALUE", at,
				"has no default value in the %s schema and is missing in the %s schema", c.readerName, c.writerName)...)
		}
	}
	return faults
}

func (c comparison) compareEnums(reader, writer *avro.EnumSchema, path string) []string {
	faults := c.compareNames(reader, writer, path)
	if reader.HasDefault() {
		return faults
	}
	var missing []string
	for _, symbol := range writer.Symbols() {
		if !slices.Contains(reader.Symbols(), symbol) {
			missing = append(missing, symbol)
		}
	}
	if len(missing) == 0 {
		return faults
	}
	return append(faults, c.fault("MISSING_ENUM_SYMBOLS", path, "lacks the symbols %s of the %s schema in the %s schema",
		strings.Join(missing, ", "), c.writerName, c.readerName)...)
}

func (c comparison) compareNames(reader, writer avro.NamedSchema, path string) []string {
	if sameName(reader, writer) {
		return nil
	}
	return c.fault("NAME_MISMATCH", path, "is named %s in the %s schema and %s in the %s schema",
		reader.FullName(), c.readerName, writer.FullName(), c.writerName)
}

func (c comparison) compareScales(reader, writer avro.Schema, path string) []string {
	r, ok1 := decimal(reader)
	w, ok2 := decimal(writer)
	if !ok1 || !ok2 || r.Scale() == w.Scale() {
		return nil
	}
	return c.fault("DECIMAL_SCALE_MISMATCH", path, "is a decimal with scale %d in the %s schema and %d in the %s schema",
		r.Scale(), c.readerName, w.Scale(), c.writerName)
}

// fault writes one message in the form that clients of the API show.
func (c comparison) fault(kind, path, format string, args ...any) []string {
	what := "the type"
	if path != "" {
		what = fmt.Sprintf("the field '%s'", path)
	}
	return []string{fmt.Sprintf("{errorType:'%s', description:'%s %s', additionalInfo:'%s'}", kind, what, fmt.Sprintf(format, args...), path)}
}

// sameName reports whether the reader's type stands for the writer's: by its
// unqualified name, or by an alias. Types without a name stand for themselves.
func sameName(reader, writer avro.Schema) bool {
	r, ok1 := reader.(avro.NamedSchema)
	w, ok2 := writer.(avro.NamedSchema)
	return !ok1 || !ok2 || r.Name() == w.Name() || slices.Contains(r.Aliases(), w.FullName())
}

// promotes reports whether the specification lets a reader take the one
// primitive type for the other.
func promotes(from, to avro.Type) bool {
	switch from {
	case avro.Int:
		return to == avro.Long || to == avro.Float || to == avro.Double
	case avro.Long:
		return to == avro.Float || to == avro.Double
	case avro.Float:
		return to == avro.Double
	case avro.String:
		return to == avro.Bytes
	case avro.Bytes:
		return to == avro.String
	default:
		return false
	}
}

// decimal returns the decimal that a schema stands for.
func decimal(s avro.Schema) (*avro.DecimalLogicalSchema, bool) {
	holder, ok := s.(avro.LogicalTypeSchema)
	if !ok || holder.Logical() == nil {
		return nil, false
	}
	d, ok := holder.Logical().(*avro.DecimalLogicalSchema)
	return d, ok
}

// resolved follows a reference to a named type.
func resolved(s avro.Schema) avro.Schema {
	if ref, ok := s.(*avro.RefSchema); ok {
		return ref.Schema()
	}
	return s
}

// describe names a type for a message.
func describe(s avro.Schema) string {
	if named, ok := s.(avro.NamedSchema); ok {
		return string(s.Type()) + " " + named.FullName()
	}
	return string(s.Type())
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
