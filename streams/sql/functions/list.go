package functions

// families are the lists of scalar functions, one for each file of them.
func families() [][]Function {
	return [][]Function{mathFunctions(), roundingFunctions(), stringFunctions(), paddingFunctions(), conditionalFunctions(),
		arrayFunctions(), timeFunctions(), jsonFunctions(),
		dateFunctions(), regularFunctions(), encodingFunctions(), maskFunctions(), mapFunctions(), webFunctions(), lambdaFunctions(), tableFunctions()}
}

// The types of signatures, and short ways to write them.
func of(k Kind) Type { return Type{Kind: k} }
func params(kinds ...Kind) []Type {
	out := make([]Type, len(kinds))
	for i, k := range kinds {
		out[i] = of(k)
	}
	return out
}

// variable is a type variable of a signature.
func variable(name string) Type { return Type{Kind: Any, Name: name} }
