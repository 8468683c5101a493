package functions

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Library holds functions by name. It is not changed once it is made.
type Library struct {
	scalars    map[string]*Function
	aggregates map[string]*Aggregate
	names      []string
}

var builtin = sync.OnceValue(func() *Library {
	lib := &Library{scalars: map[string]*Function{}, aggregates: map[string]*Aggregate{}}
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

// Builtin returns the functions that every engine has.
func Builtin() *Library { return builtin() }

// With returns a library with more functions: an entry for each, as those of this package
// are. Their names must be new; an entry without a category is of the category USER.
func (l *Library) With(scalars []Function, aggregates []Aggregate) (*Library, error) {
	out := &Library{scalars: maps.Clone(l.scalars), aggregates: maps.Clone(l.aggregates), names: slices.Clone(l.names)}
	for _, f := range scalars {
		ok := len(f.Variants) > 0
		for _, v := range f.Variants {
			ok = ok && (v.Call != nil) != (v.Bind != nil)
		}
		if f.Category == "" {
			f.Category = "USER"
		}
		if err := out.add(&f.Name, f.Doc, ok); err != nil {
			return nil, err
		}
		out.scalars[f.Name] = &f
	}
	for _, f := range aggregates {
		ok := len(f.Variants) > 0
		for _, v := range f.Variants {
			ok = ok && v.Make != nil
		}
		if err := out.add(&f.Name, f.Doc, ok); err != nil {
			return nil, err
		}
		out.aggregates[f.Name] = &f
	}
	slices.Sort(out.names)
	return out, nil
}

// add checks an entry and takes its name.
func (l *Library) add(name *string, doc string, whole bool) error {
	*name = strings.ToUpper(*name)
	switch {
	case *name == "" || strings.ContainsFunc(*name, func(r rune) bool { return r != '_' && (r < 'A' || r > 'Z') && (r < '0' || r > '9') }):
		return fmt.Errorf("a function's name has letters, digits and underscores, unlike '%s'", *name)
	case slices.Contains(l.names, *name):
		return fmt.Errorf("there is a function %s already", *name)
	case doc == "":
		return fmt.Errorf("the function %s has no text that says what it gives", *name)
	case !whole:
		return errors.New("each variant of the function " + *name + " needs what computes it: a Call or a Bind, or Make for an aggregate")
	}
	l.names = append(l.names, *name)
	return nil
}

// Lookup finds a scalar function; names are matched without regard to case.
func (l *Library) Lookup(name string) (*Function, bool) {
	f, ok := l.scalars[strings.ToUpper(name)]
	return f, ok
}

// LookupAggregate finds an aggregate function.
func (l *Library) LookupAggregate(name string) (*Aggregate, bool) {
	f, ok := l.aggregates[strings.ToUpper(name)]
	return f, ok
}

// Names lists all functions, sorted. The list is shared: do not write to it.
func (l *Library) Names() []string { return l.names }
