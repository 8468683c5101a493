package postgres

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// shapeTypes are the geometric types of the server. What has corners is a geometry in
// well-known binary (OGC Simple Features, part 1), with the name of the type beside
// it; points, circles and lines are structs of their numbers.
func shapeTypes() []typeEntry {
	shape := func(name string, s *connect.Schema, value shapeFunc) typeEntry {
		cd := codec{
			schema: s,
			decode: func(a *arena, text []byte) (connect.Value, error) {
				numbers, ok := parseNumbers(a.floats[:0], text)
				a.floats = numbers
				if ok {
					if v, fits := value(a, numbers, len(text) > 0 && text[0] == '['); fits {
						return v, nil
					}
				}
				return connect.Value{}, badText(name, text)
			},
			binary: func(a *arena, b []byte) (connect.Value, error) {
				numbers, open, ok := readNumbers(a.floats[:0], name, b)
				a.floats = numbers
				if ok {
					if v, fits := value(a, numbers, open); fits {
						return v, nil
					}
				}
				return connect.Value{}, badBinary(name, b)
			},
		}
		return typeEntry{name: name, compile: func(*modes, int32) codec { return cd }}
	}
	point, geometry := pointSchema(), geometrySchema()
	return []typeEntry{
		shape("point", point, pointShape(point)),
		shape("circle", circleSchema(point), circleShape(circleSchema(point), point)),
		shape("line", lineSchema(), lineShape(lineSchema())),
		shape("box", geometry, boxShape(geometry)),
		shape("lseg", geometry, pathShape(geometry, "lseg")),
		shape("path", geometry, pathShape(geometry, "path")),
		shape("polygon", geometry, polygonShape(geometry)),
	}
}

// shapeFunc makes a value of a shape's numbers, and tells whether there are as many
// as there must be; open is that of a path.
type shapeFunc func(a *arena, numbers []float64, open bool) (connect.Value, bool)

// parseNumbers reads the numbers between the brackets, parentheses and commas of a
// shape's text.
func parseNumbers(dst []float64, text []byte) ([]float64, bool) {
	from := -1
	for i, c := range text {
		switch c {
		case '(', ')', '[', ']', '{', '}', '<', '>', ',':
			if from >= 0 {
				f, err := strconv.ParseFloat(view(text[from:i]), 64)
				if err != nil {
					return nil, false
				}
				dst, from = append(dst, f), -1
			}
		default:
			if from < 0 {
				from = i
			}
		}
	}
	return dst, from < 0
}

// readNumbers reads the binary form: the numbers, behind a flag that a path is closed
// and the number of points of paths and polygons.
func readNumbers(dst []float64, name string, b []byte) (numbers []float64, open, ok bool) {
	if name == "path" {
		if len(b) < 1 {
			return nil, false, false
		}
		open, b = b[0] == 0, b[1:]
	}
	if name == "path" || name == "polygon" {
		if len(b) < 4 || int64(binary.BigEndian.Uint32(b))*16 != int64(len(b)-4) {
			return nil, false, false
		}
		b = b[4:]
	}
	if len(b)%8 != 0 {
		return nil, false, false
	}
	for ; len(b) > 0; b = b[8:] {
		dst = append(dst, float8(b))
	}
	return dst, open, true
}

func pointSchema() *connect.Schema {
	float := connect.Of(connect.KindFloat64)
	return connect.SchemaDef{
		Kind: connect.KindStruct, Name: "io.debezium.data.geometry.Point", Version: 1, Doc: "Geometry (POINT)",
		Fields: []connect.Field{
			{Name: "x", Schema: float}, {Name: "y", Schema: float},
			{Name: "wkb", Schema: connect.Of(connect.KindBytes).AsOptional()},
			{Name: "srid", Schema: connect.Of(connect.KindInt32).AsOptional()},
		},
	}.MustBuild()
}

func geometrySchema() *connect.Schema {
	str := connect.Of(connect.KindString)
	return connect.SchemaDef{
		Kind: connect.KindStruct, Name: "io.debezium.data.geometry.Geometry", Version: 2, Doc: "Geometry",
		Fields: []connect.Field{
			{Name: "wkb", Schema: connect.Of(connect.KindBytes)},
			{Name: "srid", Schema: connect.Of(connect.KindInt32).AsOptional()},
			{Name: "extensions", Schema: connect.SchemaDef{Kind: connect.KindMap, Key: str, Elem: str, Optional: true}.MustBuild()},
		},
	}.MustBuild()
}

func circleSchema(point *connect.Schema) *connect.Schema {
	return connect.SchemaDef{
		Kind: connect.KindStruct, Name: "io.debezium.data.geometry.Circle", Version: 1, Doc: "Geometry (CIRCLE)",
		Fields: []connect.Field{{Name: "center", Schema: point}, {Name: "radius", Schema: connect.Of(connect.KindFloat64)}},
	}.MustBuild()
}

func lineSchema() *connect.Schema {
	float := connect.Of(connect.KindFloat64)
	return connect.SchemaDef{
		Kind: connect.KindStruct, Name: "io.debezium.data.geometry.Line", Version: 1, Doc: "Geometry (LINE)",
		Fields: []connect.Field{{Name: "a", Schema: float}, {Name: "b", Schema: float}, {Name: "c", Schema: float}},
	}.MustBuild()
}

// The types of well-known binary.
const wkbPoint, wkbLineString, wkbPolygon = 1, 2, 3

// appendWKB begins a geometry in little-endian form.
func appendWKB(dst []byte, typ uint32) []byte {
	return binary.LittleEndian.AppendUint32(append(dst, 1), typ)
}

func appendCoordinates(dst []byte, numbers ...float64) []byte {
	for _, f := range numbers {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
	}
	return dst
}

func pointShape(s *connect.Schema) shapeFunc {
	return func(a *arena, n []float64, _ bool) (connect.Value, bool) {
		if len(n) != 2 {
			return connect.Value{}, false
		}
		wkb := a.keep(appendCoordinates(appendWKB(a.tail(21), wkbPoint), n...))
		values := a.row(4)
		values[0], values[1], values[2] = connect.Float64(n[0]), connect.Float64(n[1]), connect.Bytes(wkb)
		return a.structure(s, values), true
	}
}

func circleShape(s, point *connect.Schema) shapeFunc {
	center := pointShape(point)
	return func(a *arena, n []float64, _ bool) (connect.Value, bool) {
		if len(n) != 3 {
			return connect.Value{}, false
		}
		values := a.row(2)
		values[0], _ = center(a, n[:2], false)
		values[1] = connect.Float64(n[2])
		return a.structure(s, values), true
	}
}

func lineShape(s *connect.Schema) shapeFunc {
	return func(a *arena, n []float64, _ bool) (connect.Value, bool) {
		if len(n) != 3 {
			return connect.Value{}, false
		}
		values := a.row(3)
		values[0], values[1], values[2] = connect.Float64(n[0]), connect.Float64(n[1]), connect.Float64(n[2])
		return a.structure(s, values), true
	}
}

// geometryOf makes a geometry, which keeps wkb.
func (a *arena) geometryOf(s *connect.Schema, wkb []byte, extensions connect.Value) connect.Value {
	values := a.row(3)
	values[0], values[2] = connect.Bytes(a.keep(wkb)), extensions
	return a.structure(s, values)
}

// extensionsOf tells what well-known binary does not: the type, and of a path whether
// it is closed.
func extensionsOf(typ string, more ...connect.MapEntry) connect.Value {
	return connect.Map(append([]connect.MapEntry{{Key: connect.String("type"), Value: connect.String(typ)}}, more...))
}

// boxShape writes a box as a polygon round its two corners.
func boxShape(s *connect.Schema) shapeFunc {
	extensions := extensionsOf("box")
	return func(a *arena, n []float64, _ bool) (connect.Value, bool) {
		if len(n) != 4 {
			return connect.Value{}, false
		}
		wkb := binary.LittleEndian.AppendUint32(appendWKB(a.tail(93), wkbPolygon), 1)
		wkb = binary.LittleEndian.AppendUint32(wkb, 5)
		wkb = appendCoordinates(wkb, n[0], n[1], n[0], n[3], n[2], n[3], n[2], n[1], n[0], n[1])
		return a.geometryOf(s, wkb, extensions), true
	}
}

// pathShape writes a segment or a path as a line string.
func pathShape(s *connect.Schema, typ string) shapeFunc {
	closed := extensionsOf(typ, connect.MapEntry{Key: connect.String("closed"), Value: connect.String("true")})
	opened := extensionsOf(typ, connect.MapEntry{Key: connect.String("closed"), Value: connect.String("false")})
	if typ == "lseg" {
		closed = extensionsOf(typ)
		opened = closed
	}
	return func(a *arena, n []float64, open bool) (connect.Value, bool) {
		if len(n)%2 != 0 || len(n) == 0 || typ == "lseg" && len(n) != 4 {
			return connect.Value{}, false
		}
		wkb := binary.LittleEndian.AppendUint32(appendWKB(a.tail(9+8*len(n)), wkbLineString), uint32(len(n)/2))
		extensions := closed
		if open {
			extensions = opened
		}
		return a.geometryOf(s, appendCoordinates(wkb, n...), extensions), true
	}
}

// polygonShape writes a polygon of one ring, which ends where it begins.
func polygonShape(s *connect.Schema) shapeFunc {
	extensions := extensionsOf("polygon")
	return func(a *arena, n []float64, _ bool) (connect.Value, bool) {
		if len(n)%2 != 0 || len(n) == 0 {
			return connect.Value{}, false
		}
		if x, y := n[len(n)-2], n[len(n)-1]; x != n[0] || y != n[1] {
			n = append(n, n[0], n[1])
		}
		wkb := binary.LittleEndian.AppendUint32(appendWKB(a.tail(13+8*len(n)), wkbPolygon), 1)
		wkb = binary.LittleEndian.AppendUint32(wkb, uint32(len(n)/2))
		return a.geometryOf(s, appendCoordinates(wkb, n...), extensions), true
	}
}
