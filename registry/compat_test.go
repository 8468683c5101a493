package registry

import (
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
)

func parse(t *testing.T, text string) avro.Schema {
	t.Helper()
	schema, err := avro.ParseWithCache(text, "", &avro.SchemaCache{})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return schema
}

// TestReading checks reader and writer pairs. The library's own check serves
// as an oracle; where it lacks a rule, the case says so.
func TestReading(t *testing.T) {
	record := func(fields string) string { return `{"type":"record","name":"a.R","fields":[` + fields + `]}` }
	const decimal2 = `{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}`
	const decimal3 = `{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}`
	list := func(next string) string {
		return `{"type":"record","name":"L","fields":[{"name":"v","type":` + next + `},{"name":"next","type":["null","L"]}]}`
	}
	for _, test := range []struct {
		name, reader, writer string
		want                 string // the kinds of faults
		oracleLacks          bool
	}{
		{"same", record(`{"name":"a","type":"int"}`), record(`{"name":"a","type":"int"}`), "", false},
		{"promotion", `"double"`, `"int"`, "", false},
		{"demotion", `"int"`, `"long"`, "TYPE_MISMATCH", false},
		{"string and bytes", `"string"`, `"bytes"`, "", false},
		{"new field with default", record(`{"name":"a","type":"int","default":1}`), record(``), "", false},
		{"new field with null default", record(`{"name":"a","type":["null","int"],"default":null}`), record(``), "", false},
		{"new field without default", record(`{"name":"a","type":"int"}`), record(``), "READER_FIELD_MISSING_DEFAULT_VALUE", false},
		{"field dropped", record(``), record(`{"name":"a","type":"int"}`), "", false},
		{"field renamed with alias", record(`{"name":"b","aliases":["a"],"type":"int"}`), record(`{"name":"a","type":"int"}`), "", false},
		{"alias on the wrong side", record(`{"name":"b","type":"int"}`), record(`{"name":"a","aliases":["b"],"type":"int"}`), "READER_FIELD_MISSING_DEFAULT_VALUE", false},
		{"two faults at once", record(`{"name":"a","type":"int"},{"name":"b","type":"int"}`), record(`{"name":"a","type":"string"}`), "TYPE_MISMATCH READER_FIELD_MISSING_DEFAULT_VALUE", false},
		{"record renamed", `{"type":"record","name":"S","fields":[]}`, record(``), "NAME_MISMATCH", false},
		{"record renamed with alias", `{"type":"record","name":"S","aliases":["a.R"],"fields":[]}`, record(``), "", false},
		{"namespace changed", `{"type":"record","name":"b.R","fields":[]}`, record(``), "", false},
		{"enum grew", `{"type":"enum","name":"E","symbols":["A","B"]}`, `{"type":"enum","name":"E","symbols":["A"]}`, "", false},
		{"enum shrank", `{"type":"enum","name":"E","symbols":["A"]}`, `{"type":"enum","name":"E","symbols":["A","B"]}`, "MISSING_ENUM_SYMBOLS", false},
		{"enum shrank with default", `{"type":"enum","name":"E","symbols":["A"],"default":"A"}`, `{"type":"enum","name":"E","symbols":["A","B"]}`, "", false},
		{"fixed resized", `{"type":"fixed","name":"F","size":4}`, `{"type":"fixed","name":"F","size":5}`, "FIXED_SIZE_MISMATCH", false},
		{"became optional", `["null","int"]`, `"int"`, "", false},
		{"became required", `"int"`, `["null","int"]`, "TYPE_MISMATCH", false},
		{"union lost a branch", `["null","int"]`, `["null","int","string"]`, "MISSING_UNION_BRANCH", false},
		{"union promotes", `["null","long"]`, `["null","int"]`, "", false},
		{"array items", `{"type":"array","items":"string"}`, `{"type":"array","items":"int"}`, "TYPE_MISMATCH", false},
		{"map values", `{"type":"map","values":"long"}`, `{"type":"map","values":"int"}`, "", false},
		{"recursive", list(`"long"`), list(`"int"`), "", false},
		{"recursive with fault", list(`"int"`), list(`"long"`), "TYPE_MISMATCH", false},
		{"decimal scale", decimal2, decimal3, "DECIMAL_SCALE_MISMATCH", true},
		{"decimal scale in an optional field", record(`{"name":"p","type":["null",` + decimal2 + `]}`), record(`{"name":"p","type":["null",` + decimal3 + `]}`), "DECIMAL_SCALE_MISMATCH", true},
		{"decimal precision", strings.Replace(decimal2, "9", "12", 1), decimal2, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			reader, writer := parse(t, test.reader), parse(t, test.writer)
			faults := level{backward: true}.faults(reader, writer)
			var kinds []string
			for _, f := range faults {
				kind, _, _ := strings.Cut(strings.TrimPrefix(f, "{errorType:'"), "'")
				kinds = append(kinds, kind)
			}
			if got := strings.Join(kinds, " "); got != test.want {
				t.Errorf("got %q, want %q", faults, test.want)
			}
			oracle := avro.NewSchemaCompatibility().Compatible(reader, writer)
			if agrees := (oracle == nil) == (len(faults) == 0); agrees == test.oracleLacks {
				t.Errorf("the oracle says %v, we say %q", oracle, faults)
			}
			if swapped := (level{forward: true}).faults(writer, reader); len(swapped) != len(faults) {
				t.Errorf("forward sees %q, backward %q", swapped, faults)
			}
		})
	}
}

// TestCanonical pairs texts that say the same and texts that do not.
func TestCanonical(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{`"int"`, ` { "type" : "int" } `, true},
		{`{"type":"record","name":"a.R","fields":[{"name":"n","type":["null","R"]}]}`, `{"type":"record","namespace":"a","name":"R","fields":[{"type":["null","a.R"],"name":"n"}]}`, true},
		{`{"type":"record","name":"a.R","fields":[{"name":"n","type":{"type":"enum","name":"E","symbols":["X"]}}]}`, `{"type":"record","name":"a.R","fields":[{"name":"n","type":{"type":"enum","namespace":"a","name":"E","symbols":["X"]}}]}`, true},
		{`{"type":"int","doc":"a"}`, `"int"`, false},
		{`{"type":"enum","name":"E","symbols":["X","Y"]}`, `{"type":"enum","name":"E","symbols":["Y","X"]}`, false},
		{`{"type":"record","name":"R","fields":[{"name":"n","type":"int","default":1}]}`, `{"type":"record","name":"R","fields":[{"name":"n","type":"int","default":2}]}`, false},
		{`{"type":"record","name":"a.R","fields":[]}`, `{"type":"record","name":"b.R","fields":[]}`, false},
	} {
		a, err1 := canonical(test.a)
		b, err2 := canonical(test.b)
		if err1 != nil || err2 != nil || (a == b) != test.same {
			t.Errorf("%s and %s: %q, %q, %v, %v", test.a, test.b, a, b, err1, err2)
		}
	}
}

// FuzzSchemas wants no panic from any text, and that a schema which is
// accepted keeps its identity through its canonical form and can follow itself.
func FuzzSchemas(f *testing.F) {
	for _, seed := range []string{
		`"int"`, `["null","string"]`, `{"type":"map","values":{"type":"array","items":"long"}}`,
		`{"type":"record","name":"a.R","fields":[{"name":"n","type":["null","R"],"default":null}]}`,
		`{"type":"fixed","name":"F","size":12,"logicalType":"duration"}`, `{"type":"enum","name":"E","symbols":["A"],"default":"A"}`,
		`{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`, `{"type":{"type":"string"}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := newState()
		schema, key, err := s.accept(proposal{Schema: text})
		if err != nil {
			return
		}
		again, err := canonical(strings.SplitN(key, "\n", 2)[0])
		if err != nil || again != key {
			t.Fatalf("canonical form of %q: %q, then %q, %v", text, key, again, err)
		}
		if faults := (level{backward: true, forward: true}).faults(schema, schema); len(faults) > 0 {
			t.Fatalf("%q cannot follow itself: %q", text, faults)
		}
	})
}
