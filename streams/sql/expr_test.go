package sql

import (
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// evaluate computes an expression that names no columns, as JSON.
func evaluate(t *testing.T, text string) (string, error) {
	t.Helper()
	src := "SELECT " + text + " FROM X"
	stmt, err := parseOne(src, nil)
	if err != nil {
		return "", err
	}
	a := &analyzer{src: src}
	c, err := a.compile(stmt.(*query).items[0].expr)
	if err != nil {
		return "", err
	}
	ev, err := c.make(nil)
	if err != nil {
		return "", err
	}
	v, err := ev(nil)
	return string(appendJSON(nil, c.typ, v)), err
}

// TestFunctionExamples executes the examples that stand with the functions. Every
// function has at least one.
func TestFunctionExamples(t *testing.T) {
	for _, name := range functions.Builtin().Names() {
		f, ok := functions.Builtin().Lookup(name)
		if !ok {
			continue
		}
		if len(f.Examples) == 0 && f.Doc == "" || f.Category == "" {
			t.Errorf("%s lacks an example, a text or a category", name)
		}
		for _, ex := range f.Examples {
			if f.Category == functions.Table {
				continue // TestTableExamples
			}
			if got, err := evaluate(t, ex.SQL); err != nil || got != ex.Want {
				t.Errorf("%s is %s (%v), not %s", ex.SQL, got, err, ex.Want)
			}
		}
	}
}

// TestExpressions runs the scripts of expressions and their values.
func TestExpressions(t *testing.T) {
	runScripts(t, "testdata/expr/*.test", func(t *testing.T) func(step) string {
		return func(s step) string {
			got, err := evaluate(t, s.input)
			if _, isFault := err.(*Error); isFault {
				return faultText(t, err)
			}
			if err != nil {
				return "error: " + err.Error()
			}
			return got
		}
	})
}

// BenchmarkExpression measures a filter over a row of scalars.
func BenchmarkExpression(b *testing.B) {
	src := "SELECT A * 2 + 1 > 10 AND B < 5.0e0 FROM X"
	stmt, err := parseOne(src, nil)
	if err != nil {
		b.Fatal(err)
	}
	a := &analyzer{src: src, scope: &scope{sources: []scopeSource{{alias: "X", source: &source{name: "X", columns: []column{
		{name: "A", typ: functions.Type{Kind: functions.Bigint}}, {name: "B", typ: functions.Type{Kind: functions.Double}}}}}}}}
	c, err := a.compile(stmt.(*query).items[0].expr)
	if err != nil {
		b.Fatal(err)
	}
	ev, err := c.make(nil)
	if err != nil {
		b.Fatal(err)
	}
	row := []connect.Value{connect.Int64(7), connect.Float64(1)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ev(row); err != nil {
			b.Fatal(err)
		}
	}
}
