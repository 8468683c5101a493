package sql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/streams"
	recordfault "github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// persistent is a query that runs until it is terminated. All but the flags is set
// once.
type persistent struct {
	id         string
	plan       *plan
	statement  string
	properties map[string]string
	built      *built
	insert     bool // made by INSERT INTO
	started    atomic.Bool
	fault      error // why it could not be started when the Engine was opened
	paused     atomic.Bool
}

// prepareAs checks CREATE STREAM|TABLE AS SELECT and makes its topic.
func (e *Engine) prepareAs(ctx context.Context, c *change, st *createAs, text string) error {
	what := kindName(st.table)
	old := e.catalog.sources[st.name.text]
	if st.orReplace && old != nil {
		return fault(text, st.name.span, "sql.unsupported", "a query that runs cannot be replaced in place", "DROP "+strings.ToUpper(old.kind())+" "+st.name.text+", then CREATE it anew")
	}
	done, err := e.taken(st.name, text, what, st.ifNotExists, c.command)
	if done != nil || err != nil {
		c.done = done
		return err
	}
	q, err := planAs(e.catalog, c.command, st, text, e.config.Formats)
	if err != nil {
		return err
	}
	partitions, err := e.config.Topics.Partitions(ctx, q.plan.from.topic)
	if err != nil {
		return err
	}
	if err := e.ensureTopic(ctx, c, topicWish{q.plan.sink.topic, properties{text, st.with}, q.plan.table, max(1, partitions), q.plan.windowing != nil}); err != nil {
		return err
	}
	return e.prepareStart(ctx, c, q, q.plan.sink)
}

// planAs analyses CREATE … AS SELECT. It asks nobody.
func planAs(cat *catalog, cmd *command, st *createAs, text string, formats map[string]Format) (*persistent, error) {
	props := properties{text, st.with}
	if err := props.check(topicProperties(), formatProperties(), timeProperties()); err != nil {
		return nil, err
	}
	p, err := analyzeQuery(text, st.query, cat, true)
	if err != nil {
		return nil, err
	}
	if p.table != st.table {
		want := strings.ToUpper(kindName(p.table))
		return nil, fault(text, st.name.span, "sql.wrong_kind", "the result of this query is a "+kindName(p.table), "write CREATE "+want+" "+st.name.text+" AS …")
	}
	prefix := "CSAS_"
	if st.table {
		prefix = "CTAS_"
	}
	q := &persistent{id: prefix + st.name.text + "_" + strconv.Itoa(cmd.Sequence), plan: p, statement: cmd.Statement, properties: cmd.Properties}
	cmd.QueryID = q.id
	sink := &source{name: st.name.text, table: st.table, columns: p.columns(), query: q.id, materialized: st.table, statement: cmd.Statement}
	if sink.topic, _ = props.text("KAFKA_TOPIC"); sink.topic == "" {
		sink.topic = st.name.text
	}
	key := p.from.keyFormat
	if key == formatNone {
		key = formatKafka
	}
	if sink.keyFormat, sink.format, err = props.formats(key, p.from.format, formats); err != nil {
		return nil, err
	}
	wrap, given, err := props.flag("WRAP_SINGLE_VALUE")
	if err != nil {
		return nil, err
	}
	sink.bare = given && !wrap
	if sink.keys() == 0 {
		sink.keyFormat = formatNone
	}
	sink.windowing, p.sink = p.windowing, sink
	if sink.timestamp, err = props.timestamp(sink); err != nil {
		return nil, err
	}
	if p.sinkTime, err = sink.clock(text); err != nil {
		return nil, err
	}
	return q, props.fits(st.name, sink)
}

// prepareInsert checks INSERT INTO … SELECT.
func (e *Engine) prepareInsert(ctx context.Context, c *change, st *insertInto, text string) error {
	q, err := planInsert(e.catalog, c.command, st, text)
	if err != nil {
		return err
	}
	if e.catalog.queries[q.id] != nil {
		return fault(text, st.target.span, "sql.exists", "there is a query "+q.id+" already", "")
	}
	return e.prepareStart(ctx, c, q, nil)
}

// planInsert analyses INSERT INTO … SELECT. It asks nobody.
func planInsert(cat *catalog, cmd *command, st *insertInto, text string) (*persistent, error) {
	props := properties{text, st.with}
	if err := props.check([]string{"QUERY_ID"}); err != nil {
		return nil, err
	}
	target, err := cat.lookup(text, st.target)
	if err != nil {
		return nil, err
	}
	if target.table || target.readOnly {
		return nil, fault(text, st.target.span, "sql.wrong_kind", "INSERT INTO writes to streams, "+target.name+" is a "+target.kind(), "")
	}
	p, err := analyzeQuery(text, st.query, cat, true)
	if err != nil {
		return nil, err
	}
	if p.table {
		return nil, fault(text, st.query.span, "sql.wrong_kind", "the result of this query is a table, "+target.name+" is a stream", "")
	}
	if err := sameColumns(p.columns(), target.columns); err != nil {
		return nil, fault(text, st.query.span, "sql.type", "the result does not fit "+target.name+": "+err.Error(), "DESCRIBE "+target.name+" lists its columns")
	}
	if !p.windowing.same(target.windowing) {
		return nil, fault(text, st.query.span, "sql.type", "the rows of the result are not of the windows that those of "+target.name+" are of", "DESCRIBE "+target.name+" tells of which")
	}
	q := &persistent{id: "INSERTQUERY_" + strconv.Itoa(cmd.Sequence), plan: p, statement: cmd.Statement, properties: cmd.Properties, insert: true}
	if id, ok := props.text("QUERY_ID"); ok {
		q.id = strings.ToUpper(id)
	}
	cmd.QueryID = q.id
	p.sink = target
	return q, nil
}

// sameColumns compares what a query gives with what a stream takes.
func sameColumns(got, want []column) error {
	if len(got) != len(want) {
		return fmt.Errorf("it has %d columns, not %d", len(got), len(want))
	}
	for i := range got {
		if got[i].name != want[i].name || got[i].key != want[i].key || !got[i].typ.Equal(want[i].typ) {
			return fmt.Errorf("column %s %s stands where %s %s is", functions.Quote(got[i].name), got[i].typ, functions.Quote(want[i].name), want[i].typ)
		}
	}
	return nil
}

// prepareStart makes the change that adds a query, and the source it makes.
func (e *Engine) prepareStart(ctx context.Context, c *change, q *persistent, s *source) error {
	if err := e.build(q); err != nil {
		return err
	}
	if err := e.level(ctx, q.built); err != nil {
		return err
	}
	c.apply = func(cat *catalog) {
		cat.queries[q.id] = q
		if s != nil {
			cat.sources[s.name] = s
		}
	}
	c.after = func(context.Context) error { return e.start(q) }
	c.revert = "TERMINATE " + string(identSQL(nil, q.id))
	if s == nil {
		c.entity = status(c.command, "stream", q.plan.sink.name, "create", "Created query with ID "+q.id)
		return nil
	}
	c.revert = "DROP " + strings.ToUpper(s.kind()) + " " + string(identSQL(nil, s.name))
	c.entity = created(c.command, s, "Created query with ID "+q.id)
	return nil
}

// level refuses joins of topics that are cut into different numbers of partitions.
func (e *Engine) level(ctx context.Context, b *built) error {
	for _, pair := range b.level {
		l, err := e.config.Topics.Partitions(ctx, pair[0])
		if err != nil {
			return err
		}
		r, err := e.config.Topics.Partitions(ctx, pair[1])
		if err != nil {
			return err
		}
		if l != r {
			return &Error{Code: "sql.partitions", Message: fmt.Sprintf("topics that are joined have different numbers of partitions: %s %d, %s %d", pair[0], l, pair[1], r),
				Hint: "make one of them anew: CREATE STREAM … WITH (PARTITIONS=…) AS SELECT * FROM … PARTITION BY its key"}
		}
	}
	return nil
}

// build makes the topology of a query.
func (e *Engine) build(q *persistent) (err error) {
	q.built, err = q.plan.build(target{formats: e.config.Formats, failed: e.failed(q.id)})
	return err
}

// start hands a query to the runner.
func (e *Engine) start(q *persistent) error {
	if q.built == nil {
		if err := e.build(q); err != nil {
			return err
		}
	}
	app := streams.App{
		ID: e.app(q.id), Topology: q.built.topology,
		FromLatest:  setting(q.properties, "auto.offset.reset") == "latest",
		ExactlyOnce: strings.HasPrefix(setting(q.properties, "processing.guarantee"), "exactly_once"),
		Standbys:    e.config.Standbys,
	}
	if n, err := strconv.Atoi(setting(q.properties, "num.standby.replicas")); err == nil {
		app.Standbys = n
	}
	if setting(q.properties, "ksql.fail.on.deserialization.error") != "true" {
		app.OnFault = recordfault.SkipUnreadable
	}
	if ms, err := strconv.Atoi(setting(q.properties, "commit.interval.ms")); err == nil {
		app.CommitInterval = time.Duration(ms) * time.Millisecond
	}
	if err := e.config.Runner.Add(app); err != nil {
		return err
	}
	q.started.Store(true)
	if p, ok := e.config.Runner.(Pauser); ok && q.paused.Load() {
		return p.Pause(app.ID)
	}
	return nil
}

// setting reads a property, with or without the prefix that ksqlDB gives those of
// Kafka Streams.
func setting(properties map[string]string, name string) string {
	if v, ok := properties[name]; ok {
		return v
	}
	return properties["ksql.streams."+name]
}

// stop ends queries for good.
func (e *Engine) stop(ctx context.Context, queries []*persistent) error {
	var err error
	for _, q := range queries {
		if q.started.Load() {
			err = errors.Join(err, e.config.Runner.Remove(ctx, e.app(q.id), true))
		}
	}
	return err
}

// state tells how a query is doing, in ksqlDB's words.
func (e *Engine) state(q *persistent) (string, error) {
	if q.paused.Load() {
		return "PAUSED", nil
	}
	if q.fault != nil {
		return "ERROR", q.fault
	}
	st, cause := e.config.Runner.State(e.app(q.id))
	switch st {
	case streams.Failed, streams.Stopped:
		return "ERROR", cause
	case streams.Paused:
		return "PAUSED", nil
	}
	// A query that still finds its place is running for those who ask: its
	// statement has been executed.
	return "RUNNING", cause
}
