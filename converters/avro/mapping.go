package avro

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// The names by which Confluent's converter marks what Avro cannot say itself.
const (
	namespace   = "io.confluent.connect.avro"
	defaultName = namespace + ".ConnectDefault"
	unionName   = namespace + ".Union"
	entryName   = namespace + ".MapEntry"

	propName     = "connect.name"
	propDoc      = "connect.doc"
	propVersion  = "connect.version"
	propParams   = "connect.parameters"
	propDefault  = "connect.default"
	propType     = "connect.type"
	propInternal = "connect.internal.type"
	propLogical  = "logicalType"

	paramFixedSize    = "connect.fixed.size"
	paramEnum         = namespace + ".Enum"
	paramEnumDoc      = namespace + ".enum.doc."
	paramEnumDefault  = namespace + ".enum.default."
	paramRecordDoc    = namespace + ".record.doc"
	paramFieldDoc     = namespace + ".field.doc."
	paramFieldDefault = namespace + ".field.default"
	// Parameters whose names begin so are properties of the Avro schema.
	paramAvro = "avro"

	// unknownPrecision is the precision of decimals that do not say theirs.
	unknownPrecision = 64
)

// mapping are the settings that change how Connect's schemas and Avro's stand for
// each other.
type mapping struct {
	metadata       bool // connect.meta.data
	enhanced       bool // enhanced.avro.schema.support
	scrub          bool // scrub.invalid.names
	optionalKeys   bool // allow.optional.map.keys
	flatten        bool // flatten.singleton.unions
	ignoreDefaults bool // ignore.default.for.nullables
}

// isUnion tells whether s stands for an Avro union of several types: a struct of
// which one field is there.
func isUnion(s *connect.Schema) bool {
	return s != nil && s.Kind() == connect.KindStruct && s.Name() == unionName
}

// isFixed tells whether s stands for Avro's fixed.
func isFixed(s *connect.Schema) bool {
	_, ok := s.Param(paramFixedSize)
	return ok && s.Kind() == connect.KindBytes && s.Name() != ""
}

// isEnum tells whether s stands for Avro's enum.
func (m mapping) isEnum(s *connect.Schema) bool {
	_, ok := s.Param(paramEnum)
	return ok && m.enhanced && s.Kind() == connect.KindString
}

// plainMap tells whether a map schema is an Avro map; others become arrays of
// entries.
func (m mapping) plainMap(s *connect.Schema) bool {
	return s.Key().Kind() == connect.KindString && (!s.Key().Optional() || m.optionalKeys)
}

// memberName is the name of the field that stands for a member of a union.
func (m mapping) memberName(n *node) string {
	if !n.named() {
		return n.typ.String()
	}
	if m.enhanced {
		return n.name
	}
	_, name := splitName(n.name)
	return name
}

// scrubbed returns name with what Avro does not allow in names replaced, if the
// settings say so. Each part of a dotted name is scrubbed by itself.
func (m mapping) scrubbed(name string) string {
	if !m.scrub {
		return name
	}
	parts := strings.Split(name, ".")
	for i, part := range parts {
		parts[i] = scrub(part)
	}
	return strings.Join(parts, ".")
}

// scrub replaces what Avro does not allow in a name as Confluent's converter does:
// by the hexadecimal digits of its UTF-8 after underscores, spaces by one, with an x
// before a leading digit.
func scrub(name string) string {
	if name == "" || validName(name) == nil {
		return name
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	if name[0] >= '0' && name[0] <= '9' {
		b.WriteByte('x')
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case nameByte(c):
			b.WriteByte(c)
		case c == ' ' || c == '-' || c == '*' || c == '.':
			b.WriteByte('_')
		default:
			b.WriteByte('_')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

var errEmptyName = errors.New("a name is empty")

// validName checks one part of a name: letters, digits and underscores, no digit
// first.
func validName(name string) error {
	if name == "" {
		return errEmptyName
	}
	for i := 0; i < len(name); i++ {
		if !nameByte(name[i]) || i == 0 && name[0] >= '0' && name[0] <= '9' {
			return &connect.Error{
				Code: "avro.name", Class: connect.ClassFatal, Place: name,
				Message: "Avro allows letters, digits and underscores in a name, and no digit first",
				Mend:    "set scrub.invalid.names=true for the converter, or schema.name.adjustment.mode=avro and field.name.adjustment.mode=avro for the connector",
			}
		}
	}
	return nil
}

// validFullName checks a dotted name.
func validFullName(full string) error {
	for part := range strings.SplitSeq(full, ".") {
		if err := validName(part); err != nil {
			return fmt.Errorf("name %q: %w", full, err)
		}
	}
	return nil
}
