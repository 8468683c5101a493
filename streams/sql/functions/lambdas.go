package functions

const lambdaCategory = "LAMBDA"

// lambdaFunctions lists the functions that take expressions of parameters. What
// they do with them is the affair of whoever compiles expressions; here they are
// described.
func lambdaFunctions() []Function {
	list, table, body := ArrayOf(variable("T")), MapOf(variable("K"), variable("V")), of(Lambda)
	return []Function{
		{Name: "FILTER", Category: lambdaCategory, Doc: "The elements of an array, or the entries of a map, for which the condition holds.",
			Examples: []Example{{"FILTER(ARRAY[1, 5, 3], x => x > 2)", "[5,3]"}, {"FILTER(MAP('a' := 1, 'b' := 2), (k, v) => v > 1)", `{"b":2}`}},
			Variants: []Variant{{Params: []Type{list, body}, Returns: list}, {Params: []Type{table, body}, Returns: table}}},
		{Name: "REDUCE", Category: lambdaCategory, Doc: "What is left when the expression has taken in all elements of an array, or all entries of a map, one after another, from a start on.",
			Examples: []Example{{"REDUCE(ARRAY[1, 5, 3], 10, (s, x) => s + x)", "19"}, {"REDUCE(MAP('a' := 1, 'b' := 2), '', (s, k, v) => s || k)", `"ab"`}},
			Variants: []Variant{{Params: []Type{list, variable("S"), body}, Returns: variable("S")}, {Params: []Type{table, variable("S"), body}, Returns: variable("S")}}},
		{Name: "TRANSFORM", Category: lambdaCategory, Doc: "An array with the expression in each element's place; a map with one expression in each key's and one in each value's.",
			Examples: []Example{{"TRANSFORM(ARRAY[1, 2], x => x * 10 + 1)", "[11,21]"}, {"TRANSFORM(MAP('a' := 1), (k, v) => UCASE(k), (k, v) => v + 1)", `{"A":2}`}, {"TRANSFORM(ARRAY[ARRAY[1], ARRAY[2, 3]], x => REDUCE(x, 0, (s, y) => s + y))", "[1,5]"}},
			Variants: []Variant{{Params: []Type{list, body}, Returns: ArrayOf(variable("R"))}, {Params: []Type{table, body, body}, Returns: table}}},
	}
}

// tableFunctions lists the functions that make several rows of one. Like lambdas
// they are the affair of whoever runs the query.
func tableFunctions() []Function {
	return []Function{
		{Name: "EXPLODE", Category: "TABLE", Doc: "A row for each element of an array; several of them in one query go in step, the shorter filled up with nulls.",
			Variants: []Variant{{Params: []Type{ArrayOf(variable("T"))}, Returns: variable("T")}}},
	}
}
