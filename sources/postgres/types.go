package postgres

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tidemill/tidemill/connect"
)

// decodeFunc reads the text form of one value. text is valid during the call only:
// what is kept of it is copied into the arena.
type decodeFunc func(a *arena, text []byte) (connect.Value, error)

// codec is a column's type, compiled: the schema of its values and how to read one.
type codec struct {
	schema *connect.Schema // Required; the plan makes it optional.
	decode decodeFunc
	// binary reads the binary form of a value and gives the same one. Nil: only the
	// text form of this type is understood.
	binary decodeFunc
	// print appends the text form of a value in binary form, as the server would write
	// it. Nil: that is not known here. Ranges are made of it.
	print printFunc
	// missing is what stands for a value the log does not hold because it is stored
	// apart and did not change. Null: derived from the schema.
	missing connect.Value
	// padded is the length of text that is filled with spaces, 0 for none.
	padded int
	// nullable tells that a value may become null, so that a field of it is optional
	// even where its column is not.
	nullable bool
}

// printFunc appends the text form of a value in binary form.
type printFunc func(dst, b []byte) ([]byte, error)

// typeInfo is what pg_type says of a type.
type typeInfo struct {
	oid          uint32
	schema, name string
	kind         byte // typtype: b base, c composite, d domain, e enum, r range, m multirange, p pseudo.
	array        bool
	elem         uint32
	delim        byte
	base         uint32
	baseMod      int32
	dims         int      // Of a domain over an array, as it was declared.
	labels       []string // Of an enum.
	subtype      uint32   // Of a range; of a multirange, the range.
	attributes   []attribute
	// unchecked tells that the database does not know how its text is encoded
	// (SQL_ASCII), so that it may hold and send any bytes as text.
	unchecked bool
}

// attribute is one field of a composite type.
type attribute struct {
	name string
	typ  uint32
	mod  int32
	dims int
}

func (t *typeInfo) builtin() bool { return t.schema == "pg_catalog" }

// typeEntry is one PostgreSQL type. To add a type, add an entry to its family's
// list; allTypes gathers them.
type typeEntry struct {
	name string
	// extension entries are found in any schema, others in pg_catalog only.
	extension bool
	compile   func(m *modes, mod int32) codec
}

// allTypes lists every type that has a mapping of its own, by family. Enums,
// ranges, domains and arrays are built from what pg_type says of them.
func allTypes() map[string]typeEntry {
	all := map[string]typeEntry{}
	for _, family := range [][]typeEntry{
		numberTypes(), textTypes(), netTypes(), binaryTypes(), timeTypes(), shapeTypes(), geometryTypes(), vectorTypes(),
	} {
		for _, e := range family {
			all[e.name] = e
		}
	}
	return all
}

// typeTable compiles types. It keeps what it has learnt of the server's types; it
// is used by one goroutine at a time.
type typeTable struct {
	modes   *modes
	entries map[string]typeEntry
	infos   map[uint32]*typeInfo
	// load asks the server about a type; nil with a nil error when there is none.
	load func(oid uint32) (*typeInfo, error)
	// asked are enum labels that were not known and asked for: one that was renamed
	// since is not in the catalogue any more.
	asked map[string]bool
	depth int // Of the type that is being compiled.
}

func newTypeTable(m *modes, load func(uint32) (*typeInfo, error)) *typeTable {
	return &typeTable{modes: m, entries: allTypes(), infos: map[uint32]*typeInfo{}, load: load, asked: map[string]bool{}}
}

// errUnknownType says that a type has no mapping.
var errUnknownType = errors.New("no mapping for this type")

// forget drops what changes about a type over time, the labels of an enum, so that
// it is asked for again.
func (t *typeTable) forget() {
	for oid, info := range t.infos {
		if info == nil || !info.builtin() {
			delete(t.infos, oid)
		}
	}
}

func (t *typeTable) info(oid uint32) (*typeInfo, error) {
	if info, ok := t.infos[oid]; ok {
		return info, nil
	}
	info, err := t.load(oid)
	if err != nil {
		return nil, err
	}
	t.infos[oid] = info
	return info, nil
}

// compile returns the codec for a type with its modifier; dims are the dimensions
// that an array is declared with, 0 when that is not known. The error wraps
// errUnknownType when the type has no mapping.
func (t *typeTable) compile(oid uint32, mod int32, dims int) (codec, error) {
	info, err := t.info(oid)
	if err != nil {
		return codec{}, err
	}
	if info == nil {
		return codec{}, fmt.Errorf("type %d is not in the catalogue any more: %w", oid, errUnknownType)
	}
	// Types that contain themselves cannot be made today; the bound keeps a server
	// that allows it from taking us round in circles.
	const mostDepth = 40
	if t.depth++; t.depth > mostDepth {
		return codec{}, fmt.Errorf("%s.%s is nested too deeply: %w", info.schema, info.name, errUnknownType)
	}
	defer func() { t.depth-- }()
	switch {
	case info.array:
		return t.compileArray(info, mod, dims)
	case info.kind == 'd':
		if mod < 0 {
			mod = info.baseMod
		}
		if info.dims > 0 {
			dims = info.dims
		}
		return t.compile(info.base, mod, dims)
	case info.kind == 'e':
		return t.enumCodec(info), nil
	case info.kind == 'r':
		return t.compileRange(info)
	case info.kind == 'm':
		return t.compileMultirange(info)
	case info.kind == 'c':
		return t.compileComposite(info)
	}
	if e, ok := t.entries[info.name]; ok && (info.builtin() || e.extension) {
		cd := e.compile(t.modes, mod)
		if info.unchecked {
			cd = cd.checked()
		}
		return cd, nil
	}
	return codec{}, fmt.Errorf("%s.%s: %w", info.schema, info.name, errUnknownType)
}

var errEncoding = errors.New("the text is not encoded in UTF-8, and the database, whose encoding is SQL_ASCII, does not say how it is")

// checked returns the codec for a database that may send anything as text. What is
// not valid text cannot be converted, where otherwise the server sees to it.
func (cd codec) checked() codec {
	if k := cd.schema.Kind(); k != connect.KindString && k != connect.KindMap {
		return cd
	}
	read := cd.decode
	cd.decode = func(a *arena, text []byte) (connect.Value, error) {
		if !utf8.Valid(text) {
			return connect.Value{}, errEncoding
		}
		return read(a, text)
	}
	// The text form is the one that can be looked at before it is taken apart.
	cd.binary, cd.print = nil, nil
	return cd
}

func (t *typeTable) enumCodec(info *typeInfo) codec {
	s := connect.SchemaDef{
		Kind: connect.KindString, Name: "io.debezium.data.Enum", Version: 1,
		Params: []connect.Param{{Key: "allowed", Value: strings.Join(info.labels, ",")}},
	}.MustBuild()
	labels := make([]connect.Value, len(info.labels))
	for i, l := range info.labels {
		labels[i] = connect.String(l)
	}
	decode := func(a *arena, text []byte) (connect.Value, error) {
		for i := range labels {
			if info.labels[i] == view(text) {
				return labels[i], nil
			}
		}
		if t.asked[view(text)] {
			return a.text(text), nil
		}
		return connect.Value{}, &staleError{string(text)}
	}
	return codec{schema: s, decode: decode, binary: decode, print: appendRaw}
}

// refresh asks for types anew because of an enum's label.
func (t *typeTable) refresh(label string) {
	t.asked[label] = true
	t.forget()
}

// semantic returns a required schema of a kind with a name, in version 1.
func semantic(k connect.Kind, name string, params ...connect.Param) *connect.Schema {
	return connect.SchemaDef{Kind: k, Name: name, Version: 1, Params: params}.MustBuild()
}

// badText is the error of a value that is not in the form its type has.
func badText(typ string, text []byte) error {
	const most = 60
	if len(text) > most {
		text = text[:most]
	}
	return fmt.Errorf("%q is not a value of type %s as it is read here", text, typ)
}

// badBinary is the error of a value that is not in the binary form its type has.
func badBinary(typ string, b []byte) error {
	const most = 16
	if len(b) > most {
		return fmt.Errorf("%x… (%d bytes) is not the binary form of %s", b[:most], len(b), typ)
	}
	return fmt.Errorf("%x is not the binary form of %s", b, typ)
}
