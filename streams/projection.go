package streams

import "github.com/tidemill/tidemill/connect"

// projection brings rows of whatever schema an event has into that of a table,
// by the columns' names. The way is worked out once for each schema met.
type projection struct {
	to   *connect.Schema
	from *connect.Schema
	at   []int // for each column of to, its place in from, -1 when it is missing
}

func newProjection(to *connect.Schema) *projection { return &projection{to: to} }

// project returns row in the table's schema.
func (p *projection) project(row connect.Value) connect.Value {
	st := row.Struct()
	if st.Schema() == p.to {
		return row
	}
	if st.Schema() != p.from {
		p.learn(st.Schema())
	}
	values := make([]connect.Value, len(p.at))
	for i, from := range p.at {
		if from >= 0 {
			values[i] = st.At(from)
		}
	}
	return connect.StructValue(p.to.StructOf(values))
}

func (p *projection) learn(from *connect.Schema) {
	p.from = from
	p.at = make([]int, len(p.to.Fields()))
	for i, f := range p.to.Fields() {
		p.at[i] = from.Index(f.Name)
	}
}

// left tells whether v stands for a value the database did not send.
func left(v connect.Value) bool {
	return (v.Kind() == connect.KindString || v.Kind() == connect.KindBytes) &&
		v.Len() == len(unavailable) && string(v.Bytes()) == unavailable
}

// incomplete tells whether a row has columns the database did not send.
func (p *projection) incomplete(row connect.Value) bool {
	for _, v := range row.Struct().Values() {
		if left(v) {
			return true
		}
	}
	return false
}

// complete returns row with the columns that were not sent taken from old.
func (p *projection) complete(row, old connect.Value) connect.Value {
	values := append([]connect.Value(nil), row.Struct().Values()...)
	for i, v := range values {
		if left(v) {
			values[i] = old.Struct().At(i)
		}
	}
	return connect.StructValue(row.Struct().Schema().StructOf(values))
}
