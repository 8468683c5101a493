package functions

import (
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// The categories of functions that are no ordinary ones: those that take expressions of
// parameters, and those that make several rows of one.
const (
	HigherOrder = "LAMBDA"
	Table       = "TABLE"
)

// lambdaFunctions lists the functions that take expressions of parameters. What
// they do with them is the affair of whoever compiles expressions; here they are
// described.
func lambdaFunctions() []Function {
	list, table, body := ArrayOf(variable("T")), MapOf(variable("K"), variable("V")), of(Lambda)
	return []Function{
		{Name: "FILTER", Category: HigherOrder, Doc: "The elements of an array, or the entries of a map, for which the condition holds.",
			Examples: []Example{{"FILTER(ARRAY[1, 5, 3], x => x > 2)", "[5,3]"}, {"FILTER(MAP('a' := 1, 'b' := 2), (k, v) => v > 1)", `{"b":2}`}},
			Variants: []Variant{{Params: []Type{list, body}, Returns: list}, {Params: []Type{table, body}, Returns: table}}},
		{Name: "REDUCE", Category: HigherOrder, Doc: "What is left when the expression has taken in all elements of an array, or all entries of a map, one after another, from a start on.",
			Examples: []Example{{"REDUCE(ARRAY[1, 5, 3], 10, (s, x) => s + x)", "19"}, {"REDUCE(MAP('a' := 1, 'b' := 2), '', (s, k, v) => s || k)", `"ab"`}},
			Variants: []Variant{{Params: []Type{list, variable("S"), body}, Returns: variable("S")}, {Params: []Type{table, variable("S"), body}, Returns: variable("S")}}},
		{Name: "TRANSFORM", Category: HigherOrder, Doc: "An array with the expression in each element's place; a map with one expression in each key's and one in each value's.",
			Examples: []Example{{"TRANSFORM(ARRAY[1, 2], x => x * 10 + 1)", "[11,21]"}, {"TRANSFORM(MAP('a' := 1), (k, v) => UCASE(k), (k, v) => v + 1)", `{"A":2}`}, {"TRANSFORM(ARRAY[ARRAY[1], ARRAY[2, 3]], x => REDUCE(x, 0, (s, y) => s + y))", "[1,5]"}},
			Variants: []Variant{{Params: []Type{list, body}, Returns: ArrayOf(variable("R"))}, {Params: []Type{table, body, body}, Returns: table}}},
	}
}

// tableFunctions lists the functions that make several rows of one. They give an array, and
// whoever runs the query makes a row of each element.
func tableFunctions() []Function {
	list := ArrayOf(variable("T"))
	return []Function{
		{Name: "EXPLODE", Category: Table, Doc: "A row for each element of an array; several table functions in one query go in step, the shorter filled up with nulls.",
			Examples: []Example{{"EXPLODE(ARRAY['a', NULL, 'b'])", `"a" null "b"`}},
			Variants: []Variant{{Params: []Type{list}, Returns: list, Call: func(a []connect.Value) (connect.Value, error) { return a[0], nil }}}},
		{Name: "CUBE_EXPLODE", Category: Table, Doc: "A row for each way to leave elements of an array out, which are null then: what CUBE is made of in other databases.",
			Examples: []Example{{"CUBE_EXPLODE(ARRAY[1, 2])", "[null,null] [null,2] [1,null] [1,2]"}, {"CUBE_EXPLODE(ARRAY[NULL, 2])", "[null,null] [null,2]"}},
			Variants: []Variant{{Params: []Type{list}, Returns: ArrayOf(list), Call: cube}}},
	}
}

// mostCubed bounds the rows of CUBE_EXPLODE, which are two to its power.
const mostCubed = 20

// cube makes each combination once: nulls are left out in all of them.
func cube(a []connect.Value) (connect.Value, error) {
	elems := a[0].Array()
	if len(elems) > mostCubed {
		return connect.Value{}, fmt.Errorf("CUBE_EXPLODE takes at most %d elements, not %d", mostCubed, len(elems))
	}
	var out []connect.Value
	for taken := range 1 << len(elems) {
		row, again := make([]connect.Value, len(elems)), false
		for i, e := range elems {
			if taken>>(len(elems)-1-i)&1 == 1 {
				row[i], again = e, again || e.IsNull()
			}
		}
		if !again {
			out = append(out, connect.Array(row))
		}
	}
	return connect.Array(out), nil
}
