package transforms

import (
	"strings"

	"github.com/tidemill/tidemill/connect"
)

func extractNewRecordStatePlugins() []connect.Plugin[connect.Transform] {
	return one("io.debezium.transforms.ExtractNewRecordState", "Replaces a change event with the row after the change.", connect.NewConfigDef(
		connect.ConfigKey{Name: "delete.tombstone.handling.mode", Aliases: []string{"delete.handling.tombstone.mode"}, Default: deleteTombstone,
			Check: connect.OneOf(deleteDrop, deleteTombstone, deleteRewrite, deleteRewriteBoth, deleteToTombstone), Importance: connect.Medium,
			Doc: "What becomes of a delete and the tombstone behind it: drop drops both, tombstone keeps the tombstone, rewrite keeps the old row with __deleted=true, rewrite-with-tombstone keeps that and the tombstone, delete-to-tombstone makes the delete a tombstone."},
		connect.ConfigKey{Name: "delete.handling.mode", Optional: true, Check: connect.OneOf("drop", "rewrite", "none"), Importance: connect.Low, Doc: "The older way to say it, together with drop.tombstones: drop, rewrite or none."},
		connect.ConfigKey{Name: "drop.tombstones", Type: connect.TypeBoolean, Default: "true", Importance: connect.Low, Doc: "The older way to say whether tombstones are dropped. It counts only where it or delete.handling.mode is given."},
		connect.ConfigKey{Name: "route.by.field", Optional: true, Importance: connect.Medium, Doc: "A field of the row whose value becomes the topic."},
		connect.ConfigKey{Name: "add.fields", Type: connect.TypeList, Importance: connect.Medium, Doc: "Fields to add from the event, such as op,source.ts_ms or op:operation."},
		connect.ConfigKey{Name: "add.fields.prefix", Default: "__", Importance: connect.Low, Doc: "What stands before their names."},
		connect.ConfigKey{Name: "add.headers", Type: connect.TypeList, Importance: connect.Medium, Doc: "Headers to add from the event."},
		connect.ConfigKey{Name: "add.headers.prefix", Default: "__", Importance: connect.Low, Doc: "What stands before their names."},
		replaceNull(),
	), func() connect.Transform { return &extractNewRecordState{} })
}

// The values of delete.tombstone.handling.mode.
const (
	deleteDrop        = "drop"
	deleteTombstone   = "tombstone"
	deleteRewrite     = "rewrite"
	deleteRewriteBoth = "rewrite-with-tombstone"
	deleteToTombstone = "delete-to-tombstone"
	deleteNone        = "none" // From delete.handling.mode: a delete becomes a null, tombstones stay.
)

const deletedField = "__deleted"

type extractNewRecordState struct {
	base
	mode     string
	route    string
	fields   []reference
	headers  []reference
	defaults bool
	plans    plans[*unwrapPlan]
}

// reference names a part of the event and what it is called afterwards.
type reference struct {
	path []string
	name string
}

// unwrapPlan is what was worked out for an envelope's schema.
type unwrapPlan struct {
	ok       bool // It is an envelope.
	envelope connect.Envelope
	reshape  reshape // The row with what is added; nil out when nothing is.
	row      *connect.Schema
	fields   []found
	headers  []found
	route    int
}

// found is where a reference leads: fields of fields, and the schema at the end. An
// empty path leads nowhere.
type found struct {
	at     []int
	schema *connect.Schema
}

// Configure implements connect.Transform.
func (t *extractNewRecordState) Configure(s connect.Settings) error {
	t.mode = strings.ToLower(s.String("delete.tombstone.handling.mode"))
	if s.Given("delete.handling.mode") || s.Given("drop.tombstones") {
		t.mode = olderMode(strings.ToLower(s.String("delete.handling.mode")), s.Bool("drop.tombstones"))
	}
	t.route, t.defaults = s.String("route.by.field"), s.Bool("replace.null.with.default")
	t.fields = references(s.List("add.fields"), s.String("add.fields.prefix"))
	t.headers = references(s.List("add.headers"), s.String("add.headers.prefix"))
	return nil
}

// olderMode translates the two older settings.
func olderMode(handling string, dropTombstones bool) string {
	switch {
	case handling == "rewrite" && dropTombstones:
		return deleteRewrite
	case handling == "rewrite":
		return deleteRewriteBoth
	case handling == "none" && dropTombstones:
		return deleteToTombstone
	case handling == "none":
		return deleteNone
	case dropTombstones:
		return deleteDrop
	}
	return deleteTombstone
}

// references reads field, struct.field and field:name.
func references(list []string, prefix string) []reference {
	var refs []reference
	for _, item := range list {
		path, name, renamed := strings.Cut(item, ":")
		if !renamed {
			name = strings.ReplaceAll(path, ".", "_")
		}
		refs = append(refs, reference{strings.Split(path, "."), prefix + name})
	}
	return refs
}

// Apply implements connect.Transform.
func (t *extractNewRecordState) Apply(r *connect.Record) (bool, error) {
	if r.Value.IsNull() {
		return t.mode == deleteTombstone || t.mode == deleteRewriteBoth || t.mode == deleteNone, nil
	}
	p, err := t.plans.get(r.ValueSchema, t.compile)
	if err != nil || !p.ok {
		return true, err // What is no change event passes as it is.
	}
	st, err := structOf("unwrap", r.ValueSchema, r.Value)
	if err != nil {
		return false, err
	}
	c := p.envelope.Change(r.Value)
	row, deleted := c.After, false
	switch c.Op {
	case connect.OpTruncate, connect.OpMessage:
		return false, nil // There is no row.
	case connect.OpDelete:
		if t.mode == deleteDrop || t.mode == deleteTombstone {
			return false, nil
		}
		row, deleted = c.Before, true
	}
	if row.IsNull() && !deleted {
		return false, bad("unwrap", "the change has op %q and no row after it", c.Op)
	}
	if err := p.routed(r, row, t.route); err != nil {
		return false, err
	}
	r.Headers = p.withHeaders(r.Headers, st, t.headers)
	if deleted && (t.mode == deleteToTombstone || t.mode == deleteNone || row.IsNull()) {
		r.ValueSchema, r.Value = nil, connect.Value{}
		return true, nil
	}
	t.setRow(r, p, row, deleted)
	return true, nil
}

// setRow makes the row, with what is added, the record's value.
func (t *extractNewRecordState) setRow(r *connect.Record, p *unwrapPlan, row connect.Value, deleted bool) {
	event := r.Value.Struct()
	if p.reshape.out == nil {
		r.ValueSchema, r.Value = p.row, row
		return
	}
	values := p.reshape.row(row.Struct(), t.defaults)
	at := len(values) - len(p.fields)
	for i, f := range p.fields {
		values[at+i] = f.value(event)
	}
	if t.rewrites() {
		text := "false"
		if deleted {
			text = "true"
		}
		values[at-1] = connect.String(text)
	}
	r.ValueSchema, r.Value = p.reshape.out, connect.StructValue(p.reshape.out.StructOf(values))
}

func (t *extractNewRecordState) rewrites() bool {
	return t.mode == deleteRewrite || t.mode == deleteRewriteBoth
}

// value follows the path in an event, null where it breaks off.
func (f found) value(event *connect.Struct) connect.Value {
	if len(f.at) == 0 {
		return connect.Value{}
	}
	return follow(event, f.at)
}

func (p *unwrapPlan) routed(r *connect.Record, row connect.Value, name string) error {
	if name == "" || row.IsNull() {
		return nil
	}
	if p.route < 0 {
		return bad("unwrap", "route.by.field names %q, and the row has no such field", name)
	}
	v := row.Struct().At(p.route)
	if v.Kind() != connect.KindString || v.Len() == 0 {
		return bad("unwrap", "the field %q, named in route.by.field, holds no topic", name)
	}
	r.Topic = v.Str()
	return nil
}

func (p *unwrapPlan) withHeaders(headers []connect.Header, event *connect.Struct, refs []reference) []connect.Header {
	headers = headers[:len(headers):len(headers)]
	for i, f := range p.headers {
		headers = append(headers, connect.Header{Key: refs[i].name, Schema: f.schema, Value: f.value(event)})
	}
	return headers
}

func (t *extractNewRecordState) compile(s *connect.Schema) (*unwrapPlan, error) {
	p := &unwrapPlan{route: -1}
	if p.envelope, p.ok = connect.EnvelopeOf(s); !p.ok {
		return p, nil
	}
	p.row = p.envelope.Row()
	if t.route != "" {
		p.route = p.row.Index(t.route)
	}
	for _, ref := range t.headers {
		p.headers = append(p.headers, find(s, ref))
	}
	if len(t.fields) == 0 && !t.rewrites() {
		return p, nil
	}
	var fields []connect.Field
	for i, f := range p.row.Fields() {
		p.reshape.from, fields = append(p.reshape.from, i), append(fields, f)
	}
	add := func(name string, s *connect.Schema) {
		p.reshape.from, fields = append(p.reshape.from, -1), append(fields, connect.Field{Name: name, Schema: s})
	}
	if t.rewrites() {
		add(deletedField, connect.Of(connect.KindString).AsOptional())
	}
	for _, ref := range t.fields {
		f := find(s, ref)
		p.fields = append(p.fields, f)
		add(ref.name, f.schema)
	}
	var err error
	if p.reshape.out, err = derive(p.row, fields); err != nil {
		return nil, bad("unwrap", "%v", err)
	}
	return p, nil
}

// find looks a reference up in an envelope. A name without a struct is one of the
// envelope's own, or else of the source block. What is not there is an optional text
// that is always null.
func find(s *connect.Schema, ref reference) found {
	path := ref.path
	if len(path) == 1 && s.Index(path[0]) < 0 {
		path = []string{"source", path[0]}
	}
	f, optional := found{schema: s}, false
	for _, name := range path {
		if f.schema.Kind() != connect.KindStruct || f.schema.Index(name) < 0 {
			return found{schema: connect.Of(connect.KindString).AsOptional()}
		}
		i := f.schema.Index(name)
		f.at, f.schema = append(f.at, i), f.schema.Fields()[i].Schema
		optional = optional || f.schema.Optional()
	}
	if optional {
		f.schema = f.schema.AsOptional()
	}
	return f
}
