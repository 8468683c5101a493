package sql

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
	"github.com/tidemill/tidemill/streams/topics"
)

// insertValues executes INSERT INTO … VALUES: one record, which is acknowledged
// when this returns.
func (e *Engine) insertValues(ctx context.Context, st *insertValues, text string) (Entity, error) {
	cat := e.view()
	s, err := cat.lookup(text, st.target)
	if err != nil {
		return nil, err
	}
	switch {
	case s.readOnly:
		return nil, fault(text, st.target.span, "sql.read_only", s.name+" is a SOURCE and is written by others", "")
	case s.cdc:
		return nil, fault(text, st.target.span, "sql.read_only", s.name+" mirrors a database table", "change the row in the database")
	case s.windowing != nil:
		return nil, fault(text, st.target.span, "sql.read_only", "the rows of "+s.name+" are of windows, which queries make", "insert into the stream that they gather")
	case s.query != "":
		return nil, fault(text, st.target.span, "sql.read_only", s.name+" is filled by query "+s.query, "")
	}
	row, at, err := insertedRow(st, s, &analyzer{src: text, types: cat.types, library: cat.library})
	if err != nil {
		return nil, err
	}
	r, err := e.encode(ctx, s, row)
	if err != nil {
		return nil, fault(text, st.span, "sql.type", err.Error(), "")
	}
	r.Timestamp = time.UnixMilli(at)
	if err := e.config.Records.Produce(ctx, r); err != nil {
		return nil, err
	}
	return nil, nil
}

// insertedRow computes the values of a row in the order of the source's columns,
// and its time.
func insertedRow(st *insertValues, s *source, a *analyzer) ([]connect.Value, int64, error) {
	row, at := make([]connect.Value, len(s.columns)), time.Now().UnixMilli()
	names := st.columns
	if len(names) == 0 {
		for _, c := range s.columns {
			if c.header == "" {
				names = append(names, name{st.span, c.name})
			}
		}
	}
	if len(names) != len(st.values) {
		return nil, 0, a.fault(st, "sql.type", fmt.Sprintf("%d values for %d columns", len(st.values), len(names)), "the columns are "+listed(s.columnNames()))
	}
	for i, n := range names {
		want := column{name: rowTime, typ: bigint}
		col := slices.Index(s.columnNames(), n.text)
		if col >= 0 {
			want = s.columns[col]
		} else if n.text != rowTime {
			return nil, 0, unknownColumn(a.src, &columnRef{span: n.span, name: n}, s)
		}
		if want.header != "" {
			return nil, 0, a.fault(n, "sql.read_only", "headers cannot be inserted", "")
		}
		c, err := a.compile(st.values[i])
		if err != nil {
			return nil, 0, err
		}
		v, err := constantValue(a, st.values[i], c, want)
		if err != nil {
			return nil, 0, err
		}
		if col >= 0 {
			row[col] = v
		} else if !v.IsNull() {
			at = v.Int()
		}
	}
	for _, c := range s.columns[:s.keys()] {
		if s.table && row[slices.Index(s.columnNames(), c.name)].IsNull() {
			return nil, 0, a.fault(st, "sql.no_key", "the primary key "+c.name+" has no value", "")
		}
	}
	return row, at, nil
}

// constantValue brings an inserted expression to its column's type and computes it.
func constantValue(a *analyzer, at node, c compiled, want column) (connect.Value, error) {
	if wide := c.typ.Kind; c.typ.Numeric() && wide > want.typ.Kind && want.typ.Kind <= functions.Bigint && want.typ.Numeric() && wide != functions.Bigint {
		return null, a.fault(at, "sql.type", fmt.Sprintf("%s is %s, this is %s", want.name, want.typ, c.typ), "use CAST to cut it")
	}
	c, err := a.coerced(at, c, want.typ)
	if err != nil {
		return null, err
	}
	ev, err := c.make(nil)
	if err != nil {
		return null, err
	}
	v, err := ev(nil)
	if err != nil {
		return null, a.typeFault(at, err)
	}
	return v, nil
}

// encode writes a row as a record of its source's topic.
func (e *Engine) encode(_ context.Context, s *source, row []connect.Value) (*topics.Record, error) {
	n := s.keys()
	r := &topics.Record{Topic: s.topic}
	value := slices.DeleteFunc(slices.Clone(s.columns[n:]), func(c column) bool { return c.header != "" })
	values := []connect.Value{}
	for i, c := range s.columns[n:] {
		if c.header == "" {
			values = append(values, row[n+i])
		}
	}
	write := func(key bool, columns []column, row []connect.Value) ([]byte, error) {
		c, err := newCodec(e.config.Formats, s, key, columns)
		if err != nil {
			return nil, err
		}
		return c.Append([]byte{}, connect.StructValue(c.schema.StructOf(row)))
	}
	var err error
	if n > 0 {
		if r.Key, err = write(true, s.columns[:n], row[:n]); err != nil {
			return nil, err
		}
	}
	r.Value, err = write(false, value, values)
	return r, err
}
