package avro

import (
	"testing"

	hamba "github.com/hamba/avro/v2"

	"github.com/tidemill/tidemill/connect"
)

// told is a schema that also tells of a column, as column.propagate.source.type has it.
func told(s *connect.Schema, column string) *connect.Schema {
	def := s.Def()
	def.Params = append(def.Params[:len(def.Params):len(def.Params)], connect.Param{Key: "__debezium.source.column.type", Value: "T"}, connect.Param{Key: "__debezium.source.column.name", Value: column})
	return def.MustBuild()
}

// TestOneNameOfSeveralColumns has columns of one named type that tell different things of
// themselves: the type is defined once, every column can be read, and each that said
// something says it again. One that said nothing has what the type's first column said:
// Confluent's converter has no way to take that back.
func TestOneNameOfSeveralColumns(t *testing.T) {
	text := connect.Of(connect.KindString)
	mood := connect.SchemaDef{Kind: connect.KindString, Name: "shop.mood", Params: []connect.Param{{Key: paramEnum, Value: "shop.mood"}, {Key: paramEnum + ".sad", Value: "sad"}, {Key: paramEnum + ".ok", Value: "ok"}}}.MustBuild()
	inner := connect.SchemaDef{Kind: connect.KindStruct, Name: "shop.inner", Fields: []connect.Field{{Name: "x", Schema: connect.Of(connect.KindInt32).AsOptional()}}}.MustBuild()
	point := connect.SchemaDef{Kind: connect.KindStruct, Name: "shop.point", Fields: []connect.Field{{Name: "a", Schema: text}, {Name: "in", Schema: inner.AsOptional()}, {Name: "m", Schema: mood}}}.MustBuild()
	list := func(s *connect.Schema) *connect.Schema {
		return connect.SchemaDef{Kind: connect.KindArray, Elem: s}.MustBuild()
	}
	row := connect.SchemaDef{Kind: connect.KindStruct, Name: "shop.Value", Optional: true, Fields: []connect.Field{
		{Name: "p", Schema: told(point, "p")}, {Name: "q", Schema: told(point, "q").AsOptional()}, {Name: "plain", Schema: point}, {Name: "also", Schema: point.AsOptional()},
		{Name: "m", Schema: told(mood, "m")}, {Name: "n", Schema: told(mood, "n").AsOptional()}, {Name: "bare", Schema: mood},
		{Name: "i", Schema: told(inner, "i")}, {Name: "many", Schema: told(list(point.AsOptional()), "many")}, {Name: "moods", Schema: list(mood)},
	}}.MustBuild()
	in := connect.StructValue(inner.StructOf([]connect.Value{connect.IntOf(connect.KindInt32, 7)}))
	pointOf := func(s *connect.Schema, a string) connect.Value {
		return connect.StructValue(s.StructOf([]connect.Value{connect.String(a), in, connect.String("ok")}))
	}
	fields := row.Fields()
	value := connect.StructValue(row.StructOf([]connect.Value{
		pointOf(fields[0].Schema, "p"), pointOf(fields[1].Schema, "q"), pointOf(point, "plain"), {},
		connect.String("ok"), connect.String("sad"), connect.String("ok"),
		connect.StructValue(fields[7].Schema.StructOf([]connect.Value{connect.IntOf(connect.KindInt32, 8)})),
		connect.Array([]connect.Value{pointOf(point, "many"), {}}), connect.Array([]connect.Value{connect.String("sad")}),
	}))
	envelope := connect.SchemaDef{Kind: connect.KindStruct, Name: "shop.Envelope", Fields: []connect.Field{{Name: "before", Schema: row}, {Name: "after", Schema: row}}}.MustBuild()
	event := connect.StructValue(envelope.StructOf([]connect.Value{{}, value}))
	for name, m := range map[string]mapping{"usual": usual, "enums": {metadata: true, flatten: true, enhanced: true}, "bare": {}} {
		n, err := m.toAvro(envelope)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text := schemaText(n)
		if _, err := hamba.ParseWithCache(text, "", &hamba.SchemaCache{}); err != nil {
			t.Fatalf("%s: %s: %v", name, text, err)
		}
		back, err := (&parser{}).parse(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		read, err := m.toConnect(back)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		enc, err := m.newEncoder(envelope, n)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		data, err := enc.append(nil, event)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		dec, err := m.newDecoder(read, back)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var sl slab
		got, err := sl.read(dec, data)
		if err != nil || string(connect.AppendJSON(nil, read, got)) != string(connect.AppendJSON(nil, envelope, event)) {
			t.Errorf("%s: %v became %v: %v", name, event, got, err)
		}
		if !m.metadata {
			continue
		}
		for i, f := range read.Fields()[1].Schema.Fields() {
			want, says := fields[i].Schema.Param("__debezium.source.column.name")
			if got, _ := f.Schema.Param("__debezium.source.column.name"); says && got != want {
				t.Errorf("%s: %s says it is the column %q, want %q: %s", name, f.Name, got, want, text)
			}
		}
	}
}
