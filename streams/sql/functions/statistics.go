package functions

import (
	"errors"
	"math"
	"slices"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// moreAggregates are those that keep more than a value: sets, ranks, statistics.
func moreAggregates() []Aggregate {
	t := []Type{variable("T")}
	double := []AggregateVariant{{Params: params(Double), Make: makeDeviation(math.Sqrt)}}
	some := []string{"3", "1", "3", "NULL"}
	return []Aggregate{
		{Name: "COLLECT_SET", Doc: "The values of the column, each once, in the order they came.", Examples: []Gathering{{"COLLECT_SET(x)", some, "[3,1,null]"}},
			Variants: []AggregateVariant{{Params: t, Make: makeSet}}},
		{Name: "COUNT_DISTINCT", Doc: "The number of different values of the column, nulls left out: exact up to 1024, and from there on within about one per cent.",
			Examples: []Gathering{{"COUNT_DISTINCT(x)", some, "2"}}, Variants: []AggregateVariant{{Params: t, Make: makeDistinct}}},
		{Name: "HISTOGRAM", Doc: "How often each value of the column occurs, of the first 1000 different ones.", Undoable: true,
			Examples: []Gathering{{"HISTOGRAM(x)", []string{"'a'", "'b'", "'a'"}, `{"a":2,"b":1}`}}, Variants: []AggregateVariant{{Params: params(String), Make: makeHistogram}}},
		{Name: "ATTR", Doc: "The value all rows have in the column, or null when they differ.", Undoable: true,
			Examples: []Gathering{{"ATTR(x)", []string{"1", "1"}, "1"}, {"ATTR(x)", []string{"1", "2"}, "null"}}, Variants: []AggregateVariant{{Params: t, Make: makeAttr}}},
		{Name: "TOPK", Doc: "The so-many greatest values of the column; with other columns, structs of them: sort_col, col0, col1 and so on.",
			Examples: []Gathering{{"TOPK(x, 2)", some, "[3,3]"}, {"TOPK(x, y, 1)", []string{"1, 'a'", "2, 'b'"}, `[{"sort_col":2,"col0":"b"}]`}},
			Variants: []AggregateVariant{{Params: t, Init: params(Int), Make: makeTop(false)}, {Params: append(t, Type{Kind: Any}), Variadic: true, Init: params(Int), Make: makeTopRows}}},
		{Name: "TOPKDISTINCT", Doc: "The so-many greatest values of the column, each once.", Examples: []Gathering{{"TOPKDISTINCT(x, 2)", some, "[3,1]"}},
			Variants: []AggregateVariant{{Params: t, Init: params(Int), Make: makeTop(true)}}},
		{Name: "SUM_LIST", Doc: "The sum of all elements of the arrays in the column.", Undoable: true, Examples: []Gathering{{"SUM_LIST(x)", []string{"ARRAY[1, 2]", "ARRAY[3, NULL]"}, "6"}}, Variants: []AggregateVariant{
			{Params: []Type{ArrayOf(of(Int))}, Make: makeSumList}, {Params: []Type{ArrayOf(of(Bigint))}, Make: makeSumList}, {Params: []Type{ArrayOf(of(Double))}, Make: makeSumList}}},
		{Name: "STDDEV_SAMP", Doc: "The variance of the column as a sample, which is what ksqlDB gives under this name; STDDEV_SAMPLE is the standard deviation.", Undoable: true,
			Examples: []Gathering{{"STDDEV_SAMP(x)", []string{"2", "4", "6"}, "4.0"}}, Variants: []AggregateVariant{{Params: params(Double), Make: makeDeviation(func(v float64) float64 { return v })}}},
		{Name: "STDDEV_SAMPLE", Doc: "The standard deviation of the column as a sample; 0 for less than two rows.", Undoable: true,
			Examples: []Gathering{{"STDDEV_SAMPLE(x)", []string{"2", "4", "6"}, "2.0"}}, Variants: double},
		{Name: "CORRELATION", Doc: "Pearson's correlation of two columns, from -1 to 1; NaN when one of them does not vary.", Undoable: true,
			Examples: []Gathering{{"CORRELATION(x, y)", []string{"1, 2", "2, 4", "3, 6"}, "1.0"}}, Variants: []AggregateVariant{{Params: params(Double, Double), Make: makeCorrelation}}},
	}
}

func makeSet(args []Type, _ []connect.Value) (Accumulator, error) {
	list := ArrayOf(args[0])
	add := func(state, row []connect.Value) error {
		old := state[0].Array()
		if indexOf(args[0], old, row[0]) < 0 {
			state[0] = connect.Array(append(slices.Clone(old), row[0]))
		}
		return nil
	}
	return Accumulator{State: []Type{list}, Returns: list, Zero: func(s []connect.Value) { s[0] = connect.Array(nil) }, Add: add, Merge: eachOf(add)}, nil
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

// mostCounted bounds the different values that HISTOGRAM counts, as ksqlDB does.
const mostCounted = 1000

func makeHistogram([]Type, []connect.Value) (Accumulator, error) {
	table := MapOf(of(String), of(Bigint))
	count := func(state []connect.Value, key connect.Value, by int64) {
		entries := slices.Clone(state[0].Map())
		n, known := MapGet(state[0], key)
		switch {
		case known:
			by += n.Int()
		case len(entries) >= mostCounted:
			return
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

// topSize reads how many values TOPK keeps.
func topSize(init []connect.Value) (int, error) {
	if len(init) == 0 || init[0].IsNull() || init[0].Int() < 1 {
		return 0, errors.New("the number of values to keep is at least 1")
	}
	return int(init[0].Int()), nil
}

// makeTop makes TOPK and TOPKDISTINCT.
func makeTop(once bool) func([]Type, []connect.Value) (Accumulator, error) {
	return func(args []Type, init []connect.Value) (Accumulator, error) {
		k, err := topSize(init)
		return topOf(args[0], func(x, y connect.Value) int { return Compare(args[0], x, y) }, k, once), err
	}
}

// makeTopRows makes TOPK of several columns, by the first of them.
func makeTopRows(args []Type, init []connect.Value) (Accumulator, error) {
	k, err := topSize(init)
	if err != nil {
		return Accumulator{}, err
	}
	row := Type{Kind: Struct}
	for i, t := range args {
		name := "sort_col"
		if i > 0 {
			name = "col" + strconv.Itoa(i-1)
		}
		row.Fields = append(row.Fields, Field{name, t})
	}
	schema, err := row.Schema()
	if err != nil {
		return Accumulator{}, err
	}
	acc := topOf(row, func(x, y connect.Value) int { return Compare(args[0], x.Struct().At(0), y.Struct().At(0)) }, k, false)
	add := acc.Add
	acc.Add = func(state, values []connect.Value) error {
		if values[0].IsNull() {
			return nil
		}
		return add(state, []connect.Value{connect.StructValue(schema.StructOf(slices.Clone(values)))})
	}
	return acc, nil
}

// topOf keeps the k greatest values, of equal ones those that came first.
func topOf(t Type, compare func(x, y connect.Value) int, k int, once bool) Accumulator {
	list := ArrayOf(t)
	add := func(state, row []connect.Value) error {
		old := state[0].Array()
		if row[0].IsNull() || once && indexOf(t, old, row[0]) >= 0 {
			return nil
		}
		at := 0
		for at < len(old) && compare(old[at], row[0]) >= 0 {
			at++
		}
		if at < k {
			out := slices.Insert(slices.Clone(old), at, row[0])
			state[0] = connect.Array(out[:min(k, len(out))])
		}
		return nil
	}
	return Accumulator{State: []Type{list}, Returns: list, Zero: func(s []connect.Value) { s[0] = connect.Array(nil) }, Add: add, Merge: eachOf(add)}
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

// makeDeviation keeps number, sum and the sum of squared distances from the mean, by the
// method of Youngs and Cramer, which loses no digits to large means and can be taken back.
func makeDeviation(result func(variance float64) float64) func([]Type, []connect.Value) (Accumulator, error) {
	step := func(sign float64) func(state, row []connect.Value) error {
		return func(state, row []connect.Value) error {
			if row[0].IsNull() {
				return nil
			}
			x, n, sum := row[0].Float(), state[0].Float()+sign, state[1].Float()
			if n <= 0 {
				zeroFloats(state)
				return nil
			}
			if more := max(n, n-sign); more > 1 { // How many rows there are with this one.
				apart := x*(state[0].Float()+1) - (sum + x)
				state[2] = connect.Float64(math.Max(0, state[2].Float()+sign*apart*apart/(more*(more-1))))
			}
			state[0], state[1] = connect.Float64(n), connect.Float64(sum+sign*x)
			return nil
		}
	}
	return func([]Type, []connect.Value) (Accumulator, error) {
		return Accumulator{State: params(Double, Double, Double), Returns: of(Double), Add: step(1), Undo: step(-1), Merge: mergeDeviations, Zero: zeroFloats,
			Result: func(s []connect.Value) connect.Value {
				if s[0].Float() < 2 {
					return connect.Float64(0)
				}
				return connect.Float64(result(s[2].Float() / (s[0].Float() - 1)))
			}}, nil
	}
}

// mergeDeviations adds one number, sum and sum of squares to others (Chan, Golub and
// LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances").
func mergeDeviations(state, other []connect.Value) error {
	n, m := state[0].Float(), other[0].Float()
	if m == 0 {
		return nil
	}
	between := 0.0
	if n > 0 {
		apart := other[1].Float()/m - state[1].Float()/n
		between = apart * apart * n * m / (n + m)
	}
	state[0] = connect.Float64(n + m)
	state[1] = connect.Float64(state[1].Float() + other[1].Float())
	state[2] = connect.Float64(state[2].Float() + other[2].Float() + between)
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
			spread := math.Sqrt((n*s[3].Float() - x*x) * (n*s[4].Float() - y*y))
			return connect.Float64((n*s[5].Float() - x*y) / spread)
		}}, nil
}
