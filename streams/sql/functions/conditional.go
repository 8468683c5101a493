package functions

import "github.com/tidemill/tidemill/connect"

const conditional = "CONDITIONAL"

// generic makes a variant over the type variable T that wants to see nulls.
func generic(n int, variadic bool, call Call) []Variant {
	v := Variant{Variadic: variadic, Returns: variable("T"), Nulls: true, Call: call}
	for range n {
		v.Params = append(v.Params, variable("T"))
	}
	return []Variant{v}
}

func firstNotNull(a []connect.Value) (connect.Value, error) {
	for _, v := range a {
		if !v.IsNull() {
			return v, nil
		}
	}
	return connect.Value{}, nil
}

func conditionalFunctions() []Function {
	nullIf := generic(2, false, nil)
	nullIf[0].Call, nullIf[0].Bind = nil, func(args []Type) (Call, error) {
		return func(a []connect.Value) (connect.Value, error) {
			if !a[0].IsNull() && !a[1].IsNull() && Compare(args[0], a[0], a[1]) == 0 {
				return connect.Value{}, nil
			}
			return a[0], nil
		}, nil
	}
	return []Function{
		{Name: "COALESCE", Category: conditional, Doc: "The first of its arguments that is not null.", Examples: []Example{{"COALESCE(NULL, 2, 3)", "2"}, {"COALESCE(NULL, 'x')", `"x"`}},
			Variants: generic(1, true, firstNotNull)},
		{Name: "IFNULL", Category: conditional, Doc: "The first argument, or the second when the first is null.", Examples: []Example{{"IFNULL(NULL, 'none')", `"none"`}},
			Variants: generic(2, false, firstNotNull)},
		{Name: "NULLIF", Category: conditional, Doc: "Null when both arguments are equal, otherwise the first.", Examples: []Example{{"NULLIF(1, 1)", "null"}, {"NULLIF(1, 2)", "1"}},
			Variants: nullIf},
		{Name: "AS_VALUE", Category: "KEY", Doc: "A copy of a key column as a value column.", Examples: []Example{{"AS_VALUE('k')", `"k"`}},
			Variants: generic(1, false, firstNotNull)},
	}
}
