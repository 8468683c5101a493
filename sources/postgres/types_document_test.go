package postgres

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// TestTypesDocument holds TYPES.md against the type table; -rewrite puts the table
// there anew.
func TestTypesDocument(t *testing.T) {
	const file, from, to = "TYPES.md", "<!-- The table is made by TestTypesDocument -rewrite. -->\n", "<!-- End of the table. -->\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), from)
	table, tail, okTail := strings.Cut(rest, to)
	if !ok || !okTail {
		t.Fatal("the marks around the table are missing")
	}
	want := documentTypes(t)
	if table == want {
		return
	}
	if !*rewrite {
		t.Fatalf("the table is out of date: go test ./sources/postgres -run TestTypesDocument -rewrite\n%s", want)
	}
	if err := os.WriteFile(file, []byte(head+from+want+to+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

// typeVariants are types whose modifier changes what becomes of them.
func typeVariants() map[string]map[string]int32 {
	return map[string]map[string]int32{
		"bit": {"bit(1)": 1, "bit(n)": 12}, "varbit": {"varbit": -1, "varbit(1)": 1},
		"numeric": {"numeric": -1, "numeric(10,2)": numericMod(10, 2)},
		"time":    {"time": -1, "time(0…3)": 3}, "timestamp": {"timestamp": -1, "timestamp(0…3)": 3},
	}
}

func documentTypes(t *testing.T) string {
	lines := []string{"| PostgreSQL | Value | In other modes | Binary form |", "|---|---|---|---|"}
	for _, family := range [][]typeEntry{numberTypes(), textTypes(), netTypes(), binaryTypes(), timeTypes(), shapeTypes(), geometryTypes(), vectorTypes()} {
		for _, e := range family {
			variants := typeVariants()[e.name]
			if variants == nil {
				variants = map[string]int32{e.name: -1}
			}
			for _, name := range slices.Sorted(keysOf(variants)) {
				lines = append(lines, documentType(t, e, name, variants[name]))
			}
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

func keysOf(m map[string]int32) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func documentType(t *testing.T, e typeEntry, name string, mod int32) string {
	plain := e.compile(testSettings(t).modes, mod)
	var others []string
	for _, mode := range []struct{ setting, values string }{
		{"decimal.handling.mode", "double string"}, {"binary.handling.mode", "base64 base64-url-safe hex"}, {"hstore.handling.mode", "map"},
		{"interval.handling.mode", "string"}, {"time.precision.mode", "adaptive_time_microseconds connect isostring microseconds nanoseconds structured"},
	} {
		for _, value := range strings.Fields(mode.values) {
			s := e.compile(testSettings(t, mode.setting, value).modes, mod).schema
			if s == plain.schema {
				continue
			}
			what := " → " + schemaWords(s)
			if n := len(others); n > 0 && strings.HasSuffix(others[n-1], what) {
				others[n-1] = strings.TrimSuffix(others[n-1], what) + ", " + value + what
			} else {
				others = append(others, value+what)
			}
		}
	}
	binary := "yes"
	if plain.binary == nil {
		binary = "no"
	}
	if e.extension {
		name += " (extension)"
	}
	return fmt.Sprintf("| %s | %s | %s | %s |", name, schemaWords(plain.schema), strings.Join(others, "; "), binary)
}

// schemaWords names a schema, without the first part that all names share.
func schemaWords(s *connect.Schema) string {
	words := s.Kind().String()
	switch s.Kind() {
	case connect.KindArray:
		words += " of " + schemaWords(s.Elem())
	case connect.KindMap:
		words += " of " + schemaWords(s.Key()) + " to " + schemaWords(s.Elem())
	case connect.KindStruct:
		var fields []string
		for _, f := range s.Fields() {
			fields = append(fields, f.Name)
		}
		words += " {" + strings.Join(fields, ", ") + "}"
	}
	if s.Name() != "" {
		words = "`" + strings.TrimPrefix(s.Name(), "io.debezium.") + "` " + words
	}
	return words
}
