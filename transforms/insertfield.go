package transforms

import (
	"strings"

	"github.com/tidemill/tidemill/connect"
)

func insertFieldPlugins() []connect.Plugin[connect.Transform] {
	name := func(name, doc string) connect.ConfigKey {
		return connect.ConfigKey{Name: name, Optional: true, Importance: connect.Medium, Doc: doc + " A trailing ! makes it required, ? (the default) optional."}
	}
	return both("InsertField", "Adds fields with what is known about the record, or a fixed text.", connect.NewConfigDef(
		name("topic.field", "Field for the topic."),
		name("partition.field", "Field for the partition."),
		connect.ConfigKey{Name: "offset.field", Optional: true, Check: connect.CheckText(func(string) error {
			return wrongSetting("offset.field", "the offset is not known to transforms here: leave this out")
		}), Importance: connect.Low, Doc: "Field for the offset. It is not supported."},
		name("timestamp.field", "Field for the timestamp."),
		name("static.field", "Field for static.value."),
		connect.ConfigKey{Name: "static.value", Optional: true, Importance: connect.Medium, Doc: "The text for static.field."},
		replaceNull(),
	), func(k side) connect.Transform { return &insertField{side: k} })
}

// inserted is one field that is added.
type inserted struct {
	name     string
	schema   *connect.Schema
	optional bool
	value    func(r *connect.Record) connect.Value
}

type insertField struct {
	base
	side     side
	fields   []inserted
	defaults bool
	plans    plans[*reshape]
}

// Configure implements connect.Transform.
func (t *insertField) Configure(s connect.Settings) error {
	t.fields, t.defaults = nil, s.Bool("replace.null.with.default")
	timestamp := connect.SchemaDef{Kind: connect.KindInt64, Name: connect.LogicalTimestamp, Version: 1}.MustBuild()
	text := s.String("static.value")
	for _, f := range []struct {
		setting string
		schema  *connect.Schema
		value   func(*connect.Record) connect.Value
	}{
		{"topic.field", connect.Of(connect.KindString), func(r *connect.Record) connect.Value { return connect.String(r.Topic) }},
		{"partition.field", connect.Of(connect.KindInt32), partitionValue},
		{"timestamp.field", timestamp, timestampValue},
		{"static.field", connect.Of(connect.KindString), func(*connect.Record) connect.Value { return connect.String(text) }},
	} {
		name := s.String(f.setting)
		if name == "" {
			continue
		}
		in := inserted{name: strings.TrimRight(name, "!?"), optional: !strings.HasSuffix(name, "!"), schema: f.schema, value: f.value}
		if in.optional {
			in.schema = f.schema.AsOptional()
		}
		t.fields = append(t.fields, in)
	}
	switch {
	case len(t.fields) == 0:
		return wrongSetting("static.field", "No field insertion configured")
	case s.Given("static.field") != s.Given("static.value"):
		return wrongSetting("static.value", "static.field and static.value belong together")
	}
	return nil
}

func partitionValue(r *connect.Record) connect.Value {
	if r.Partition == connect.AnyPartition {
		return connect.Value{}
	}
	return connect.Int32(r.Partition)
}

func timestampValue(r *connect.Record) connect.Value {
	if r.Timestamp == connect.NoTimestamp {
		return connect.Value{}
	}
	return connect.Int64(r.Timestamp)
}

// Apply implements connect.Transform.
func (t *insertField) Apply(r *connect.Record) (bool, error) {
	s, v := t.side.of(r)
	switch {
	case v.IsNull():
		return true, nil
	case s == nil:
		entries, err := entriesOf("insert_field", v)
		if err != nil {
			return false, err
		}
		for _, f := range t.fields {
			entries = put(entries, f.name, f.value(r))
		}
		t.side.set(r, nil, connect.Map(entries))
		return true, nil
	}
	st, err := structOf("insert_field", s, v)
	if err != nil {
		return false, err
	}
	p, err := t.plans.get(s, t.compile)
	if err != nil {
		return false, err
	}
	row := p.row(st, t.defaults)
	for i, f := range t.fields {
		added := f.value(r)
		if added.IsNull() && !f.optional {
			return false, bad("insert_field", "the field %s is required, and the record has nothing for it", f.name)
		}
		row[len(row)-len(t.fields)+i] = added
	}
	t.side.set(r, p.out, connect.StructValue(p.out.StructOf(row)))
	return true, nil
}

func (t *insertField) compile(s *connect.Schema) (*reshape, error) {
	p := &reshape{}
	var fields []connect.Field
	for i, f := range s.Fields() {
		p.from, fields = append(p.from, i), append(fields, f)
	}
	for _, f := range t.fields {
		p.from, fields = append(p.from, -1), append(fields, connect.Field{Name: f.name, Schema: f.schema})
	}
	var err error
	if p.out, err = derive(s, fields); err != nil {
		return nil, bad("insert_field", "%v", err)
	}
	return p, nil
}
