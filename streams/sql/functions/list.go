package functions

import (
	"slices"
	"strings"
	"sync"
)

// families are the lists of scalar functions, one for each file of them.
func families() [][]Function {
	return [][]Function{mathFunctions(), roundingFunctions(), stringFunctions(), paddingFunctions(), conditionalFunctions(),
		arrayFunctions(), timeFunctions(), jsonFunctions(),
		dateFunctions(), regularFunctions(), encodingFunctions(), maskFunctions(), mapFunctions(), webFunctions(), lambdaFunctions(), tableFunctions()}
}

// library holds all functions by name; it is made once and never changed.
type library struct {
	scalars    map[string]*Function
	aggregates map[string]*Aggregate
	names      []string
}

var load = sync.OnceValue(func() *library {
	lib := &library{scalars: map[string]*Function{}, aggregates: map[string]*Aggregate{}}
	for _, family := range families() {
		for i := range family {
			lib.scalars[family[i].Name] = &family[i]
			lib.names = append(lib.names, family[i].Name)
		}
	}
	aggregates := append(aggregateFunctions(), moreAggregates()...)
	for i := range aggregates {
		lib.aggregates[aggregates[i].Name] = &aggregates[i]
		lib.names = append(lib.names, aggregates[i].Name)
	}
	slices.Sort(lib.names)
	return lib
})

// Lookup finds a scalar function; names are matched without regard to case.
func Lookup(name string) (*Function, bool) {
	f, ok := load().scalars[strings.ToUpper(name)]
	return f, ok
}

// LookupAggregate finds an aggregate function.
func LookupAggregate(name string) (*Aggregate, bool) {
	f, ok := load().aggregates[strings.ToUpper(name)]
	return f, ok
}

// Names lists all functions, sorted. The list is shared: do not write to it.
func Names() []string { return load().names }

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
