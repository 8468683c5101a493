package sql

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
	"github.com/tidemill/tidemill/streams/topics"
)

// taken tells what stands under a name already: an error, or with IF NOT EXISTS an
// answer.
func (e *Engine) taken(n name, text, what string, lenient bool, cmd *command) (Entity, error) {
	old, ok := e.catalog.sources[n.text]
	if !ok {
		return nil, nil
	}
	if lenient {
		out := status(cmd, what, n.text, "create", fmt.Sprintf("Cannot add %s %s: A %s with the same name already exists.", what, functions.Quote(n.text), old.kind()))
		out.Warnings = []warning{{out.CommandStatus.Message}}
		return out, nil
	}
	return nil, fault(text, n.span, "sql.exists", "there is a "+old.kind()+" "+n.text+" already", "DROP it first, or give another name")
}

func kindName(table bool) string {
	if table {
		return "table"
	}
	return "stream"
}

// prepareSource checks CREATE STREAM|TABLE over a topic.
func (e *Engine) prepareSource(ctx context.Context, c *change, st *createSource, text string) error {
	what := kindName(st.table)
	if !st.orReplace {
		done, err := e.taken(st.name, text, what, st.ifNotExists, c.command)
		if done != nil || err != nil {
			c.done = done
			return err
		}
	} else if readers := e.catalog.readers(st.name.text); len(readers) > 0 {
		return fault(text, st.name.span, "sql.in_use", "queries read "+st.name.text+": "+listed(readers), "TERMINATE them first")
	}
	b := &sourceBuilder{e: e, st: st, text: text, props: properties{text, st.with}}
	s, err := b.build(ctx)
	if err != nil {
		return err
	}
	if err := e.ensureTopic(ctx, c, topicWish{name: s.topic, props: b.props, table: st.table}); err != nil {
		return err
	}
	s.statement = c.command.Statement
	c.command.Source = s.spec()
	if st.readOnly && st.table {
		return e.prepareSourceTable(ctx, c, s)
	}
	c.apply = func(cat *catalog) { cat.sources[s.name] = s }
	c.entity = created(c.command, s, "")
	return nil
}

// created is the answer to CREATE.
func created(cmd *command, s *source, how string) Entity {
	message := map[bool]string{true: "Table created", false: "Stream created"}[s.table]
	if how != "" {
		message = how
	}
	return status(cmd, s.kind(), s.name, "create", message)
}

// prepareSourceTable adds the query that keeps the rows of a SOURCE TABLE.
func (e *Engine) prepareSourceTable(ctx context.Context, c *change, s *source) error {
	q, err := planSourceTable(c.command, s)
	if err != nil {
		return err
	}
	return e.prepareStart(ctx, c, q, s)
}

// planSourceTable makes the query that keeps the rows of a SOURCE TABLE, so that
// they can be looked up.
func planSourceTable(cmd *command, s *source) (*persistent, error) {
	cat := newCatalog()
	cat.sources[s.name] = s
	stmt, err := parseOne("SELECT * FROM "+string(identSQL(nil, s.name)), nil)
	if err != nil {
		return nil, err
	}
	p, err := analyzeQuery("", stmt.(*query), cat, true)
	if err != nil {
		return nil, err
	}
	q := &persistent{id: "CST_" + s.name + "_" + strconv.Itoa(cmd.Sequence), plan: p, statement: cmd.Statement, properties: cmd.Properties}
	s.materialized, s.query, cmd.QueryID = true, q.id, q.id
	return q, nil
}

// sourceBuilder makes a source of a CREATE statement.
type sourceBuilder struct {
	e     *Engine
	st    *createSource
	text  string
	props properties
	out   *source
}

// build reads the properties and the columns, and asks the registry for what is not
// declared.
func (b *sourceBuilder) build(ctx context.Context) (*source, error) {
	st := b.st
	if err := b.props.check(topicProperties(), formatProperties(), timeProperties(), []string{"CDC", "SOURCED_BY_CONNECTOR", "WINDOW_TYPE", "WINDOW_SIZE"}); err != nil {
		return nil, err
	}
	b.out = &source{name: st.name.text, table: st.table, readOnly: st.readOnly}
	topic, given := b.props.text("KAFKA_TOPIC")
	if cdc, ok := b.props.text("CDC"); ok {
		if given {
			return nil, b.fault(b.props.find("CDC"), "sql.bad_property", "CDC names the topic itself", "leave out KAFKA_TOPIC")
		}
		topic, given, b.out.cdc = cdc, true, true
	}
	if !given || topic == "" {
		return nil, b.fault(st.name, "sql.missing_property", "the topic is not named", "add WITH (KAFKA_TOPIC='…')")
	}
	b.out.topic = topic
	keyDefault, valueDefault := formatKafka, "JSON"
	if b.out.cdc {
		keyDefault, valueDefault = "AVRO", "AVRO"
	}
	var err error
	if b.out.keyFormat, b.out.format, err = b.props.formats(keyDefault, valueDefault, b.e.config.Formats); err != nil {
		return nil, err
	}
	if err := b.columns(ctx); err != nil {
		return nil, err
	}
	wrap, given, err := b.props.flag("WRAP_SINGLE_VALUE")
	if err != nil {
		return nil, err
	}
	b.out.bare = b.out.bare || given && !wrap
	if b.out.windowing, err = b.props.windowing(); err != nil {
		return nil, err
	}
	if b.out.timestamp, err = b.props.timestamp(b.out); err != nil {
		return nil, err
	}
	return b.out, b.check()
}

func (b *sourceBuilder) fault(n node, code, message, hint string) error {
	return fault(b.text, n.place(), code, message, hint)
}

// columns takes the declared columns, keys first, and infers those that are not.
func (b *sourceBuilder) columns(ctx context.Context) error {
	a := &analyzer{src: b.text, types: b.e.catalog.types}
	var keys, values []column
	for _, el := range b.st.elements {
		t, err := a.resolveType(el.typAt, el.typ)
		if err != nil {
			return err
		}
		c := column{name: el.text, typ: t, key: el.constraint == keyColumn || el.constraint == primaryKey, header: el.header}
		if el.constraint == allHeaders {
			c.header = "*"
		}
		if err := b.header(el, c); err != nil {
			return err
		}
		if c.key {
			keys = append(keys, c)
		} else {
			values = append(values, c)
		}
	}
	b.out.columns = append(keys, values...)
	b.out.keyStruct = b.out.cdc
	needKeys := len(keys) == 0 && b.out.keyFormat != formatNone
	needValues := len(values) == 0
	return b.infer(ctx, needKeys, needValues)
}

// header checks a column over headers.
func (b *sourceBuilder) header(el element, c column) error {
	switch {
	case c.header == "":
		return nil
	case b.st.table:
		return b.fault(el, "sql.bad_constraint", "a table has no columns over headers", "")
	case c.header == "*" && !c.typ.Equal(headerType()):
		return b.fault(el.typAt, "sql.type", "a column over all headers is ARRAY<STRUCT<`KEY` STRING, `VALUE` BYTES>>", "")
	case c.header != "*" && c.typ.Kind != functions.Bytes:
		return b.fault(el.typAt, "sql.type", "a column over one header is BYTES", "")
	}
	return nil
}

// infer asks the registry for the columns that are not declared.
func (b *sourceBuilder) infer(ctx context.Context, needKeys, needValues bool) error {
	if needValues {
		s, ok, err := b.schema(ctx, b.out.format, false)
		if err != nil {
			return err
		}
		if !ok {
			return b.fault(b.st.name, "sql.no_schema", fmt.Sprintf("no columns are declared, and the registry has no schema of the values of topic %s in format %s", b.out.topic, b.out.format),
				"declare the columns: "+b.st.name.text+" (… , …)")
		}
		if err := b.inferValues(s); err != nil {
			return err
		}
	}
	if !needKeys {
		return nil
	}
	s, ok, err := b.schema(ctx, b.out.keyFormat, true)
	if err != nil || !ok {
		return err
	}
	return b.inferKeys(s)
}

// schema asks the registry; formats without schemas have none.
func (b *sourceBuilder) schema(ctx context.Context, format string, key bool) (*connect.Schema, bool, error) {
	if b.e.config.Schemas == nil || format == formatKafka || format == formatNone || format == "JSON" || format == "DELIMITED" {
		return nil, false, nil
	}
	s, ok, err := b.e.config.Schemas.Schema(ctx, b.out.topic, key)
	if err != nil {
		return nil, false, fmt.Errorf("asking the registry for the schema of topic %s: %w", b.out.topic, err)
	}
	return s, ok && s != nil, nil
}

func (b *sourceBuilder) inferValues(s *connect.Schema) error {
	if env, ok := connect.EnvelopeOf(s); ok && (b.out.cdc || b.out.table) {
		b.out.cdc, b.out.keyStruct = true, true
		s = env.Row()
	} else if b.out.cdc {
		return b.fault(b.st.name, "sql.no_envelope", "topic "+b.out.topic+" does not hold change events", "name it with KAFKA_TOPIC")
	}
	if s.Kind() != connect.KindStruct {
		t, ok := functions.TypeOf(s)
		if !ok {
			return b.fault(b.st.name, "sql.type", "the values of the topic have no SQL type", "declare the columns")
		}
		b.out.bare = true
		b.out.columns = append(b.out.columns, column{name: "ROWVAL", typ: t})
		return nil
	}
	columns, err := b.inferred(s)
	if err != nil {
		return err
	}
	b.out.columns = append(b.out.columns, slices.DeleteFunc(columns, func(c column) bool { return b.declared(c.name) })...)
	return nil
}

func (b *sourceBuilder) declared(name string) bool { return slices.Contains(b.out.columnNames(), name) }

// inferred turns the fields of a struct into columns.
func (b *sourceBuilder) inferred(s *connect.Schema) ([]column, error) {
	var out []column
	for _, f := range s.Fields() {
		t, ok := functions.TypeOf(f.Schema)
		if !ok {
			return nil, b.fault(b.st.name, "sql.type", fmt.Sprintf("the field %s (%s) of topic %s has no SQL type", f.Name, f.Schema, b.out.topic), "declare the columns you need")
		}
		out = append(out, column{name: upper(f.Name), typ: t})
	}
	return out, nil
}

// inferKeys puts the key's columns in front. Those that the value repeats, as
// change events do, are the key's.
func (b *sourceBuilder) inferKeys(s *connect.Schema) error {
	keys := []column{{name: "ROWKEY"}}
	if s.Kind() == connect.KindStruct {
		var err error
		if keys, err = b.inferred(s); err != nil {
			return err
		}
		b.out.keyStruct = true
	} else {
		t, ok := functions.TypeOf(s)
		if !ok {
			return b.fault(b.st.name, "sql.type", "the keys of the topic have no SQL type", "declare the key column")
		}
		keys[0].typ = t
	}
	for i := range keys {
		keys[i].key = true
		b.out.columns = slices.DeleteFunc(b.out.columns, func(c column) bool { return c.name == keys[i].name })
	}
	b.out.columns = append(keys, b.out.columns...)
	return nil
}

// check refuses sources that make no sense.
func (b *sourceBuilder) check() error {
	s := b.out
	if s.table && s.keys() == 0 {
		return b.fault(b.st.name, "sql.no_key", "a table needs a primary key", "declare it: "+s.name+" (ID … PRIMARY KEY, …)")
	}
	if s.keys() == 0 {
		s.keyFormat = formatNone
	}
	if at := b.props.find("WINDOW_TYPE"); at != nil && (s.keys() == 0 || s.cdc) {
		return b.fault(at, "sql.bad_property", "rows of windows have keys, and are no change events", "declare the KEY, and leave out CDC")
	}
	seen := map[string]bool{}
	for _, c := range s.columns {
		switch {
		case seen[c.name]:
			return b.fault(b.st.name, "sql.duplicate_column", "the column "+c.name+" is declared twice", "")
		case slices.Contains([]string{rowTime, rowPartition, rowOffset, windowStart, windowEnd}, c.name):
			return b.fault(b.st.name, "sql.reserved_column", c.name+" is the name of a pseudo column", "give it another name")
		}
		seen[c.name] = true
	}
	return b.props.fits(b.st.name, s)
}

// topicWish is the topic a statement needs. partitions is what a new topic has when
// the statement does not say; 0 means it must say.
type topicWish struct {
	name       string
	props      properties
	table      bool
	partitions int
	// windowed says that rows are of windows, and with them out of use after a while.
	windowed bool
}

// ensureTopic makes the topic of a source when it is missing.
func (e *Engine) ensureTopic(ctx context.Context, c *change, w topicWish) error {
	topic, props, partitions := w.name, w.props, w.partitions
	want, given, err := props.number("PARTITIONS", 1)
	if err != nil {
		return err
	}
	replicas, _, err := props.number("REPLICAS", 1)
	if err != nil {
		return err
	}
	have, err := e.config.Topics.Partitions(ctx, topic)
	if err != nil {
		return err
	}
	at := props.find("PARTITIONS")
	switch {
	case have > 0 && given && have != want:
		return fault(props.src, at.span, "sql.bad_property", fmt.Sprintf("topic %s has %d partitions, not %d", topic, have, want), "leave out PARTITIONS")
	case have > 0:
		return nil
	case !given && partitions == 0:
		where := span{0, len(props.src)}
		if p := props.find("KAFKA_TOPIC"); p != nil {
			where = p.value.place()
		} else if p := props.find("CDC"); p != nil {
			where = p.value.place()
		}
		return fault(props.src, where, "sql.no_topic", "there is no topic "+topic, "add PARTITIONS=… to have it made")
	case !given:
		want = partitions
	}
	spec := topics.Spec{Name: topic, Partitions: want, Replication: replicas, Config: map[string]string{}}
	switch {
	case w.table && w.windowed:
		spec.Config["cleanup.policy"] = "compact,delete"
	case w.table:
		spec.Config["cleanup.policy"] = "compact"
	}
	if v, ok := props.text("CLEANUP_POLICY"); ok {
		spec.Config["cleanup.policy"] = v
	}
	if v, ok := props.text("RETENTION_MS"); ok {
		spec.Config["retention.ms"] = v
	}
	if err := e.config.Topics.Create(ctx, spec); err != nil {
		return err
	}
	c.undos = append(c.undos, func(ctx context.Context) error { return e.config.Topics.Delete(ctx, topic) })
	return nil
}
