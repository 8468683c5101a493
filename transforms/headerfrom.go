package transforms

import (
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

func headerFromPlugins() []connect.Plugin[connect.Transform] {
	return both("HeaderFrom", "Moves or copies fields to headers.", connect.NewConfigDef(
		connect.ConfigKey{Name: "fields", Type: connect.TypeList, Required: true, Importance: connect.High, Doc: "The fields."},
		connect.ConfigKey{Name: "headers", Type: connect.TypeList, Required: true, Importance: connect.High, Doc: "The headers, in the order of the fields."},
		connect.ConfigKey{Name: "operation", Required: true, Check: connect.OneOf("move", "copy"), Importance: connect.High, Doc: "move takes the fields away, copy leaves them."},
		replaceNull(),
	), func(k side) connect.Transform { return &headerFrom{side: k} })
}

type headerFrom struct {
	base
	side            side
	fields, headers []string
	moves, defaults bool
	plans           plans[*headerPlan]
}

// headerPlan is what is left of a struct, and which fields go to the headers, -1 for
// those it does not have.
type headerPlan struct {
	rest reshape
	at   []int
}

// Configure implements connect.Transform.
func (t *headerFrom) Configure(s connect.Settings) error {
	t.fields, t.headers = s.List("fields"), s.List("headers")
	t.moves, t.defaults = strings.EqualFold(s.String("operation"), "move"), s.Bool("replace.null.with.default")
	if len(t.fields) == 0 || len(t.fields) != len(t.headers) {
		return wrongSetting("headers", "fields and headers must have the same number of elements, at least one")
	}
	return nil
}

// Apply implements connect.Transform.
func (t *headerFrom) Apply(r *connect.Record) (bool, error) {
	s, v := t.side.of(r)
	switch {
	case v.IsNull():
		return true, nil
	case s == nil:
		return true, t.applyMap(r, v)
	}
	st, err := structOf("header_from", s, v)
	if err != nil {
		return false, err
	}
	p, err := t.plans.get(s, t.compile)
	if err != nil {
		return false, err
	}
	headers := slices.Clip(r.Headers)
	for i, at := range p.at {
		headers = append(headers, connect.Header{Key: t.headers[i], Schema: s.Fields()[at].Schema, Value: field(st, at, t.defaults)})
	}
	r.Headers = headers
	if t.moves {
		t.side.set(r, p.rest.out, connect.StructValue(p.rest.out.StructOf(p.rest.row(st, false))))
	}
	return true, nil
}

func (t *headerFrom) applyMap(r *connect.Record, v connect.Value) error {
	entries, err := entriesOf("header_from", v)
	if err != nil {
		return err
	}
	headers := slices.Clip(r.Headers)
	for i, name := range t.fields {
		value, _ := lookup(entries, name)
		headers = append(headers, connect.Header{Key: t.headers[i], Value: value})
	}
	r.Headers = headers
	if t.moves {
		left := slices.DeleteFunc(slices.Clone(entries), func(e connect.MapEntry) bool {
			return e.Key.Kind() == connect.KindString && slices.Contains(t.fields, e.Key.Str())
		})
		t.side.set(r, nil, connect.Map(left))
	}
	return nil
}

func (t *headerFrom) compile(s *connect.Schema) (*headerPlan, error) {
	p := &headerPlan{}
	for _, name := range t.fields {
		i := s.Index(name)
		if i < 0 {
			return nil, bad("header_from", "Field does not exist: %s", name)
		}
		p.at = append(p.at, i)
	}
	var fields []connect.Field
	for i, f := range s.Fields() {
		if !slices.Contains(t.fields, f.Name) {
			p.rest.from, fields = append(p.rest.from, i), append(fields, f)
		}
	}
	var err error
	p.rest.out, err = derive(s, fields)
	return p, err
}
