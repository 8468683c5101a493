package sql

import (
	"context"
	"fmt"
	"maps"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// Header says what the rows of a query are.
type Header struct {
	// QueryID names the query while it runs; empty for a pull query, which is over
	// when its rows are known.
	QueryID string
	// Push says that the query goes on, and its rows come when they happen.
	Push    bool
	Columns []Column
}

// Column is a column of a query's result.
type Column struct {
	Name string
	// Type is the column's type as SQL writes it.
	Type string
	Key  bool
	typ  functions.Type
}

// DataType returns the column's type.
func (c Column) DataType() functions.Type { return c.typ }

// AppendJSON appends a value of the column as JSON.
func (c Column) AppendJSON(b []byte, v connect.Value) []byte { return appendJSON(b, c.typ, v) }

// Schema writes the columns in one line, as ksqlDB's answers to /query do:
// `ID` BIGINT KEY, `NAME` STRING.
func (h Header) Schema() string {
	columns := make([]column, len(h.Columns))
	for i, c := range h.Columns {
		columns[i] = column{name: c.Name, typ: c.typ, key: c.Key}
	}
	return columnList(columns)
}

// Row is one row of a query's result.
type Row struct {
	Values []connect.Value
	// Time is the row's time in milliseconds since the epoch.
	Time int64
	// Tombstone says that the row of this key is gone: only the key columns have
	// values.
	Tombstone bool
	columns   []Column
}

// AppendJSON appends the row as a JSON array.
func (r Row) AppendJSON(b []byte) []byte {
	b = append(b, '[')
	for i, v := range r.Values {
		b = appendJSON(comma(b, i), r.columns[i].typ, v)
	}
	return append(b, ']')
}

// Texts gives the row's values as text, for people.
func (r Row) Texts() []string {
	out := make([]string, len(r.Values))
	for i, v := range r.Values {
		out[i] = string(functions.AppendText(nil, r.columns[i].typ, v))
	}
	return out
}

// Answer takes what a query gives, from one goroutine: the header, then rows. An
// error ends the query and is returned to whoever started it.
type Answer interface {
	Header(h Header) error
	Row(r Row) error
}

// Query runs one SELECT, or one PRINT, and hands its rows to the answer. A pull
// query returns when its rows are through. A push query (EMIT CHANGES) goes on
// until its LIMIT is reached or ctx is done, neither of which is an error;
// complete says that it was the limit. The statement may follow SET and DEFINE in
// the same text.
func (e *Engine) Query(ctx context.Context, r Request, to Answer) (complete bool, err error) {
	parts, _, err := Split(r.Text)
	if err != nil {
		return false, err
	}
	s := newSession(r)
	for i, part := range parts {
		stmt, text, err := s.statement(part)
		if err != nil {
			return false, inScript(err, r.Text, part)
		}
		if st, ok := stmt.(*set); ok && i < len(parts)-1 {
			if _, err := s.set(st); err != nil {
				return false, err
			}
			continue
		}
		complete, err := e.query(ctx, s, stmt, text, to)
		if err == nil && i < len(parts)-1 {
			err = &Error{Code: "sql.one_query", Message: "one query is answered at a time", Hint: "send the statements after it by themselves"}
		}
		if err != nil {
			return false, inScript(err, r.Text, part)
		}
		return complete, nil
	}
	return false, &Error{Code: "sql.syntax", Message: "there is no query here", Hint: "send one SELECT"}
}

func (e *Engine) query(ctx context.Context, s *session, stmt Statement, text string, to Answer) (bool, error) {
	switch st := stmt.(type) {
	case *printTopic:
		return e.print(ctx, st, to)
	case *query:
		e.mu.Lock()
		e.pushes++
		id := fmt.Sprintf("transient_%s_%d", firstName(st.from), e.pushes)
		cat := e.snapshot()
		e.mu.Unlock()
		p, err := analyzeQuery(text, st, cat, false)
		if err != nil {
			return false, err
		}
		switch {
		case st.emit == emitNone && p.from.joined != nil:
			return false, fault(text, st.from.place(), "sql.unsupported", "a pull query reads one stream or table", "make a table of the join with CREATE TABLE … AS, and query that; or add EMIT CHANGES")
		case st.emit != emitNone:
			return e.push(ctx, p, pushing{id: id, session: s, follow: true, to: to})
		case p.from.table:
			return true, e.pull(ctx, p, st, cat, to)
		}
		if p.aggregates() || len(p.order) > 0 || p.offset > 0 {
			return false, fault(text, st.from.place(), "sql.bad_clause", "a pull query over a stream gives its records as they come", "make a table of it with CREATE TABLE … AS, or add EMIT CHANGES")
		}
		s.properties["auto.offset.reset"] = "earliest"
		return e.push(ctx, p, pushing{session: s, to: to})
	}
	return false, fault(text, span{0, len(text)}, "sql.use_execute", "this is no query", "send it to the statement endpoint")
}

// view is snapshot for those who do not hold the lock.
func (e *Engine) view() *catalog {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.snapshot()
}

// snapshot copies the catalog's maps, so that analysis goes on without a lock. The
// sources themselves do not change.
func (e *Engine) snapshot() *catalog {
	return &catalog{sources: maps.Clone(e.catalog.sources), types: maps.Clone(e.catalog.types), queries: maps.Clone(e.catalog.queries), library: e.catalog.library}
}

// firstName is the name of the first source a relation reads.
func firstName(r relation) string {
	if j, ok := r.(*joinClause); ok {
		return firstName(j.left)
	}
	return r.(*sourceRef).name.text
}

// header makes the header of a plan's results.
func (p *plan) header(id string) Header {
	h := Header{QueryID: id}
	for _, o := range p.outputs {
		h.Columns = append(h.Columns, Column{Name: o.name, Type: o.typ.String(), Key: o.key, typ: o.typ})
	}
	return h
}
