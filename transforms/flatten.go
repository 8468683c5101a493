package transforms

import "github.com/tidemill/tidemill/connect"

func flattenPlugins() []connect.Plugin[connect.Transform] {
	return both("Flatten", "Makes fields of the fields of nested structs; their names are joined.", connect.NewConfigDef(
		connect.ConfigKey{Name: "delimiter", Default: ".", Importance: connect.Medium, Doc: "What stands between the names."},
	), func(k side) connect.Transform { return &flatten{side: k} })
}

type flatten struct {
	base
	side      side
	delimiter string
	plans     plans[*flattenPlan]
}

// flattenPlan is the flat schema and the way to each of its fields.
type flattenPlan struct {
	out    *connect.Schema
	fields []connect.Field
	paths  [][]int
}

// Configure implements connect.Transform.
func (t *flatten) Configure(s connect.Settings) error {
	t.delimiter = s.String("delimiter")
	return nil
}

// Apply implements connect.Transform.
func (t *flatten) Apply(r *connect.Record) (bool, error) {
	s, v := t.side.of(r)
	switch {
	case v.IsNull():
		return true, nil
	case s == nil:
		entries, err := entriesOf("flatten", v)
		if err != nil {
			return false, err
		}
		t.side.set(r, nil, connect.Map(t.flattenMap(nil, "", entries)))
		return true, nil
	}
	st, err := structOf("flatten", s, v)
	if err != nil {
		return false, err
	}
	p, err := t.plans.get(s, t.compile)
	if err != nil {
		return false, err
	}
	values := make([]connect.Value, len(p.paths))
	for i, path := range p.paths {
		values[i] = follow(st, path)
	}
	t.side.set(r, p.out, connect.StructValue(p.out.StructOf(values)))
	return true, nil
}

// follow returns the value at the end of a path, null where it breaks off.
func follow(st *connect.Struct, path []int) connect.Value {
	for {
		v := field(st, path[0], true)
		if path = path[1:]; len(path) == 0 || v.Kind() != connect.KindStruct {
			return v
		}
		st = v.Struct()
	}
}

func (t *flatten) flattenMap(out []connect.MapEntry, prefix string, entries []connect.MapEntry) []connect.MapEntry {
	for _, e := range entries {
		name := prefix + keyName(e.Key)
		if e.Value.Kind() == connect.KindMap {
			out = t.flattenMap(out, name+t.delimiter, e.Value.Map())
			continue
		}
		out = append(out, connect.MapEntry{Key: connect.String(name), Value: e.Value})
	}
	return out
}

func keyName(key connect.Value) string {
	if key.Kind() == connect.KindString {
		return key.Str()
	}
	return key.String()
}

func (t *flatten) compile(s *connect.Schema) (*flattenPlan, error) {
	p := &flattenPlan{}
	t.walk(p, s, "", flattened{optional: s.Optional()})
	var err error
	if p.out, err = derive(s, p.fields); err != nil {
		return nil, bad("flatten", "%v", err)
	}
	return p, nil
}

// flattened is where walk stands: the way there, and whether it can break off.
type flattened struct {
	path     []int
	optional bool
}

func (t *flatten) walk(p *flattenPlan, s *connect.Schema, prefix string, at flattened) {
	for i, f := range s.Fields() {
		path := append(at.path[:len(at.path):len(at.path)], i)
		optional := at.optional || f.Schema.Optional()
		if f.Schema.Kind() == connect.KindStruct {
			t.walk(p, f.Schema, prefix+f.Name+t.delimiter, flattened{path, optional})
			continue
		}
		out := f.Schema
		if optional {
			out = out.AsOptional()
		}
		p.fields = append(p.fields, connect.Field{Name: prefix + f.Name, Schema: out})
		p.paths = append(p.paths, path)
	}
}
