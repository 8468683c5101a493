package sql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/streams/sql/functions"
)

func listed(names []string) string { return strings.Join(names, ", ") }

// prepareDrop checks DROP STREAM|TABLE.
func (e *Engine) prepareDrop(c *change, st *drop, text string) error {
	what := strings.ToLower(st.what)
	s, ok := e.catalog.sources[st.name.text]
	if !ok {
		if st.ifExists {
			c.done = status(c.command, what, st.name.text, "drop", "Source "+functions.Quote(st.name.text)+" does not exist.")
			return nil
		}
		_, err := e.catalog.lookup(text, st.name)
		return err
	}
	if s.kind() != what {
		return fault(text, st.name.span, "sql.wrong_kind", s.name+" is a "+s.kind(), "DROP "+strings.ToUpper(s.kind())+" "+s.name)
	}
	readers := slices.DeleteFunc(e.catalog.readers(s.name), func(id string) bool { return id == s.query })
	if len(readers) > 0 {
		return fault(text, st.name.span, "sql.in_use", "queries read "+s.name+": "+listed(readers), "TERMINATE them first")
	}
	writers := slices.DeleteFunc(e.catalog.writers(s.name), func(id string) bool { return id == s.query })
	if len(writers) > 0 {
		return fault(text, st.name.span, "sql.in_use", "queries write to "+s.name+": "+listed(writers), "TERMINATE them first")
	}
	if st.deleteTopic && s.readOnly {
		return fault(text, st.name.span, "sql.read_only", s.name+" is a SOURCE and its topic belongs to others", "leave out DELETE TOPIC")
	}
	var stopped []*persistent
	if q := e.catalog.queries[s.query]; q != nil {
		stopped = append(stopped, q)
	}
	c.apply = func(cat *catalog) { cat.drop(s.name) }
	c.after = func(ctx context.Context) error {
		if err := e.stop(ctx, stopped); err != nil {
			return err
		}
		if st.deleteTopic {
			return e.config.Topics.Delete(ctx, s.topic)
		}
		return nil
	}
	message := fmt.Sprintf("Source %s (topic: %s) was dropped.", functions.Quote(s.name), s.topic)
	c.entity = status(c.command, what, s.name, "drop", message)
	return nil
}

// drop removes a source and the query that fills it.
func (c *catalog) drop(name string) {
	if s := c.sources[name]; s != nil {
		delete(c.queries, s.query)
		delete(c.sources, name)
	}
}

// terminate removes a query. What it filled stays, but its rows can no longer be
// looked up.
func (c *catalog) terminate(id string) {
	delete(c.queries, id)
	for name, s := range c.sources {
		if s.query == id {
			left := *s
			left.query, left.materialized = "", false
			c.sources[name] = &left
		}
	}
}

// prepareControl checks TERMINATE, PAUSE and RESUME.
func (e *Engine) prepareControl(c *change, st *control, text string) error {
	ids := e.catalog.queryIDs()
	if st.id.text != "" {
		if e.catalog.queries[st.id.text] == nil {
			hint := didYouMean(st.id.text, ids)
			if hint == "" {
				hint = "SHOW QUERIES lists what there is"
			}
			return fault(text, st.id.span, "sql.unknown_query", "there is no query "+st.id.text, hint)
		}
		ids = []string{st.id.text}
	}
	var queries []*persistent
	for _, id := range ids {
		queries = append(queries, e.catalog.queries[id])
	}
	c.apply = func(cat *catalog) { cat.control(st.verb, ids) }
	named := st.id.text
	if named == "" {
		named = "ALL"
	}
	c.entity = status(c.command, strings.ToLower(st.verb), named, "execute", map[string]string{
		"TERMINATE": "Query terminated.", "PAUSE": "Query paused.", "RESUME": "Query resumed."}[st.verb])
	c.after = func(ctx context.Context) error { return e.control(ctx, st.verb, queries) }
	return nil
}

// control changes what the catalog says of queries.
func (c *catalog) control(verb string, ids []string) {
	for _, id := range ids {
		if verb == "TERMINATE" {
			c.terminate(id)
		} else if q := c.queries[id]; q != nil {
			q.paused.Store(verb == "PAUSE")
		}
	}
}

// control makes queries do what the catalog says of them.
func (e *Engine) control(ctx context.Context, verb string, queries []*persistent) error {
	if verb == "TERMINATE" {
		return e.stop(ctx, queries)
	}
	p, ok := e.config.Runner.(Pauser)
	if !ok {
		return &Error{Code: "sql.unsupported", Message: "queries cannot be paused here"}
	}
	for _, q := range queries {
		act := p.Resume
		if verb == "PAUSE" {
			act = p.Pause
		}
		if err := act(e.app(q.id)); err != nil {
			return err
		}
	}
	return nil
}

// prepareType checks CREATE TYPE.
func (e *Engine) prepareType(c *change, st *createType, text string) error {
	if _, ok := e.catalog.types[st.name.text]; ok {
		message := "there is a type " + st.name.text + " already"
		if !st.ifNotExists {
			return fault(text, st.name.span, "sql.exists", message, "DROP TYPE "+st.name.text+" first")
		}
		c.done = status(c.command, "type", st.name.text, "create", message)
		return nil
	}
	a := &analyzer{src: text, types: e.catalog.types}
	t, err := a.resolveType(st, st.typ)
	if err != nil {
		return err
	}
	c.apply = func(cat *catalog) { cat.types[st.name.text] = t }
	c.entity = status(c.command, "type", st.name.text, "create", "Registered custom type with name '"+st.name.text+"' and SQL type "+t.String())
	return nil
}

// prepareDropType checks DROP TYPE. Columns keep the types they have.
func (e *Engine) prepareDropType(c *change, st *drop, text string) error {
	if _, ok := e.catalog.types[st.name.text]; !ok {
		if st.ifExists {
			c.done = status(c.command, "type", st.name.text, "drop", "Type '"+st.name.text+"' does not exist")
			return nil
		}
		return fault(text, st.name.span, "sql.unknown_type", "there is no type "+st.name.text, "SHOW TYPES lists what there is")
	}
	c.apply = func(cat *catalog) { delete(cat.types, st.name.text) }
	c.entity = status(c.command, "type", st.name.text, "drop", "Dropped type '"+st.name.text+"'")
	return nil
}

// prepareAlter checks ALTER STREAM|TABLE ADD COLUMN.
func (e *Engine) prepareAlter(c *change, st *alterSource, text string) error {
	s, err := e.catalog.lookup(text, st.name)
	if err != nil {
		return err
	}
	if s.query != "" || s.readOnly {
		return fault(text, st.name.span, "sql.read_only", "the columns of "+s.name+" follow from its query", "ALTER what the query reads, and create it anew")
	}
	a := &analyzer{src: text, types: e.catalog.types}
	wider := *s
	wider.columns = slices.Clone(s.columns)
	for _, el := range st.columns {
		t, err := a.resolveType(el.typAt, el.typ)
		if err != nil {
			return err
		}
		if slices.Contains(wider.columnNames(), el.text) {
			return fault(text, el.span, "sql.duplicate_column", s.name+" has a column "+el.text+" already", "")
		}
		wider.columns = append(wider.columns, column{name: el.text, typ: t})
	}
	c.apply = func(cat *catalog) { cat.sources[s.name] = &wider }
	c.entity = status(c.command, s.kind(), s.name, "alter", "Column added")
	return nil
}

// replay makes the change of a command of the log again, in the catalog alone.
func (e *Engine) replay(cmd *command) error {
	stmt, err := parseOne(cmd.Statement, nil)
	if err != nil {
		return err
	}
	e.sequence = max(e.sequence, cmd.Sequence+1)
	cat := e.catalog
	c := &change{command: cmd}
	switch st := stmt.(type) {
	case *createSource:
		return e.replaySource(cat, cmd)
	case *createAs:
		q, err := planAs(cat, cmd, st, cmd.Statement, e.config.Formats)
		if err != nil {
			return err
		}
		cat.queries[q.id], cat.sources[q.plan.sink.name] = q, q.plan.sink
		return nil
	case *insertInto:
		q, err := planInsert(cat, cmd, st, cmd.Statement)
		if err == nil {
			cat.queries[q.id] = q
		}
		return err
	case *drop:
		if st.what != "TYPE" {
			cat.drop(st.name.text)
			return nil
		}
		err = e.prepareDropType(c, st, cmd.Statement)
	case *control:
		if st.id.text != "" {
			cat.control(st.verb, []string{st.id.text})
			return nil
		}
		err = e.prepareControl(c, st, cmd.Statement)
	case *createType:
		err = e.prepareType(c, st, cmd.Statement)
	case *alterSource:
		err = e.prepareAlter(c, st, cmd.Statement)
	}
	if err == nil && c.apply != nil {
		c.apply(cat)
	}
	return err
}

func (e *Engine) replaySource(cat *catalog, cmd *command) error {
	if cmd.Source == nil {
		return fmt.Errorf("the command says nothing of its columns")
	}
	s, err := cmd.Source.source(cmd.Statement)
	if err != nil {
		return err
	}
	if s.readOnly && s.table {
		q, err := planSourceTable(cmd, s)
		if err != nil {
			return err
		}
		cat.queries[q.id] = q
	}
	cat.sources[s.name] = s
	return nil
}
