package functions

import (
	"errors"
	"math"
	"math/big"
	"slices"

	"github.com/tidemill/tidemill/connect"
)

func aggregateFunctions() []Aggregate {
	t := []Type{variable("T")}
	some := []string{"3", "NULL", "1"}
	return []Aggregate{
		{Name: "COUNT", Doc: "The number of rows, or of rows in which the column is not null.", Undoable: true, Examples: []Gathering{{"COUNT(*)", some, "3"}, {"COUNT(x)", some, "2"}},
			Variants: []AggregateVariant{{Make: makeCount}, {Params: t, Make: makeCount}}},
		{Name: "SUM", Doc: "The sum of the column; nulls count as nothing.", Undoable: true, Examples: []Gathering{{"SUM(x)", some, "4"}, {"SUM(x)", []string{"1.50", "2.25"}, "3.75"}}, Variants: []AggregateVariant{
			{Params: params(Int), Make: makeSum}, {Params: params(Bigint), Make: makeSum}, {Params: params(Double), Make: makeSum}, {Params: params(Decimal), Make: makeSum}}},
		{Name: "AVG", Doc: "The mean of the column as a DOUBLE; nulls are left out.", Undoable: true, Examples: []Gathering{{"AVG(x)", some, "2.0"}},
			Variants: []AggregateVariant{{Params: params(Double), Make: makeAvg}}},
		{Name: "MIN", Doc: "The least value of the column.", Examples: []Gathering{{"MIN(x)", some, "1"}}, Variants: []AggregateVariant{{Params: t, Make: makeExtreme(-1)}}},
		{Name: "MAX", Doc: "The greatest value of the column.", Examples: []Gathering{{"MAX(x)", []string{"'a'", "'c'", "'b'"}, `"c"`}}, Variants: []AggregateVariant{{Params: t, Make: makeExtreme(1)}}},
		{Name: "COLLECT_LIST", Doc: "All values of the column in the order they came.", Undoable: true, Examples: []Gathering{{"COLLECT_LIST(x)", some, "[3,null,1]"}},
			Variants: []AggregateVariant{{Params: t, Make: makeCollect}}},
		{Name: "LATEST_BY_OFFSET", Doc: "The newest value of the column that is not null, or the newest of all when false is given; with a number, so many of them as an array.",
			Examples: []Gathering{{"LATEST_BY_OFFSET(x)", []string{"1", "2", "NULL"}, "2"}, {"LATEST_BY_OFFSET(x, 2, FALSE)", []string{"1", "2", "NULL"}, "[2,null]"}}, Variants: byOffset(true)},
		{Name: "EARLIEST_BY_OFFSET", Doc: "The first value of the column that is not null, or the first of all when false is given; with a number, so many of them as an array.",
			Examples: []Gathering{{"EARLIEST_BY_OFFSET(x)", []string{"NULL", "1", "2"}, "1"}, {"EARLIEST_BY_OFFSET(x, FALSE)", []string{"NULL", "1"}, "null"}, {"EARLIEST_BY_OFFSET(x, 2)", []string{"NULL", "1", "2", "3"}, "[1,2]"}}, Variants: byOffset(false)},
	}
}

// byOffset lists the ways to call LATEST_BY_OFFSET and EARLIEST_BY_OFFSET.
func byOffset(latest bool) []AggregateVariant {
	t := []Type{variable("T")}
	return []AggregateVariant{
		{Params: t, Make: makeByOffset(latest)}, {Params: t, Init: params(Boolean), Make: makeByOffset(latest)},
		{Params: t, Init: params(Int), Make: makeManyByOffset(latest)}, {Params: t, Init: params(Int, Boolean), Make: makeManyByOffset(latest)}}
}

func makeCount(args []Type, _ []connect.Value) (Accumulator, error) {
	step := func(by int64) func(state, args []connect.Value) error {
		return func(state, row []connect.Value) error {
			if len(args) == 0 || !row[0].IsNull() {
				state[0] = connect.Int64(state[0].Int() + by)
			}
			return nil
		}
	}
	return Accumulator{State: params(Bigint), Returns: of(Bigint), Zero: func(s []connect.Value) { s[0] = connect.Int64(0) }, Add: step(1), Undo: step(-1), Merge: sums}, nil
}

// sums merges states of numbers that add up.
func sums(state, other []connect.Value) error {
	for i, v := range other {
		if v.Kind() == connect.KindFloat64 {
			state[i] = connect.Float64(state[i].Float() + v.Float())
		} else {
			state[i] = connect.Int64(state[i].Int() + v.Int())
		}
	}
	return nil
}

func makeSum(args []Type, _ []connect.Value) (Accumulator, error) {
	t := args[0]
	if t.Kind == Decimal {
		t.Precision = max(t.Precision, 38)
	}
	step := func(sign int) func(state, args []connect.Value) error {
		return func(state, row []connect.Value) error {
			if row[0].IsNull() {
				return nil
			}
			var err error
			state[0], err = addSigned(t, state[0], row[0], sign)
			return err
		}
	}
	acc := Accumulator{State: []Type{t}, Returns: args[0], Add: step(1), Undo: step(-1), Merge: step(1)}
	if t.Kind == Decimal {
		acc.Returns = t
	}
	acc.Zero = func(s []connect.Value) { s[0] = zeroOf(t.Kind) }
	return acc, nil
}

func zeroOf(k Kind) connect.Value {
	switch k {
	case Int:
		return connect.Int32(0)
	case Double:
		return connect.Float64(0)
	case Decimal:
		return connect.Bytes([]byte{0})
	}
	return connect.Int64(0)
}

// addSigned returns a + sign·b for numbers of type t.
func addSigned(t Type, a, b connect.Value, sign int) (connect.Value, error) {
	switch t.Kind {
	case Double:
		return connect.Float64(a.Float() + float64(sign)*b.Float()), nil
	case Decimal:
		y := unscaled(b)
		return checked(y.Add(unscaled(a), y.Mul(y, big.NewInt(int64(sign)))), t)
	}
	x, y := a.Int(), b.Int()*int64(sign)
	sum := x + y
	if (sum > x) != (y > 0) && y != 0 || t.Kind == Int && sum != int64(int32(sum)) || b.Int() == math.MinInt64 && sign < 0 {
		return a, ErrOverflow
	}
	if t.Kind == Int {
		return connect.Int32(int32(sum)), nil
	}
	return connect.Int64(sum), nil
}

func makeAvg([]Type, []connect.Value) (Accumulator, error) {
	step := func(sign int64) func(state, args []connect.Value) error {
		return func(state, row []connect.Value) error {
			if !row[0].IsNull() {
				state[0] = connect.Float64(state[0].Float() + float64(sign)*row[0].Float())
				state[1] = connect.Int64(state[1].Int() + sign)
			}
			return nil
		}
	}
	return Accumulator{
		State: params(Double, Bigint), Returns: of(Double), Add: step(1), Undo: step(-1), Merge: sums,
		Zero: func(s []connect.Value) { s[0], s[1] = connect.Float64(0), connect.Int64(0) },
		Result: func(s []connect.Value) connect.Value {
			if s[1].Int() == 0 {
				return connect.Float64(0)
			}
			return connect.Float64(s[0].Float() / float64(s[1].Int()))
		},
	}, nil
}

func makeExtreme(side int) func([]Type, []connect.Value) (Accumulator, error) {
	return func(args []Type, _ []connect.Value) (Accumulator, error) {
		add := func(state, row []connect.Value) error {
			if !row[0].IsNull() && (state[0].IsNull() || Compare(args[0], row[0], state[0])*side > 0) {
				state[0] = row[0]
			}
			return nil
		}
		return Accumulator{State: args[:1], Returns: args[0], Add: add, Merge: add}, nil
	}
}

func makeCollect(args []Type, _ []connect.Value) (Accumulator, error) {
	list := ArrayOf(args[0])
	return Accumulator{
		State: []Type{list}, Returns: list, Zero: func(s []connect.Value) { s[0] = connect.Array(nil) },
		Add: func(state, row []connect.Value) error {
			old := state[0].Array()
			state[0] = connect.Array(append(append(make([]connect.Value, 0, len(old)+1), old...), row[0]))
			return nil
		},
		Merge: func(state, other []connect.Value) error {
			state[0] = connect.Array(slices.Concat(state[0].Array(), other[0].Array()))
			return nil
		},
		Undo: func(state, row []connect.Value) error {
			old := state[0].Array()
			for i := len(old) - 1; i >= 0; i-- {
				if compareNulls(args[0], old[i], row[0]) == 0 {
					state[0] = connect.Array(append(append(make([]connect.Value, 0, len(old)), old[:i]...), old[i+1:]...))
					break
				}
			}
			return nil
		},
	}, nil
}

// makeByOffset makes LATEST_BY_OFFSET (latest) and EARLIEST_BY_OFFSET. The second
// value of the state tells whether a row was taken, which matters when that row
// was null.
func makeByOffset(latest bool) func([]Type, []connect.Value) (Accumulator, error) {
	return func(args []Type, init []connect.Value) (Accumulator, error) {
		ignoreNulls := len(init) == 0 || init[0].IsNull() || init[0].Bool()
		return Accumulator{State: []Type{args[0], of(Boolean)}, Returns: args[0], Add: func(state, row []connect.Value) error {
			if row[0].IsNull() && ignoreNulls || !latest && !state[1].IsNull() {
				return nil
			}
			state[0], state[1] = row[0], connect.Bool(true)
			return nil
		}, Merge: func(state, other []connect.Value) error {
			if !other[1].IsNull() && (latest || state[1].IsNull()) {
				copy(state, other)
			}
			return nil
		}}, nil
	}
}

// makeManyByOffset makes the variants that keep so many values.
func makeManyByOffset(latest bool) func([]Type, []connect.Value) (Accumulator, error) {
	return func(args []Type, init []connect.Value) (Accumulator, error) {
		list, n := ArrayOf(args[0]), 0
		if len(init) > 0 && !init[0].IsNull() {
			n = int(init[0].Int())
		}
		if n < 1 {
			return Accumulator{}, errors.New("the number of values to keep is at least 1")
		}
		ignoreNulls := len(init) < 2 || init[1].IsNull() || init[1].Bool()
		return Accumulator{State: []Type{list}, Returns: list, Zero: func(s []connect.Value) { s[0] = connect.Array(nil) },
			Merge: func(state, other []connect.Value) error {
				all := slices.Concat(state[0].Array(), other[0].Array())
				if latest {
					all = all[max(len(all)-n, 0):]
				}
				state[0] = connect.Array(all[:min(n, len(all))])
				return nil
			},
			Add: func(state, row []connect.Value) error {
				old := state[0].Array()
				switch {
				case row[0].IsNull() && ignoreNulls, len(old) == n && !latest:
					return nil
				case len(old) == n:
					old = old[1:]
				}
				state[0] = connect.Array(append(append(make([]connect.Value, 0, n), old...), row[0]))
				return nil
			}}, nil
	}
}
