package transforms

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

func eventRouterPlugins() []connect.Plugin[connect.Transform] {
	text := func(name, def, doc string) connect.ConfigKey {
		return connect.ConfigKey{Name: name, Default: def, Optional: def == "", Importance: connect.Medium, Doc: doc}
	}
	return one("io.debezium.transforms.outbox.EventRouter", "Makes events of the rows inserted into an outbox table.", connect.NewConfigDef(
		text("table.field.event.id", "id", "The column with the event's id, which becomes the header id."),
		text("table.field.event.key", "aggregateid", "The column with the key."),
		text("table.field.event.type", "type", "The column with the event's type."),
		text("table.field.event.payload", "payload", "The column with the payload."),
		text("table.field.event.timestamp", "", "The column with the event's time; without it the event's own time counts."),
		connect.ConfigKey{Name: "table.fields.additional.placement", Type: connect.TypeList, Importance: connect.Medium, Doc: "More columns to place, as column:header, column:envelope or column:partition, with :alias for another name."},
		text("route.by.field", "aggregatetype", "The column by which events are routed."),
		connect.ConfigKey{Name: "route.topic.regex", Default: "(?<routedByValue>.*)", Check: connect.CheckText(checkRegex), Importance: connect.Low, Doc: "A pattern for the value of that column."},
		text("route.topic.replacement", "outbox.event.${routedByValue}", "The topic, with the groups of the pattern."),
		connect.ConfigKey{Name: "route.tombstone.on.empty.payload", Type: connect.TypeBoolean, Default: "false", Importance: connect.Low, Doc: "Whether an empty payload makes a tombstone."},
		connect.ConfigKey{Name: "table.op.invalid.behavior", Default: "warn", Check: connect.OneOf("warn", "error", "fatal"), Importance: connect.Low, Doc: "What happens to updates of the table: warn drops them, error and fatal fail."},
		connect.ConfigKey{Name: "table.expand.json.payload", Default: "false", Check: connect.OneOf("false"), Importance: connect.Low, Doc: "Payloads stay as they are."},
	), func() connect.Transform { return &eventRouter{} })
}

type eventRouter struct {
	base
	id, key, payload, timestamp, route string
	placements                         []placement
	regex                              *regexp.Regexp
	replacement                        replacement
	tombstones, refuses                bool
	plans                              plans[*outboxPlan]
}

// placement is a further column and where it goes.
type placement struct{ column, where, alias string }

// outboxPlan is where the columns stand in the row, -1 for those not asked for.
type outboxPlan struct {
	ok                                 bool
	envelope                           connect.Envelope
	row                                *connect.Schema
	id, key, payload, timestamp, route int
	placed                             []int
	value                              *connect.Schema // With columns beside the payload; nil without.
}

// Configure implements connect.Transform.
func (t *eventRouter) Configure(s connect.Settings) (err error) {
	t.id, t.key, t.payload = s.String("table.field.event.id"), s.String("table.field.event.key"), s.String("table.field.event.payload")
	t.timestamp, t.route = s.String("table.field.event.timestamp"), s.String("route.by.field")
	t.tombstones = s.Bool("route.tombstone.on.empty.payload")
	t.refuses = !strings.EqualFold(s.String("table.op.invalid.behavior"), "warn")
	if t.regex, err = compileRegex(s.String("route.topic.regex")); err != nil {
		return wrongSetting("route.topic.regex", "%s", err)
	}
	if t.replacement, err = parseReplacement(s.String("route.topic.replacement"), t.regex); err != nil {
		return wrongSetting("route.topic.replacement", "%s", err)
	}
	t.placements, err = parsePlacements(s.List("table.fields.additional.placement"))
	return err
}

func parsePlacements(list []string) ([]placement, error) {
	var out []placement
	for _, item := range list {
		parts := strings.Split(item, ":")
		if len(parts) < 2 || len(parts) > 3 || parts[1] != "header" && parts[1] != "envelope" && parts[1] != "partition" {
			return nil, wrongSetting("table.fields.additional.placement", "%q is not column:header, column:envelope or column:partition", item)
		}
		out = append(out, placement{parts[0], parts[1], parts[len(parts)-1]})
		if len(parts) == 2 {
			out[len(out)-1].alias = parts[0]
		}
	}
	return out, nil
}

// Apply implements connect.Transform.
func (t *eventRouter) Apply(r *connect.Record) (bool, error) {
	if r.Value.IsNull() {
		return false, nil // The tombstone of a row that was cleared away.
	}
	p, err := t.plans.get(r.ValueSchema, t.compile)
	if err != nil || !p.ok {
		return true, err
	}
	if _, err := structOf("outbox", r.ValueSchema, r.Value); err != nil {
		return false, err
	}
	c := p.envelope.Change(r.Value)
	switch {
	case c.Op == connect.OpDelete || c.Op == connect.OpTruncate || c.Op == connect.OpMessage:
		return false, nil
	case c.Op == connect.OpUpdate && t.refuses:
		return false, bad("outbox", "Unexpected update message received in the outbox table: rows may only be inserted and deleted")
	case c.Op == connect.OpUpdate:
		return false, nil
	case c.After.IsNull():
		return false, bad("outbox", "the change has op %q and no row after it", c.Op)
	}
	return t.emit(r, p, c.After.Struct())
}

// emit makes the event of a row.
func (t *eventRouter) emit(r *connect.Record, p *outboxPlan, row *connect.Struct) (bool, error) {
	if err := t.setTopic(r, row.At(p.route)); err != nil {
		return false, err
	}
	fields := p.row.Fields()
	r.Timestamp = t.time(r, p, row)
	r.KeySchema, r.Key = fields[p.key].Schema, row.At(p.key)
	headers := append(r.Headers[:len(r.Headers):len(r.Headers)], connect.Header{Key: "id", Schema: fields[p.id].Schema, Value: row.At(p.id)})
	payload := row.At(p.payload)
	values := []connect.Value{payload}
	for i, place := range t.placements {
		v := row.At(p.placed[i])
		switch place.where {
		case "header":
			headers = append(headers, connect.Header{Key: place.alias, Schema: fields[p.placed[i]].Schema, Value: v})
		case "envelope":
			values = append(values, v)
		case "partition":
			if !v.IsInt() {
				return false, bad("outbox", "the column %s holds no partition", place.column)
			}
			r.Partition = int32(v.Int())
		}
	}
	r.Headers = headers
	switch {
	case t.tombstones && (payload.IsNull() || payload.Kind() == connect.KindString && payload.Len() == 0):
		r.ValueSchema, r.Value = nil, connect.Value{}
	case p.value != nil:
		r.ValueSchema, r.Value = p.value, connect.StructValue(p.value.StructOf(values))
	default:
		r.ValueSchema, r.Value = fields[p.payload].Schema, payload
	}
	return true, nil
}

func (t *eventRouter) setTopic(r *connect.Record, by connect.Value) error {
	if by.Kind() != connect.KindString {
		return bad("outbox", "the column %s, by which events are routed, holds no text", t.route)
	}
	topic, ok := t.replacement.replace(t.regex, by.Str())
	if !ok || topic == "" {
		return bad("outbox", "%q in the column %s does not match route.topic.regex", by.Str(), t.route)
	}
	r.Topic = topic
	return nil
}

// time is that of the column, or of the event.
func (t *eventRouter) time(r *connect.Record, p *outboxPlan, row *connect.Struct) int64 {
	var v connect.Value
	var s *connect.Schema
	if p.timestamp >= 0 {
		v, s = row.At(p.timestamp), p.row.Fields()[p.timestamp].Schema
	} else if at := p.envelope.TsMs; at >= 0 {
		v = r.Value.Struct().At(at)
	}
	if !v.IsInt() {
		return r.Timestamp
	}
	if s != nil && strings.HasSuffix(s.Name(), ".MicroTimestamp") {
		return v.Int() / 1000
	}
	if s != nil && strings.HasSuffix(s.Name(), ".NanoTimestamp") {
		return v.Int() / 1e6
	}
	return v.Int()
}

func (t *eventRouter) compile(s *connect.Schema) (*outboxPlan, error) {
	p := &outboxPlan{timestamp: -1}
	if p.envelope, p.ok = connect.EnvelopeOf(s); !p.ok {
		return p, nil
	}
	p.row = p.envelope.Row()
	for _, c := range []struct {
		name string
		at   *int
	}{{t.id, &p.id}, {t.key, &p.key}, {t.payload, &p.payload}, {t.timestamp, &p.timestamp}, {t.route, &p.route}} {
		if c.name == "" {
			continue
		}
		if *c.at = p.row.Index(c.name); *c.at < 0 {
			return nil, bad("outbox", "Unable to find the field %s in the outbox table", c.name)
		}
	}
	fields := []connect.Field{{Name: "payload", Schema: p.row.Fields()[p.payload].Schema}}
	for _, place := range t.placements {
		i := p.row.Index(place.column)
		if i < 0 {
			return nil, bad("outbox", "Unable to find the field %s in the outbox table", place.column)
		}
		p.placed = append(p.placed, i)
		if place.where == "envelope" {
			fields = append(fields, connect.Field{Name: place.alias, Schema: p.row.Fields()[i].Schema})
		}
	}
	if len(fields) == 1 {
		return p, nil
	}
	var err error
	if p.value, err = (connect.SchemaDef{Kind: connect.KindStruct, Fields: fields}).Build(); err != nil {
		err = fmt.Errorf("outbox: %w", err)
	}
	return p, err
}
