package functions

import (
	"math"
	"slices"

	"github.com/tidemill/tidemill/connect"
)

// moreAggregates are those that keep more than a value: sets, ranks, statistics.
func moreAggregates() []Aggregate {
	t := []Type{variable("T")}
	return []Aggregate{
		{Name: "COLLECT_SET", Doc: "The values of the column, each once, in the order they came.", Variants: []AggregateVariant{{Params: t, Make: makeSet(false)}}},
		{Name: "COUNT_DISTINCT", Doc: "The number of different values of the column, counted exactly; nulls are left out.", Variants: []AggregateVariant{{Params: t, Make: makeSet(true)}}},
		{Name: "HISTOGRAM", Doc: "How often each value of the column occurs.", Undoable: true, Variants: []AggregateVariant{{Params: params(String), Make: makeHistogram}}},
		{Name: "ATTR", Doc: "The value all rows have in the column, or null when they differ.", Undoable: true, Variants: []AggregateVariant{{Params: t, Make: makeAttr}}},
		{Name: "TOPK", Doc: "The so-many greatest values of the column.", Variants: []AggregateVariant{{Params: t, Init: params(Int), Make: makeTop(false)}}},
		{Name: "TOPKDISTINCT", Doc: "The so-many greatest values of the column, each once.", Variants: []AggregateVariant{{Params: t, Init: params(Int), Make: makeTop(true)}}},
		{Name: "SUM_LIST", Doc: "The sum of all elements of the arrays in the column.", Undoable: true, Variants: []AggregateVariant{
			{Params: []Type{ArrayOf(of(Int))}, Make: makeSumList}, {Params: []Type{ArrayOf(of(Bigint))}, Make: makeSumList}, {Params: []Type{ArrayOf(of(Double))}, Make: makeSumList}}},
		{Name: "STDDEV_SAMP", Doc: "The standard deviation of the column as a sample; 0 for less than two rows.", Undoable: true, Variants: []AggregateVariant{{Params: params(Double), Make: makeDeviation}}},
		{Name: "STDDEV_SAMPLE", Doc: "The standard deviation of the column as a sample; 0 for less than two rows.", Undoable: true, Variants: []AggregateVariant{{Params: params(Double), Make: makeDeviation}}},
		{Name: "CORRELATION", Doc: "Pearson's correlation of two columns, from -1 to 1; NaN when one of them does not vary.", Undoable: true, Variants: []AggregateVariant{{Params: params(Double, Double), Make: makeCorrelation}}},
	}
}

// makeSet makes COLLECT_SET, or with counted COUNT_DISTINCT.
func makeSet(counted bool) func([]Type, []connect.Value) (Accumulator, error) {
	return func(args []Type, _ []connect.Value) (Accumulator, error) {
		list := ArrayOf(args[0])
		add := func(state, row []connect.Value) error {
			old := state[0].Array()
			if counted && row[0].IsNull() || indexOf(args[0], old, row[0]) >= 0 {
				return nil
			}
			state[0] = connect.Array(append(slices.Clone(old), row[0]))
			return nil
		}
		acc := Accumulator{State: []Type{list}, Returns: list, Zero: func(s []connect.Value) { s[0] = connect.Array(nil) }, Add: add, Merge: eachOf(add)}
		if counted {
			acc.Returns = of(Bigint)
			acc.Result = func(s []connect.Value) connect.Value { return connect.Int64(int64(s[0].Len())) }
		}
		return acc, nil
	}
}

// eachOf merges states that are arrays of values, each of which is added.
func eachOf(add func(state, row []connect.Value) error) func(state, other []connect.Value) error {
	return func(state, other []connect.Value) error {
		for _, v := range other[0].Array() {
			if err := add(state, []connect.Value{v}); err != nil {
				return err
			}
		}
		return nil
	}
}

func makeHistogram([]Type, []connect.Value) (Accumulator, error) {
	table := MapOf(of(String), of(Bigint))
	count := func(state []connect.Value, key connect.Value, by int64) {
		entries := slices.Clone(state[0].Map())
		if n, _ := MapGet(state[0], key); !n.IsNull() {
			by += n.Int()
		}
		entries = put(entries, connect.MapEntry{Key: key, Value: connect.Int64(by)})
		state[0] = connect.Map(slices.DeleteFunc(entries, func(e connect.MapEntry) bool { return e.Value.Int() <= 0 }))
	}
	step := func(by int64) func(state, row []connect.Value) error {
		return func(state, row []connect.Value) error {
			if !row[0].IsNull() {
				count(state, row[0], by)
			}
			return nil
		}
	}
	merge := func(state, other []connect.Value) error {
		for _, e := range other[0].Map() {
			count(state, e.Key, e.Value.Int())
		}
		return nil
	}
	return Accumulator{State: []Type{table}, Returns: table, Zero: func(s []connect.Value) { s[0] = connect.Map(nil) }, Add: step(1), Undo: step(-1), Merge: merge}, nil
}

// makeAttr keeps the different values and how often each occurs.
func makeAttr(args []Type, _ []connect.Value) (Accumulator, error) {
	count := func(state []connect.Value, value connect.Value, by int64) {
		values, counts := slices.Clone(state[0].Array()), slices.Clone(state[1].Array())
		i := indexOf(args[0], values, value)
		if i < 0 {
			i = len(values)
			values, counts = append(values, value), append(counts, connect.Int64(0))
		}
		counts[i] = connect.Int64(counts[i].Int() + by)
		if counts[i].Int() <= 0 {
			values, counts = slices.Delete(values, i, i+1), slices.Delete(counts, i, i+1)
		}
		state[0], state[1] = connect.Array(values), connect.Array(counts)
	}
	step := func(by int64) func(state, row []connect.Value) error {
		return func(state, row []connect.Value) error {
			count(state, row[0], by)
			return nil
		}
	}
	merge := func(state, other []connect.Value) error {
		for i, v := range other[0].Array() {
			count(state, v, other[1].Array()[i].Int())
		}
		return nil
	}
	return Accumulator{
		State: []Type{ArrayOf(args[0]), ArrayOf(of(Bigint))}, Returns: args[0], Add: step(1), Undo: step(-1), Merge: merge,
		Zero: func(s []connect.Value) { s[0], s[1] = connect.Array(nil), connect.Array(nil) },
		Result: func(s []connect.Value) connect.Value {
			if s[0].Len() != 1 {
				return connect.Value{}
			}
			return s[0].Array()[0]
		},
	}, nil
}

// makeTop makes TOPK and TOPKDISTINCT.
func makeTop(once bool) func([]Type, []connect.Value) (Accumulator, error) {
	return func(args []Type, init []connect.Value) (Accumulator, error) {
		list, k := ArrayOf(args[0]), 0
		if len(init) > 0 && !init[0].IsNull() {
			k = int(init[0].Int())
		}
		add := func(state, row []connect.Value) error {
			old := state[0].Array()
			if row[0].IsNull() || once && indexOf(args[0], old, row[0]) >= 0 {
				return nil
			}
			at := 0
			for at < len(old) && Compare(args[0], old[at], row[0]) >= 0 {
				at++
			}
			out := slices.Insert(slices.Clone(old), at, row[0])
			state[0] = connect.Array(out[:min(k, len(out))])
			return nil
		}
		return Accumulator{State: []Type{list}, Returns: list, Zero: func(s []connect.Value) { s[0] = connect.Array(nil) }, Add: add, Merge: eachOf(add)}, nil
	}
}

func makeSumList(args []Type, _ []connect.Value) (Accumulator, error) {
	t := *args[0].Elem
	step := func(sign int) func(state, row []connect.Value) error {
		return func(state, row []connect.Value) error {
			for _, e := range elements(row[0]) {
				if e.IsNull() {
					continue
				}
				var err error
				if state[0], err = addSigned(t, state[0], e, sign); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return Accumulator{State: []Type{t}, Returns: t, Zero: func(s []connect.Value) { s[0] = zeroOf(t.Kind) }, Add: step(1), Undo: step(-1),
		Merge: func(state, other []connect.Value) error {
			return step(1)(state, []connect.Value{connect.Array(other)})
		}}, nil
}

// makeDeviation keeps number, mean and the sum of squared distances from it, by
// Welford's method, which loses no digits to large means and can be taken back.
func makeDeviation([]Type, []connect.Value) (Accumulator, error) {
	step := func(sign float64) func(state, row []connect.Value) error {
		return func(state, row []connect.Value) error {
			if row[0].IsNull() {
				return nil
			}
			x, mean := row[0].Float(), state[1].Float()
			n := state[0].Float() + sign
			if n <= 0 {
				state[0], state[1], state[2] = connect.Float64(0), connect.Float64(0), connect.Float64(0)
				return nil
			}
			fresh := mean + sign*(x-mean)/n
			squares := state[2].Float() + sign*(x-mean)*(x-fresh)
			state[0], state[1], state[2] = connect.Float64(n), connect.Float64(fresh), connect.Float64(math.Max(0, squares))
			return nil
		}
	}
	return Accumulator{State: params(Double, Double, Double), Returns: of(Double), Add: step(1), Undo: step(-1), Merge: mergeDeviations, Zero: zeroFloats,
		Result: func(s []connect.Value) connect.Value {
			if s[0].Float() < 2 {
				return connect.Float64(0)
			}
			return connect.Float64(math.Sqrt(s[2].Float() / (s[0].Float() - 1)))
		}}, nil
}

// mergeDeviations adds one number, mean and sum of squares to others (Chan, Golub and
// LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances").
func mergeDeviations(state, other []connect.Value) error {
	n, m := state[0].Float(), other[0].Float()
	if m == 0 {
		return nil
	}
	apart := other[1].Float() - state[1].Float()
	state[0] = connect.Float64(n + m)
	state[1] = connect.Float64(state[1].Float() + apart*m/(n+m))
	state[2] = connect.Float64(state[2].Float() + other[2].Float() + apart*apart*n*m/(n+m))
	return nil
}

func zeroFloats(s []connect.Value) {
	for i := range s {
		s[i] = connect.Float64(0)
	}
}

// makeCorrelation keeps number, sums, sums of squares and the sum of products.
func makeCorrelation([]Type, []connect.Value) (Accumulator, error) {
	step := func(sign float64) func(state, row []connect.Value) error {
		return func(state, row []connect.Value) error {
			if row[0].IsNull() || row[1].IsNull() {
				return nil
			}
			x, y := row[0].Float(), row[1].Float()
			for i, term := range [...]float64{1, x, y, x * x, y * y, x * y} {
				state[i] = connect.Float64(state[i].Float() + sign*term)
			}
			return nil
		}
	}
	return Accumulator{State: params(Double, Double, Double, Double, Double, Double), Returns: of(Double), Add: step(1), Undo: step(-1), Merge: sums, Zero: zeroFloats,
		Result: func(s []connect.Value) connect.Value {
			n, x, y := s[0].Float(), s[1].Float(), s[2].Float()
			spread := math.Sqrt(n*s[3].Float()-x*x) * math.Sqrt(n*s[4].Float()-y*y)
			return connect.Float64((n*s[5].Float() - x*y) / spread)
		}}, nil
}
