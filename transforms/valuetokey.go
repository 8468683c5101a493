package transforms

import "github.com/tidemill/tidemill/connect"

func valueToKeyPlugins() []connect.Plugin[connect.Transform] {
	return one(kafka+"ValueToKey", "Makes the key of fields of the value.", connect.NewConfigDef(
		connect.ConfigKey{Name: "fields", Type: connect.TypeList, Required: true, Importance: connect.High, Doc: "The fields, in order."},
		replaceNull(),
	), func() connect.Transform { return &valueToKey{} })
}

type valueToKey struct {
	base
	fields   []string
	defaults bool
	plans    plans[*reshape]
}

// Configure implements connect.Transform.
func (t *valueToKey) Configure(s connect.Settings) error {
	t.fields, t.defaults = s.List("fields"), s.Bool("replace.null.with.default")
	if len(t.fields) == 0 {
		return wrongSetting("fields", "name at least one field")
	}
	return nil
}

// Apply implements connect.Transform.
func (t *valueToKey) Apply(r *connect.Record) (bool, error) {
	if r.ValueSchema == nil {
		entries, err := entriesOf("value_to_key", r.Value)
		if err != nil {
			return false, err
		}
		key := make([]connect.MapEntry, len(t.fields))
		for i, name := range t.fields {
			v, _ := lookup(entries, name)
			key[i] = connect.MapEntry{Key: connect.String(name), Value: v}
		}
		r.KeySchema, r.Key = nil, connect.Map(key)
		return true, nil
	}
	st, err := structOf("value_to_key", r.ValueSchema, r.Value)
	if err != nil {
		return false, err
	}
	p, err := t.plans.get(r.ValueSchema, t.compile)
	if err != nil {
		return false, err
	}
	r.KeySchema, r.Key = p.out, connect.StructValue(p.out.StructOf(p.row(st, t.defaults)))
	return true, nil
}

func (t *valueToKey) compile(s *connect.Schema) (*reshape, error) {
	p := &reshape{}
	var fields []connect.Field
	for _, name := range t.fields {
		i := s.Index(name)
		if i < 0 {
			return nil, bad("value_to_key", "Field does not exist: %s", name)
		}
		p.from, fields = append(p.from, i), append(fields, s.Fields()[i])
	}
	var err error
	p.out, err = connect.SchemaDef{Kind: connect.KindStruct, Fields: fields}.Build()
	return p, err
}
