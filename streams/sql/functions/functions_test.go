package functions

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemill/tidemill/connect"
)

// TestUndo takes rows into each aggregate that can give them back, takes some out
// again, and compares with the aggregate of the rows that are left.
func TestUndo(t *testing.T) {
	for name, args := range map[string][]Type{
		"COUNT": params(Int), "SUM": params(Bigint), "AVG": params(Double), "COLLECT_LIST": params(Int), "HISTOGRAM": params(String),
		"ATTR": params(Int), "SUM_LIST": {ArrayOf(of(Int))}, "STDDEV_SAMP": params(Double), "CORRELATION": params(Double, Double),
	} {
		f, ok := Builtin().LookupAggregate(name)
		if !ok || !f.Undoable {
			t.Fatalf("%s is not undoable", name)
		}
		bound, err := f.Bind(args)
		if err != nil {
			t.Fatal(err)
		}
		acc, err := bound.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				rows := make([][]connect.Value, rapid.IntRange(0, 8).Draw(t, "rows"))
				for i := range rows {
					for _, a := range bound.Params {
						rows[i] = append(rows[i], draw(t, a))
					}
				}
				taken := rapid.IntRange(0, len(rows)).Draw(t, "taken")
				all, left := fresh(acc), fresh(acc)
				for i, r := range rows {
					step(t, acc.Add, all, r)
					if i >= taken {
						step(t, acc.Add, left, r)
					}
				}
				// Backwards, since COLLECT_LIST takes out the last of equal values.
				for i := taken - 1; i >= 0; i-- {
					step(t, acc.Undo, all, rows[i])
				}
				if got, want := result(acc, all), result(acc, left); !near(acc.Returns, got, want) {
					t.Fatalf("%v less its first %d gives %v, not %v", rows, taken, got, want)
				}
			})
		})
	}
}

func fresh(acc Accumulator) []connect.Value {
	s := make([]connect.Value, len(acc.State))
	if acc.Zero != nil {
		acc.Zero(s)
	}
	return s
}

func step(t *rapid.T, f func(state, args []connect.Value) error, state, row []connect.Value) {
	if err := f(state, row); err != nil {
		t.Fatal(err)
	}
}

func result(acc Accumulator, state []connect.Value) connect.Value {
	if acc.Result != nil {
		return acc.Result(state)
	}
	return state[0]
}

// near compares results: floating point may differ in its last digits, and
// undefined statistics are NaN or what rounding makes of it.
func near(t Type, a, b connect.Value) bool {
	switch {
	case a.IsNull() || b.IsNull():
		return a.IsNull() == b.IsNull()
	case t.Kind == Double:
		x, y := a.Float(), b.Float()
		return x != x || y != y || x-y < 1e-3 && y-x < 1e-3
	case t.Kind == Array:
		// Equal values are indistinguishable, so the order may differ.
		return len(common(*t.Elem, a.Array(), b.Array(), false)) == 0 && a.Len() == b.Len()
	}
	return Compare(t, a, b) == 0
}

func draw(t *rapid.T, typ Type) connect.Value {
	n := rapid.IntRange(-3, 3).Draw(t, "value")
	switch {
	case n == 3:
		return connect.Value{}
	case typ.Kind == String:
		return connect.String(string(rune('a' + n + 3)))
	case typ.Kind == Double:
		return connect.Float64(float64(n) / 2)
	case typ.Kind == Bigint:
		return connect.Int64(int64(n))
	case typ.Kind == Decimal:
		return connect.Bytes([]byte{byte(n)})
	case typ.Kind == Array && typ.Elem.Kind == Double:
		return connect.Array([]connect.Value{connect.Float64(float64(n)), {}, connect.Float64(1)})
	case typ.Kind == Array && typ.Elem.Kind == Bigint:
		return connect.Array([]connect.Value{connect.Int64(int64(n)), {}, connect.Int64(1)})
	case typ.Kind == Array:
		return connect.Array([]connect.Value{connect.Int32(int32(n)), {}, connect.Int32(1)})
	}
	return connect.Int32(int32(n))
}

// TestMerge gathers rows in two states, merges them, and compares with one state of all, for
// every aggregate there is.
func TestMerge(t *testing.T) {
	for name, f := range Builtin().aggregates {
		for i, v := range f.Variants {
			var args []Type
			for _, p := range v.Params {
				switch {
				case p.Kind == Any:
					p = of(Int)
				case p.Kind == Decimal:
					p = Type{Kind: Decimal, Precision: 9}
				}
				args = append(args, p)
			}
			var init []connect.Value
			for _, p := range v.Init {
				if p.Kind == Boolean {
					init = append(init, connect.Bool(false))
				} else {
					init = append(init, connect.Int32(2))
				}
			}
			acc, err := v.Make(args, init)
			if err != nil || acc.Merge == nil {
				t.Fatalf("%s: %v", f.Signatures()[i], err)
			}
			t.Run(fmt.Sprint(name, i), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					rows := make([][]connect.Value, rapid.IntRange(0, 8).Draw(t, "rows"))
					first := rapid.IntRange(0, len(rows)).Draw(t, "first")
					all, one, two := fresh(acc), fresh(acc), fresh(acc)
					for i := range rows {
						for _, a := range args {
							rows[i] = append(rows[i], draw(t, a))
						}
						step(t, acc.Add, all, rows[i])
						if i < first {
							step(t, acc.Add, one, rows[i])
						} else {
							step(t, acc.Add, two, rows[i])
						}
					}
					before := result(acc, two)
					step(t, acc.Merge, one, two)
					if got, want := result(acc, one), result(acc, all); !near(acc.Returns, got, want) {
						t.Fatalf("the first %d of %v and the others give %v, not %v", first, rows, got, want)
					}
					if after := result(acc, two); !near(acc.Returns, before, after) {
						t.Fatalf("the state that was merged changed from %v to %v", before, after)
					}
				})
			})
		}
	}
}
