package serde

import "github.com/tidemill/tidemill/connect"

// arena is the memory of one value on its way to a converter, which keeps nothing of it:
// used again for the next one.
type arena struct {
	values []connect.Value
	rows   []connect.Struct
	used   int // of values
	filled int // of rows
}

// The sizes of the first pieces.
const (
	arenaValues = 64
	arenaRows   = 8
	// arenaKept is how many values are kept room for; a larger value is a rare one.
	arenaKept = 16 << 10
)

// cut returns room for n values, which hold anything.
func (a *arena) cut(n int) []connect.Value {
	if n > len(a.values)-a.used {
		// What was cut off the piece before stays in use.
		a.values, a.used = make([]connect.Value, max(n, 2*len(a.values), arenaValues)), 0
	}
	cut := a.values[a.used : a.used+n : a.used+n]
	a.used += n
	return cut
}

// row returns a struct over values.
func (a *arena) row(schema *connect.Schema, values []connect.Value) connect.Value {
	if a.filled == len(a.rows) {
		a.rows, a.filled = make([]connect.Struct, max(2*len(a.rows), arenaRows)), 0
	}
	st := &a.rows[a.filled]
	a.filled++
	st.Lay(schema, values)
	return connect.StructValue(st)
}

// again begins a new value.
func (a *arena) again() {
	if len(a.values) > arenaKept {
		a.values = nil
	}
	if len(a.rows) > arenaKept {
		a.rows = nil
	}
	clear(a.values[:min(a.used, len(a.values))]) // So that nothing of the last one is held.
	a.used, a.filled = 0, 0
}
