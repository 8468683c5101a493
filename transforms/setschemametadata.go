package transforms

import "github.com/tidemill/tidemill/connect"

func setSchemaMetadataPlugins() []connect.Plugin[connect.Transform] {
	return both("SetSchemaMetadata", "Sets the name or version of the schema.", connect.NewConfigDef(
		connect.ConfigKey{Name: "schema.name", Optional: true, Importance: connect.High, Doc: "The name."},
		connect.ConfigKey{Name: "schema.version", Type: connect.TypeInt, Optional: true, Importance: connect.High, Doc: "The version."},
		replaceNull(),
	), func(k side) connect.Transform { return &setSchemaMetadata{side: k} })
}

type setSchemaMetadata struct {
	base
	side                 side
	name                 string
	version              int
	setsName, setsNumber bool
	defaults             bool
	plans                plans[*connect.Schema]
}

// Configure implements connect.Transform.
func (t *setSchemaMetadata) Configure(s connect.Settings) error {
	t.name, t.setsName = s.String("schema.name"), s.Given("schema.name")
	t.version, t.setsNumber = s.Int("schema.version"), s.Given("schema.version")
	t.defaults = s.Bool("replace.null.with.default")
	if !t.setsName && !t.setsNumber {
		return wrongSetting("schema.name", "Neither schema name nor version configured")
	}
	return nil
}

// Apply implements connect.Transform.
func (t *setSchemaMetadata) Apply(r *connect.Record) (bool, error) {
	s, v := t.side.of(r)
	if s == nil && v.IsNull() {
		return true, nil
	}
	if s == nil {
		return false, bad("set_schema_metadata", "the record has no schema")
	}
	out, err := t.plans.get(s, t.compile)
	if err != nil {
		return false, err
	}
	if v.Kind() == connect.KindStruct {
		st := v.Struct()
		values := make([]connect.Value, len(st.Values()))
		for i := range values {
			values[i] = field(st, i, t.defaults)
		}
		v = connect.StructValue(out.StructOf(values))
	}
	t.side.set(r, out, v)
	return true, nil
}

func (t *setSchemaMetadata) compile(s *connect.Schema) (*connect.Schema, error) {
	d := s.Def()
	if t.setsName {
		d.Name = t.name
	}
	if t.setsNumber {
		d.Version = t.version
	}
	if d.Kind == connect.KindStruct {
		d.Default = connect.Value{}
	}
	return d.Build()
}
