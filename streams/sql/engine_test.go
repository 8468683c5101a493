package sql

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/topics"
)

// bench is what a script works on.
type bench struct {
	t       *testing.T
	cluster *cluster
	log     *memoryLog
	schemas registryOf
	engine  *Engine
	read    map[string]int // how much of each topic was shown
}

// TestScripts runs the scripts of whole sessions. The commands are:
//
//	topic NAME                 makes a topic
//	schema TOPIC key|value     sets a topic's schema, one field NAME TYPE a line; "envelope" first for change events
//	put TOPIC                  writes records: key, a space, value; - is null; before it @ms, the time
//	run                        executes statements and shows the entities as tables
//	json                       executes statements and shows the entities as JSON
//	query [earliest]           runs a query and shows its rows
//	read TOPIC                 shows the records written to a topic since the last read
//	restart                    opens a new engine on the same log and topics
func TestScripts(t *testing.T) {
	runScripts(t, "testdata/engine/*.test", func(t *testing.T) func(step) string {
		b := &bench{t: t, cluster: newCluster(t), log: &memoryLog{}, schemas: registryOf{}, read: map[string]int{}}
		b.engine = engineOn(t, b.cluster, b.log, b.schemas)
		return b.step
	})
}

func (b *bench) step(s step) string {
	switch s.command {
	case "topic":
		return b.result(b.cluster.Create(b.t.Context(), topics.Spec{Name: s.args[0], Partitions: 1}))
	case "schema":
		return b.result(b.schema(s))
	case "put":
		return b.result(b.put(s))
	case "run", "json":
		return b.run(s)
	case "query":
		return b.query(s)
	case "read":
		return b.topic(s.args[0])
	case "restart":
		if err := b.engine.Close(b.t.Context()); err != nil {
			return b.result(err)
		}
		b.cluster.apps = map[string]*localApp{}
		for name := range b.cluster.topics {
			for _, q := range b.engine.catalog.queries {
				if q.plan.sink != nil && q.plan.sink.topic == name {
					b.cluster.topics[name], b.read[name] = []*topics.Record{}, 0
				}
			}
		}
		b.engine = engineOn(b.t, b.cluster, b.log, b.schemas)
		return ""
	}
	return "unknown command " + s.command
}

func (b *bench) result(err error) string {
	if err != nil {
		if _, ok := asFault(err); ok {
			return faultText(b.t, err)
		}
		return "error: " + err.Error()
	}
	return ""
}

func asFault(err error) (*Error, bool) {
	for err != nil {
		if f, ok := err.(*Error); ok {
			return f, true
		}
		u, ok := err.(interface{ Unwrap() []error })
		if !ok || len(u.Unwrap()) == 0 {
			return nil, false
		}
		err = u.Unwrap()[0]
	}
	return nil, false
}

// schema sets a schema from lines of a field's name and SQL type.
func (b *bench) schema(s step) error {
	lines := strings.Split(s.input, "\n")
	envelope := lines[0] == "envelope"
	if envelope {
		lines = lines[1:]
	}
	def := connect.SchemaDef{Kind: connect.KindStruct, Name: s.args[0] + ".Value"}
	for _, l := range lines {
		n, typ, _ := strings.Cut(l, " ")
		t, err := parseType(typ)
		if err != nil {
			return err
		}
		fs, err := t.Schema()
		if err != nil {
			return err
		}
		def.Fields = append(def.Fields, connect.Field{Name: n, Schema: fs})
	}
	schema, err := def.Build()
	if err == nil && envelope {
		var source *connect.Schema
		if source, err = (connect.SchemaDef{Kind: connect.KindStruct, Name: "source", Fields: []connect.Field{{Name: "lsn", Schema: connect.Of(connect.KindInt64)}}}).Build(); err == nil {
			schema, err = connect.EnvelopeSchema(s.args[0]+".Envelope", schema.AsOptional(), source)
		}
	}
	b.schemas[s.args[0]+"-"+s.args[1]] = schema
	return err
}

func (b *bench) put(s step) error {
	for _, l := range strings.Split(s.input, "\n") {
		at := b.cluster.at()
		if rest, timed := strings.CutPrefix(l, "@"); timed {
			ms, record, _ := strings.Cut(rest, " ")
			n, err := strconv.ParseInt(ms, 10, 64)
			if err != nil {
				return err
			}
			at, l = time.UnixMilli(n), record
		}
		k, v, _ := strings.Cut(l, " ")
		r := &topics.Record{Topic: s.args[0], Key: b.encoded(s.args[0], true, k), Value: b.encoded(s.args[0], false, v), Timestamp: at}
		if err := b.cluster.Produce(b.t.Context(), r); err != nil {
			return err
		}
	}
	return nil
}

// encoded gives the bytes of a key or value: as they stand, or when the topic has a
// schema as JSON with that schema.
func (b *bench) encoded(topic string, key bool, text string) []byte {
	schema, ok, _ := b.schemas.Schema(b.t.Context(), topic, key)
	switch {
	case text == "-":
		return nil
	case !ok:
		return []byte(text)
	}
	plain, err := jsonFormat("false")(key)
	if err != nil {
		b.t.Fatal(err)
	}
	_, v, err := plain.ToConnect(b.t.Context(), topic, []byte(text))
	if err != nil {
		b.t.Fatal(err)
	}
	conv, err := jsonFormat("true")(key)
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := conv.FromConnect(b.t.Context(), []byte{}, topic, schema, shaped(schema, v))
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// shaped brings a value without schema into that of a schema.
func shaped(s *connect.Schema, v connect.Value) connect.Value {
	switch {
	case v.IsNull():
		return v
	case s.Kind() == connect.KindStruct:
		out := s.NewStruct()
		for i, f := range s.Fields() {
			out.Set(i, shaped(f.Schema, member(v, f.Name)))
		}
		return connect.StructValue(out)
	case isInt(s.Kind()):
		return connect.IntOf(s.Kind(), v.Int())
	}
	return v
}

func (b *bench) run(s step) string {
	entities, err := b.engine.Execute(b.t.Context(), Request{Text: s.input})
	var out []string
	for _, en := range entities {
		if s.command == "json" {
			raw, err := json.Marshal(en)
			if err != nil {
				b.t.Fatal(err)
			}
			out = append(out, string(raw))
			continue
		}
		head, rows := en.Table()
		out = append(out, strings.Join(head, " | "))
		for _, r := range rows {
			out = append(out, "  "+strings.ReplaceAll(strings.TrimRight(strings.Join(r, " | "), "\n"), "\n", "\n  "))
		}
	}
	if err != nil {
		out = append(out, b.result(err))
	}
	return strings.Join(out, "\n")
}

// answer gathers what a query gives.
type answer struct{ out []string }

func (a *answer) Header(h Header) error {
	a.out = append(a.out, h.Schema())
	return nil
}

func (a *answer) Row(r Row) error {
	line := string(r.AppendJSON(nil))
	if r.Tombstone {
		line += " gone"
	}
	a.out = append(a.out, line)
	return nil
}

func (b *bench) query(s step) string {
	a := &answer{}
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	properties := map[string]string{}
	if len(s.args) > 0 {
		properties["auto.offset.reset"] = s.args[0]
	}
	_, err := b.engine.Query(ctx, Request{Text: s.input, Properties: properties}, a)
	if err != nil {
		a.out = append(a.out, b.result(err))
	}
	return strings.Join(a.out, "\n")
}

func (b *bench) topic(name string) string {
	var out []string
	for _, r := range b.cluster.topics[name][b.read[name]:] {
		out = append(out, fmt.Sprintf("%s %s", shown(r.Key), shown(r.Value)))
	}
	b.read[name] = len(b.cluster.topics[name])
	return strings.Join(out, "\n")
}

func shown(b []byte) string {
	if b == nil {
		return "-"
	}
	return readable(b).Str()
}
