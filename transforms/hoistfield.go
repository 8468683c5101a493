package transforms

import "github.com/tidemill/tidemill/connect"

func hoistFieldPlugins() []connect.Plugin[connect.Transform] {
	return both("HoistField", "Wraps the key or value in a struct with one field.", connect.NewConfigDef(connect.ConfigKey{
		Name: "field", Required: true, Importance: connect.Medium, Doc: "The name of the field.",
	}), func(k side) connect.Transform { return &hoistField{side: k} })
}

type hoistField struct {
	base
	side  side
	name  string
	plans plans[*connect.Schema]
}

// Configure implements connect.Transform.
func (t *hoistField) Configure(s connect.Settings) error {
	t.name = s.String("field")
	return nil
}

// Apply implements connect.Transform.
func (t *hoistField) Apply(r *connect.Record) (bool, error) {
	s, v := t.side.of(r)
	if s == nil {
		t.side.set(r, nil, connect.Map([]connect.MapEntry{{Key: connect.String(t.name), Value: v}}))
		return true, nil
	}
	out, err := t.plans.get(s, func(s *connect.Schema) (*connect.Schema, error) {
		return connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{{Name: t.name, Schema: s}}}.Build()
	})
	if err != nil {
		return false, err
	}
	t.side.set(r, out, connect.StructValue(out.StructOf([]connect.Value{v})))
	return true, nil
}
