package functions

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Aggregate is the entry of one aggregate function.
type Aggregate struct {
	Name     string
	Doc      string
	Variants []AggregateVariant
	Examples []Gathering
	// Undoable says that rows can be taken out again, which aggregates over tables
	// need.
	Undoable bool
}

// Gathering is an aggregate of the columns X and Y over some rows, and what it gives, as JSON.
// A row is the literals of its columns. The tests execute it.
type Gathering struct {
	SQL  string
	Rows []string
	Want string
}

// AggregateVariant is one way to call an aggregate: over columns of the types
// Params, with constants of the types Init after them.
type AggregateVariant struct {
	Params []Type
	// Variadic says that the last column may stand any number of times, but at least once.
	Variadic bool
	Init     []Type
	// Make makes the accumulator for given argument types and constants.
	Make func(args []Type, init []connect.Value) (Accumulator, error)
}

// Accumulator gathers the rows of a group. Its state is a fixed number of values
// that the caller keeps, so that a group can be stored as a row.
type Accumulator struct {
	State   []Type
	Returns Type
	// Zero fills in the state of a group without rows; nil: all null.
	Zero func(state []connect.Value)
	// Add takes a row in; Undo takes it out again, nil when that cannot be done.
	// Neither changes what the state's values point at: they may be read elsewhere.
	Add, Undo func(state, args []connect.Value) error
	// Merge adds the rows of another state, which came later as a whole, as Add adds one.
	Merge func(state, other []connect.Value) error
	// Result gives the aggregate; nil: the first value of the state.
	Result func(state []connect.Value) connect.Value
}

// Bound aggregates know their types.
type BoundAggregate struct {
	// Params are the types the arguments must be brought to, constants not counted.
	Params []Type
	// New makes the accumulator; one serves any number of groups of one goroutine.
	New func(init []connect.Value) (Accumulator, error)
}

// Bind chooses the variant for argument types; constants is how many of the last
// arguments are literals.
func (f *Aggregate) Bind(args []Type) (BoundAggregate, error) {
	best, bestCost := BoundAggregate{}, -1
	for i := range f.Variants {
		v := &f.Variants[i]
		all := Variant{Params: slices.Clone(v.Params)}
		for v.Variadic && len(all.Params)+len(v.Init) < len(args) {
			all.Params = append(all.Params, v.Params[len(v.Params)-1])
		}
		n := len(all.Params)
		all.Params = append(all.Params, v.Init...)
		b, cost, ok := all.fit(args)
		if ok && (bestCost < 0 || cost < bestCost) {
			columns := b.Params[:n]
			best, bestCost = BoundAggregate{Params: columns, New: func(init []connect.Value) (Accumulator, error) { return v.Make(columns, init) }}, cost
		}
	}
	if bestCost < 0 {
		return BoundAggregate{}, fmt.Errorf("%s does not take (%s); it is %s", f.Name, typeList(args), strings.Join(f.Signatures(), " or "))
	}
	return best, nil
}

// Signatures writes the variants as SQL would.
func (f *Aggregate) Signatures() []string {
	out := make([]string, len(f.Variants))
	for i, v := range f.Variants {
		s := paramList(v.Params, v.Variadic)
		if len(v.Init) > 0 {
			s += ", " + typeList(v.Init)
		}
		out[i] = f.Name + "(" + s + ")"
	}
	return out
}
