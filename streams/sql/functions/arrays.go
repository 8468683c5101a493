package functions

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

const arrayCategory = "ARRAY"

// listed makes a function of arrays of one type; build is given the type of the
// elements.
func listed(name, doc string, v Variant, build func(elem Type) Call, examples ...Example) Function {
	if build != nil {
		v.Bind = func(args []Type) (Call, error) { return build(*args[0].Elem), nil }
	}
	return Function{Name: name, Category: arrayCategory, Doc: doc, Variants: []Variant{v}, Examples: examples}
}

func arrayFunctions() []Function {
	list, elem := ArrayOf(variable("T")), variable("T")
	two := Variant{Params: []Type{list, list}, Returns: list}
	one := Variant{Params: []Type{list}, Returns: list}
	best := Variant{Params: []Type{list}, Returns: elem}
	return []Function{
		listed("ARRAY_LENGTH", "The number of elements of an array.", Variant{Params: []Type{list}, Returns: of(Int)}, func(Type) Call {
			return func(a []connect.Value) (connect.Value, error) { return connect.Int32(int32(a[0].Len())), nil }
		}, Example{"ARRAY_LENGTH(ARRAY[1, NULL, 3])", "3"}),
		listed("ARRAY_CONTAINS", "Whether an array holds a value; it may hold NULL.", Variant{Params: []Type{list, elem}, Returns: of(Boolean), Nulls: true}, func(t Type) Call {
			return func(a []connect.Value) (connect.Value, error) {
				return connect.Bool(!a[0].IsNull() && indexOf(t, a[0].Array(), a[1]) >= 0), nil
			}
		}, Example{"ARRAY_CONTAINS(ARRAY[1, 2], 2)", "true"}, Example{"ARRAY_CONTAINS(ARRAY['a'], 'b')", "false"}),
		listed("ARRAY_CONCAT", "The elements of one array, then those of another; a null array counts as empty.", Variant{Params: two.Params, Returns: list, Nulls: true}, func(Type) Call {
			return func(a []connect.Value) (connect.Value, error) {
				if a[0].IsNull() && a[1].IsNull() {
					return connect.Value{}, nil
				}
				return connect.Array(slices.Concat(elements(a[0]), elements(a[1]))), nil
			}
		}, Example{"ARRAY_CONCAT(ARRAY[1, 2], ARRAY[2, 3])", "[1,2,2,3]"}),
		listed("ARRAY_DISTINCT", "The elements of an array, each once.", one, func(t Type) Call {
			return func(a []connect.Value) (connect.Value, error) {
				return connect.Array(distinct(t, nil, a[0].Array())), nil
			}
		}, Example{"ARRAY_DISTINCT(ARRAY[1, 2, 1])", "[1,2]"}),
		listed("ARRAY_UNION", "The elements of two arrays, each once.", two, func(t Type) Call {
			return func(a []connect.Value) (connect.Value, error) {
				return connect.Array(distinct(t, distinct(t, nil, a[0].Array()), a[1].Array())), nil
			}
		}, Example{"ARRAY_UNION(ARRAY[1, 2], ARRAY[2, 3])", "[1,2,3]"}),
		listed("ARRAY_INTERSECT", "The elements that are in both arrays, each once.", two, func(t Type) Call {
			return func(a []connect.Value) (connect.Value, error) {
				return connect.Array(common(t, a[0].Array(), a[1].Array(), true)), nil
			}
		}, Example{"ARRAY_INTERSECT(ARRAY[1, 2, 2], ARRAY[2, 3])", "[2]"}),
		listed("ARRAY_EXCEPT", "The elements of the first array that are not in the second, each once.", two, func(t Type) Call {
			return func(a []connect.Value) (connect.Value, error) {
				return connect.Array(common(t, a[0].Array(), a[1].Array(), false)), nil
			}
		}, Example{"ARRAY_EXCEPT(ARRAY[1, 1, 2], ARRAY[2, 3])", "[1]"}),
		listed("ARRAY_REMOVE", "The array without the elements that equal a value.", Variant{Params: []Type{list, elem}, Returns: list, Nulls: true}, func(t Type) Call {
			return func(a []connect.Value) (connect.Value, error) {
				if a[0].IsNull() {
					return a[0], nil
				}
				return connect.Array(slices.DeleteFunc(slices.Clone(a[0].Array()), func(v connect.Value) bool { return compareNulls(t, v, a[1]) == 0 })), nil
			}
		}, Example{"ARRAY_REMOVE(ARRAY[1, 2, 1], 1)", "[2]"}),
		listed("ARRAY_MIN", "The least element of an array that is not null.", best, func(t Type) Call { return extremeElement(t, -1) }, Example{"ARRAY_MIN(ARRAY[3, NULL, 2])", "2"}),
		listed("ARRAY_MAX", "The greatest element of an array that is not null.", best, func(t Type) Call { return extremeElement(t, 1) }, Example{"ARRAY_MAX(ARRAY['a', 'c', 'b'])", `"c"`}),
		arraySort(list), arrayJoin(list), generateSeries(),
		listed("SLICE", "The elements of an array from one position to another, both counted from 1 and included; null when there are not so many.", Variant{Params: []Type{list, of(Int), of(Int)}, Returns: list, Nulls: true}, func(Type) Call { return slice },
			Example{"SLICE(ARRAY[1, 2, 3, 4], 2, 3)", "[2,3]"}, Example{"SLICE(ARRAY[1, 2], 2, NULL)", "[2]"}, Example{"SLICE(ARRAY[1, 2], 1, 3)", "null"}),
	}
}

// elements returns the elements of an array, none for null.
func elements(v connect.Value) []connect.Value {
	if v.IsNull() {
		return nil
	}
	return v.Array()
}

// indexOf returns the first place of v among elems, or -1. A null equals a null.
func indexOf(t Type, elems []connect.Value, v connect.Value) int {
	return slices.IndexFunc(elems, func(e connect.Value) bool { return compareNulls(t, e, v) == 0 })
}

// distinct appends to out the elements it does not hold yet.
func distinct(t Type, out, elems []connect.Value) []connect.Value {
	for _, e := range elems {
		if indexOf(t, out, e) < 0 {
			out = append(out, e)
		}
	}
	return out
}

// common returns the elements of a, each once, that b holds or does not hold.
func common(t Type, a, b []connect.Value, held bool) []connect.Value {
	return slices.DeleteFunc(distinct(t, nil, a), func(e connect.Value) bool { return (indexOf(t, b, e) >= 0) != held })
}

func extremeElement(t Type, side int) Call {
	return func(a []connect.Value) (connect.Value, error) {
		var out connect.Value
		for _, e := range a[0].Array() {
			if !e.IsNull() && (out.IsNull() || Compare(t, e, out)*side > 0) {
				out = e
			}
		}
		return out, nil
	}
}

func slice(a []connect.Value) (connect.Value, error) {
	if a[0].IsNull() {
		return a[0], nil
	}
	from, to := 0, a[0].Len()
	if !a[1].IsNull() {
		from = int(a[1].Int()) - 1
	}
	if !a[2].IsNull() {
		to = int(a[2].Int())
	}
	if from < 0 || from > to || to > a[0].Len() {
		return connect.Value{}, nil
	}
	return connect.Array(a[0].Array()[from:to]), nil
}

func arraySort(list Type) Function {
	bind := func(args []Type) (Call, error) {
		t := *args[0].Elem
		return func(a []connect.Value) (connect.Value, error) {
			side := 1
			if len(a) > 1 {
				switch strings.ToUpper(a[1].Str()) {
				case "DESC", "DESCENDING":
					side = -1
				case "ASC", "ASCENDING":
				default:
					return connect.Value{}, nil
				}
			}
			out := slices.Clone(a[0].Array())
			slices.SortStableFunc(out, func(x, y connect.Value) int {
				if x.IsNull() || y.IsNull() {
					return boolInt(x.IsNull()) - boolInt(y.IsNull())
				}
				return Compare(t, x, y) * side
			})
			return connect.Array(out), nil
		}, nil
	}
	return Function{Name: "ARRAY_SORT", Category: arrayCategory, Doc: "The elements of an array in order, or in the order DESC; nulls come last.",
		Examples: []Example{{"ARRAY_SORT(ARRAY[3, NULL, 1])", "[1,3,null]"}, {"ARRAY_SORT(ARRAY[1, 3, 2], 'DESC')", "[3,2,1]"}},
		Variants: []Variant{{Params: []Type{list}, Returns: list, Bind: bind}, {Params: []Type{list, of(String)}, Returns: list, Bind: bind}}}
}

func arrayJoin(list Type) Function {
	bind := func(args []Type) (Call, error) {
		t := *args[0].Elem
		return func(a []connect.Value) (connect.Value, error) {
			if a[0].IsNull() {
				return a[0], nil
			}
			sep := ","
			if len(a) > 1 {
				if sep = ""; !a[1].IsNull() {
					sep = a[1].Str()
				}
			}
			var out []byte
			for i, e := range a[0].Array() {
				if i > 0 {
					out = append(out, sep...)
				}
				out = AppendText(out, t, e)
			}
			return connect.StringBytes(out), nil
		}, nil
	}
	return Function{Name: "ARRAY_JOIN", Category: arrayCategory, Doc: "The elements of an array as text, with a delimiter between them, a comma unless given.",
		Examples: []Example{{"ARRAY_JOIN(ARRAY[1, 2], ';')", `"1;2"`}, {"ARRAY_JOIN(ARRAY['a', NULL])", `"a,null"`}, {"ARRAY_JOIN(ARRAY['a', 'b'], NULL)", `"ab"`}},
		Variants: []Variant{{Params: []Type{list}, Returns: of(String), Nulls: true, Bind: bind}, {Params: []Type{list, of(String)}, Returns: of(String), Nulls: true, Bind: bind}}}
}

// maxSeries bounds the elements one call may make.
const maxSeries = 1 << 20

func generateSeries() Function {
	f := Function{Name: "GENERATE_SERIES", Category: arrayCategory, Doc: "The whole numbers from one to another, both included, by steps of 1 or -1 or of the size given.",
		Examples: []Example{{"GENERATE_SERIES(1, 5, 2)", "[1,3,5]"}, {"GENERATE_SERIES(3, 1)", "[3,2,1]"}}}
	for _, k := range []Kind{Int, Bigint} {
		call := func(a []connect.Value) (connect.Value, error) {
			from, to := a[0].Int(), a[1].Int()
			step := int64(1)
			if to < from {
				step = -1
			}
			if len(a) > 2 {
				step = a[2].Int()
			}
			apart := to - from
			switch {
			case step == 0:
				return connect.Value{}, errors.New("the step of a series is not 0")
			case apart > 0 && step < 0 || apart < 0 && step > 0:
				return connect.Value{}, errors.New("the step of the series leads away from its end")
			case apart > 0 != (to > from) || apart/step >= maxSeries:
				return connect.Value{}, fmt.Errorf("a series has at most %d numbers", maxSeries)
			}
			out := make([]connect.Value, 1+apart/step)
			for i := range out {
				out[i] = connect.IntOf(k.carrier(), from+int64(i)*step)
			}
			return connect.Array(out), nil
		}
		f.Variants = append(f.Variants, Variant{Params: params(k, k), Returns: ArrayOf(of(k)), Call: call}, Variant{Params: params(k, k, Int), Returns: ArrayOf(of(k)), Call: call})
	}
	return f
}
