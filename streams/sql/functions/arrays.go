package functions

import "github.com/tidemill/tidemill/connect"

const arrayCategory = "ARRAY"

func arrayFunctions() []Function {
	list, elem := ArrayOf(variable("T")), variable("T")
	return []Function{
		{Name: "ARRAY_LENGTH", Category: arrayCategory, Doc: "The number of elements of an array.", Examples: []Example{{"ARRAY_LENGTH(ARRAY[1, NULL, 3])", "3"}},
			Variants: []Variant{{Params: []Type{list}, Returns: of(Int), Call: func(a []connect.Value) (connect.Value, error) { return connect.Int32(int32(a[0].Len())), nil }}}},
		{Name: "ARRAY_CONTAINS", Category: arrayCategory, Doc: "Whether an array holds a value; it may hold NULL.", Examples: []Example{{"ARRAY_CONTAINS(ARRAY[1, 2], 2)", "true"}, {"ARRAY_CONTAINS(ARRAY['a'], 'b')", "false"}},
			Variants: []Variant{{Params: []Type{list, elem}, Returns: of(Boolean), Nulls: true, Bind: func(args []Type) (Call, error) {
				return func(a []connect.Value) (connect.Value, error) {
					return connect.Bool(!a[0].IsNull() && indexOf(args[1], a[0].Array(), a[1]) >= 0), nil
				}, nil
			}}}},
	}
}

// indexOf returns the first place of v among elems, or -1. A null equals a null.
func indexOf(t Type, elems []connect.Value, v connect.Value) int {
	for i, e := range elems {
		if compareNulls(t, e, v) == 0 {
			return i
		}
	}
	return -1
}
