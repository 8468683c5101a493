package sql

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// TestContract holds the list of ksqlDB's functions against the entries: every name and every
// overload is there and gives the type it gives in ksqlDB, and there is no name besides.
func TestContract(t *testing.T) {
	raw, err := os.ReadFile("testdata/contract.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, _, _ := strings.Cut(line, "(")
		call, want := line, ""
		for i, depth := 0, 0; i < len(line); i++ {
			switch line[i] {
			case '(':
				depth++
			case ')':
				if depth--; depth == 0 && want == "" {
					call, want = line[len(name)+1:i], line[i+2:]
				}
			}
		}
		names[name] = true
		if got := resultOf(t, name, typesOf(t, call)); got != want && want != "?" {
			t.Errorf("%s gives %s", line, got)
		}
	}
	if len(names) != 149 {
		t.Errorf("there are %d names on the list, and ksqlDB has 149 functions", len(names))
	}
	for _, n := range functions.Builtin().Names() {
		if !names[n] {
			t.Errorf("%s is not on the list", n)
		}
	}
}

// typesOf reads types with commas between them.
func typesOf(t *testing.T, list string) (types []functions.Type) {
	t.Helper()
	start, depth := 0, 0
	for i := 0; i <= len(list) && list != ""; i++ {
		if i < len(list) {
			depth += strings.Count("<(", list[i:i+1]) - strings.Count(">)", list[i:i+1])
			if list[i] != ',' || depth > 0 {
				continue
			}
		}
		text := strings.TrimSpace(list[start:i])
		typ, err := parseType(text)
		switch text {
		case "LAMBDA":
			typ, err = functions.Type{Kind: functions.Lambda}, nil
		case "INTERVAL":
			typ, err = functions.Type{Kind: functions.Interval}, nil
		}
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		types, start = append(types, typ), i+1
	}
	return types
}

// resultOf gives the type of a call, or why there is none.
func resultOf(t *testing.T, name string, args []functions.Type) string {
	t.Helper()
	if f, ok := functions.Builtin().Lookup(name); ok {
		b, err := f.Bind(args)
		if err != nil {
			return err.Error()
		}
		return b.Returns.String()
	}
	f, ok := functions.Builtin().LookupAggregate(name)
	if !ok {
		return "nothing: there is no such function"
	}
	b, err := f.Bind(args)
	if err != nil {
		return err.Error()
	}
	var init []connect.Value
	for _, a := range args[len(b.Params):] {
		if a.Kind == functions.Boolean {
			init = append(init, connect.Bool(true))
		} else {
			init = append(init, connect.Int32(2))
		}
	}
	acc, err := b.New(init)
	if err != nil {
		return err.Error()
	}
	return acc.Returns.String()
}

// TestAggregateExamples executes the examples that stand with the aggregates, over a stream
// of their rows. Every aggregate has one.
func TestAggregateExamples(t *testing.T) {
	for _, name := range functions.Builtin().Names() {
		f, ok := functions.Builtin().LookupAggregate(name)
		if !ok {
			continue
		}
		if len(f.Examples) == 0 || f.Doc == "" {
			t.Errorf("%s lacks an example or a text", name)
		}
		for _, ex := range f.Examples {
			if got := gathered1(t, ex); got != ex.Want {
				t.Errorf("%s of %q is %s, not %s", ex.SQL, ex.Rows, got, ex.Want)
			}
		}
	}
}

// gathered1 runs an example of an aggregate and gives its last result.
func gathered1(t *testing.T, ex functions.Gathering) string {
	t.Helper()
	names, types := []string{"X", "Y"}, []functions.Type{}
	for _, row := range ex.Rows {
		stmt, err := parseOne("SELECT "+row+" FROM X", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, it := range stmt.(*query).items {
			c, err := (&analyzer{src: row}).compile(it.expr)
			if err != nil {
				t.Fatal(err)
			}
			if i == len(types) {
				types = append(types, c.typ)
			} else if wider, ok := functions.Common(types[i], c.typ); ok {
				types[i] = wider
			}
		}
	}
	columns := ""
	for i, typ := range types {
		columns += ", " + names[i] + " " + typ.String()
	}
	engine := engineOn(t, newCluster(t), &memoryLog{}, registryOf{})
	text := "CREATE STREAM e (k STRING KEY" + columns + ") WITH (KAFKA_TOPIC='e', VALUE_FORMAT='JSON', PARTITIONS=1);"
	for _, row := range ex.Rows {
		text += "INSERT INTO e VALUES ('k', " + row + ");"
	}
	if _, err := engine.Execute(t.Context(), Request{Text: text}); err != nil {
		t.Fatal(err)
	}
	a := &answer{}
	_, err := engine.Query(t.Context(), Request{Text: "SELECT " + ex.SQL + " AS r FROM e GROUP BY k EMIT CHANGES;", Properties: map[string]string{"auto.offset.reset": "earliest"}}, a)
	if err != nil {
		t.Fatal(err)
	}
	last := a.out[len(a.out)-1]
	return last[1 : len(last)-1]
}

// TestTableExamples executes the examples of table functions: the rows that they make.
func TestTableExamples(t *testing.T) {
	for _, name := range functions.Builtin().Names() {
		f, ok := functions.Builtin().Lookup(name)
		if !ok || f.Category != functions.Table {
			continue
		}
		for _, ex := range f.Examples {
			engine := engineOn(t, newCluster(t), &memoryLog{}, registryOf{})
			text := "CREATE STREAM e (k STRING KEY, x INT) WITH (KAFKA_TOPIC='e', VALUE_FORMAT='JSON', PARTITIONS=1); INSERT INTO e VALUES ('k', 1);"
			if _, err := engine.Execute(t.Context(), Request{Text: text}); err != nil {
				t.Fatal(err)
			}
			a := &answer{}
			if _, err := engine.Query(t.Context(), Request{Text: "SELECT " + ex.SQL + " AS r FROM e;"}, a); err != nil {
				t.Fatal(err)
			}
			var rows []string
			for _, r := range a.out[1:] {
				rows = append(rows, r[1:len(r)-1])
			}
			if got := strings.Join(rows, " "); got != ex.Want {
				t.Errorf("%s makes %s, not %s", ex.SQL, got, ex.Want)
			}
		}
	}
}

// TestFunctionsPage keeps docs/functions.md as the entries are; -rewrite writes it.
func TestFunctionsPage(t *testing.T) {
	const path = "../../docs/functions.md"
	var page strings.Builder
	page.WriteString("# SQL functions\n\nWritten from the entries that the engine reads, by `go test ./streams/sql -run TestFunctionsPage -rewrite`. Every example was executed.\n" +
		"`DESCRIBE FUNCTION name` shows the same. What is different from ksqlDB stands in [sql.md](sql.md#functions).\n")
	families := map[string][]string{}
	for _, name := range functions.Builtin().Names() {
		if f, ok := functions.Builtin().Lookup(name); ok {
			text := "- `" + strings.Join(f.Signatures(), "` `") + "`: " + f.Doc
			for _, ex := range f.Examples {
				text += "\n  `` " + ex.SQL + " `` → `` " + ex.Want + " ``"
			}
			families[f.Category] = append(families[f.Category], text)
		} else if f, ok := functions.Builtin().LookupAggregate(name); ok {
			text := "- `" + strings.Join(f.Signatures(), "` `") + "`: " + f.Doc
			if f.Undoable {
				text += " It can take rows back, and so stands over tables too."
			}
			for _, ex := range f.Examples {
				text += "\n  `` " + ex.SQL + " `` of " + strings.Join(ex.Rows, "; ") + " → `` " + ex.Want + " ``"
			}
			families["AGGREGATE"] = append(families["AGGREGATE"], text)
		}
	}
	for _, category := range slices.Sorted(maps.Keys(families)) {
		page.WriteString("\n## " + category + "\n\n" + strings.Join(families[category], "\n") + "\n")
	}
	if *rewrite {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if raw, err := os.ReadFile(path); err != nil || string(raw) != page.String() {
		t.Errorf("%s is not what the entries say (%v): go test ./streams/sql -run TestFunctionsPage -rewrite", path, err)
	}
}

// TestUserFunctions calls a function and an aggregate that a program adds to the engine.
func TestUserFunctions(t *testing.T) {
	whole := []functions.Type{{Kind: functions.Int}}
	twice := functions.Function{Name: "twice", Doc: "Two times a number.", Variants: []functions.Variant{{Params: whole, Returns: whole[0],
		Call: func(a []connect.Value) (connect.Value, error) { return connect.Int32(2 * int32(a[0].Int())), nil }}}}
	add := func(state, row []connect.Value) error {
		state[0] = connect.Int32(int32(state[0].Int() * row[0].Int()))
		return nil
	}
	product := functions.Aggregate{Name: "PRODUCT", Doc: "The product of the column.", Variants: []functions.AggregateVariant{{Params: whole,
		Make: func(args []functions.Type, _ []connect.Value) (functions.Accumulator, error) {
			return functions.Accumulator{State: args, Returns: args[0], Zero: func(s []connect.Value) { s[0] = connect.Int32(1) }, Add: add, Merge: add}, nil
		}}}}
	library, err := functions.Builtin().With([]functions.Function{twice}, []functions.Aggregate{product})
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t)
	engine, err := Open(t.Context(), Config{Service: "test", Topics: c, Records: c, Runner: c, Log: &memoryLog{}, Formats: map[string]Format{"JSON": jsonFormat("false")}, Functions: library})
	if err != nil {
		t.Fatal(err)
	}
	_, err = engine.Execute(t.Context(), Request{Text: "CREATE STREAM s (k STRING KEY, x INT) WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON', PARTITIONS=1); INSERT INTO s VALUES ('a', TWICE(2)); INSERT INTO s VALUES ('a', 5);"})
	if err != nil {
		t.Fatal(err)
	}
	a := &answer{}
	_, err = engine.Query(t.Context(), Request{Text: "SELECT k, PRODUCT(TWICE(x)) AS p FROM s GROUP BY k EMIT CHANGES;", Properties: map[string]string{"auto.offset.reset": "earliest"}}, a)
	if got := strings.Join(a.out[1:], " "); err != nil || got != `["a",8] ["a",80]` {
		t.Errorf("PRODUCT(TWICE(x)) is %s (%v)", got, err)
	}
	shown, err := engine.Execute(t.Context(), Request{Text: "DESCRIBE FUNCTION TWICE;"})
	if err != nil || len(shown) != 1 {
		t.Errorf("DESCRIBE FUNCTION TWICE: %v, %v", shown, err)
	}
	for _, f := range []functions.Function{{Name: "ABS", Doc: "x", Variants: twice.Variants}, {Name: "a b", Doc: "x", Variants: twice.Variants}, {Name: "F", Variants: twice.Variants}, {Name: "F", Doc: "x"},
		{Name: "F", Doc: "x", Variants: []functions.Variant{{Params: whole, Returns: whole[0]}}}} {
		if _, err := functions.Builtin().With([]functions.Function{f}, nil); err == nil {
			t.Errorf("the entry %+v is not refused", f)
		}
	}
}
