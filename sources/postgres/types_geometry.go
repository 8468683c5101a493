package postgres

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/tidemill/tidemill/connect"
)

// geometryTypes are those of PostGIS. Their values are extended well-known binary:
// the text form has it as hex digits, the binary form as it is.
func geometryTypes() []typeEntry {
	entry := func(name string, s *connect.Schema) typeEntry {
		cd := codec{
			schema: s,
			decode: func(a *arena, text []byte) (connect.Value, error) {
				wkb, err := hex.AppendDecode(a.tail(len(text)/2+1), text)
				if err != nil || len(wkb) < 5 {
					return connect.Value{}, badText(name, text)
				}
				return postgisGeometry(a, s, a.keep(wkb)), nil
			},
			binary: func(a *arena, b []byte) (connect.Value, error) {
				if len(b) < 5 {
					return connect.Value{}, badBinary(name, b)
				}
				return postgisGeometry(a, s, a.copy(b)), nil
			},
		}
		return typeEntry{name: name, extension: true, compile: func(*modes, int32) codec { return cd }}
	}
	return []typeEntry{entry("geometry", geometrySchema()), entry("geography", geographySchema())}
}

func geographySchema() *connect.Schema {
	return connect.SchemaDef{
		Kind: connect.KindStruct, Name: "io.debezium.data.geometry.Geography", Version: 1, Doc: "Geography",
		Fields: []connect.Field{
			{Name: "wkb", Schema: connect.Of(connect.KindBytes)},
			{Name: "srid", Schema: connect.Of(connect.KindInt32).AsOptional()},
		},
	}.MustBuild()
}

// postgisGeometry makes a value of well-known binary. The reference system is taken
// from its header when it has one.
func postgisGeometry(a *arena, s *connect.Schema, wkb []byte) connect.Value {
	values := a.row(len(s.Fields()))
	values[0] = connect.Bytes(wkb)
	var order binary.ByteOrder = binary.BigEndian
	if wkb[0] == 1 {
		order = binary.LittleEndian
	}
	const hasSRID = 0x20000000
	if order.Uint32(wkb[1:])&hasSRID != 0 && len(wkb) >= 9 {
		if srid := int32(order.Uint32(wkb[5:])); srid != 0 {
			values[1] = connect.Int32(srid)
		}
	}
	return a.structure(s, values)
}
