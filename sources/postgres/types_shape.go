package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// shapeTypes are points, geometries and vectors.
func shapeTypes() []typeEntry {
	return []typeEntry{
		{name: "point", compile: pointCodec},
		{name: "geometry", extension: true, compile: func(*modes, int32) codec { return geometryCodec("io.debezium.data.geometry.Geometry") }},
		{name: "geography", extension: true, compile: func(*modes, int32) codec { return geometryCodec("io.debezium.data.geometry.Geography") }},
		{name: "vector", extension: true, compile: func(*modes, int32) codec {
			return vectorCodec("io.debezium.data.DoubleVector", connect.KindFloat64, decodeFloat8)
		}},
		{name: "halfvec", extension: true, compile: func(*modes, int32) codec {
			return vectorCodec("io.debezium.data.FloatVector", connect.KindFloat32, decodeFloat4)
		}},
	}
}

// pointCodec maps (x,y) to a struct that also has the point as well-known binary.
func pointCodec(*modes, int32) codec {
	float := connect.Of(connect.KindFloat64)
	s := connect.SchemaDef{
		Kind: connect.KindStruct, Name: "io.debezium.data.geometry.Point", Version: 1, Doc: "Geometry (POINT)",
		Fields: []connect.Field{
			{Name: "x", Schema: float}, {Name: "y", Schema: float},
			{Name: "wkb", Schema: connect.Of(connect.KindBytes).AsOptional()},
			{Name: "srid", Schema: connect.Of(connect.KindInt32).AsOptional()},
		},
	}.MustBuild()
	return codec{schema: s, decode: func(a *arena, text []byte) (connect.Value, error) {
		x, y, ok := parsePoint(text)
		if !ok {
			return connect.Value{}, badText("point", text)
		}
		wkb := append(a.tail(21), 1, 1, 0, 0, 0) // Little-endian, a point.
		wkb = binary.LittleEndian.AppendUint64(wkb, math.Float64bits(x))
		wkb = binary.LittleEndian.AppendUint64(wkb, math.Float64bits(y))
		values := a.row(4)
		values[0], values[1], values[2] = connect.Float64(x), connect.Float64(y), connect.Bytes(a.keep(wkb))
		return a.structure(s, values), nil
	}}
}

func parsePoint(text []byte) (x, y float64, ok bool) {
	if len(text) < 5 || text[0] != '(' || text[len(text)-1] != ')' {
		return 0, 0, false
	}
	first, second, ok := bytes.Cut(text[1:len(text)-1], []byte{','})
	x, errX := strconv.ParseFloat(view(first), 64)
	y, errY := strconv.ParseFloat(view(second), 64)
	return x, y, ok && errX == nil && errY == nil
}

// geometryCodec passes on PostGIS's extended well-known binary, which the text form
// has as hex digits; the reference system is taken from its header when it has one.
func geometryCodec(name string) codec {
	s := semanticGeometry(name)
	return codec{schema: s, decode: func(a *arena, text []byte) (connect.Value, error) {
		wkb, err := hex.AppendDecode(a.tail(len(text)/2+1), text)
		if err != nil || len(wkb) < 5 {
			return connect.Value{}, badText("geometry", text)
		}
		wkb = a.keep(wkb)
		values := a.row(2)
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
		return a.structure(s, values), nil
	}}
}

func semanticGeometry(name string) *connect.Schema {
	return connect.SchemaDef{
		Kind: connect.KindStruct, Name: name, Version: 1,
		Fields: []connect.Field{
			{Name: "wkb", Schema: connect.Of(connect.KindBytes)},
			{Name: "srid", Schema: connect.Of(connect.KindInt32).AsOptional()},
		},
	}.MustBuild()
}

// vectorCodec reads pgvector's [1,2,3].
func vectorCodec(name string, k connect.Kind, elem decodeFunc) codec {
	s := connect.SchemaDef{Kind: connect.KindArray, Name: name, Version: 1, Elem: connect.Of(k)}.MustBuild()
	return codec{schema: s, decode: func(a *arena, text []byte) (connect.Value, error) {
		if len(text) < 2 || text[0] != '[' || text[len(text)-1] != ']' {
			return connect.Value{}, badText("vector", text)
		}
		body := text[1 : len(text)-1]
		elems := a.row(bytes.Count(body, []byte{','}) + 1)
		for i := range elems {
			var item []byte
			item, body, _ = bytes.Cut(body, []byte{','})
			v, err := elem(a, item)
			if err != nil {
				return connect.Value{}, err
			}
			elems[i] = v
		}
		return connect.Array(elems), nil
	}}
}
