package transforms

import "github.com/tidemill/tidemill/connect"

// maxPlans bounds what is kept for schemas that came by.
const maxPlans = 256

// plans keeps what was worked out for a schema. Schemas are interned, so their
// pointers are keys. The zero value is ready; it belongs to one goroutine.
type plans[P any] struct {
	last   *connect.Schema
	latest P
	known  map[*connect.Schema]P
}

// get returns the plan for s, and makes it when it is new.
func (c *plans[P]) get(s *connect.Schema, build func(*connect.Schema) (P, error)) (P, error) {
	if s == c.last && s != nil {
		return c.latest, nil
	}
	p, ok := c.known[s]
	if !ok {
		var err error
		if p, err = build(s); err != nil {
			return p, err
		}
		if c.known == nil || len(c.known) >= maxPlans {
			c.known = map[*connect.Schema]P{}
		}
		c.known[s] = p
	}
	c.last, c.latest = s, p
	return p, nil
}

// reshape is the commonest plan: an output schema, and for each of its fields the
// input field it is copied from, -1 for one that is set otherwise.
type reshape struct {
	out  *connect.Schema
	from []int
}

// row returns the values of a new row copied from st.
func (p *reshape) row(st *connect.Struct, withDefault bool) []connect.Value {
	values := make([]connect.Value, len(p.from))
	for i, from := range p.from {
		if from >= 0 {
			values[i] = field(st, from, withDefault)
		}
	}
	return values
}
