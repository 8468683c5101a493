package sql

import (
	"fmt"
	"slices"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/javatime"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/clock"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// timestamp says in which column the time of a row is, and by which Java date pattern it
// is written there if it is text.
type timestamp struct{ column, format string }

// expr computes the time, in milliseconds since the epoch.
func (t *timestamp) expr() expr {
	col := &columnRef{name: name{text: t.column}}
	if t.format == "" {
		return col
	}
	return &call{name: name{text: "STRINGTOTIMESTAMP"}, args: []expr{col, &literal{kind: functions.String, text: t.format}}}
}

// timestamp returns what TIMESTAMP and TIMESTAMP_FORMAT say of the rows of s, nil when they
// have the time of their records.
func (p properties) timestamp(s *source) (*timestamp, error) {
	at, format := p.find("TIMESTAMP"), p.find("TIMESTAMP_FORMAT")
	if at == nil {
		if format != nil {
			return nil, fault(p.src, format.span, "sql.bad_property", "TIMESTAMP_FORMAT is that of a TIMESTAMP column", "add TIMESTAMP='…'")
		}
		return nil, nil
	}
	refuse := func(n node, message, hint string) (*timestamp, error) {
		return nil, fault(p.src, n.place(), "sql.bad_property", message, hint)
	}
	text := at.value.(*literal).text
	ref, err := parseColumn(text)
	if err != nil {
		return refuse(at.value, "TIMESTAMP is the name of a column", "")
	}
	for _, c := range s.columns {
		switch {
		case c.name != ref || c.header != "":
			continue
		case s.cdc:
			return refuse(at, "rows of a database table have the time of their change", "leave out TIMESTAMP")
		case c.typ.Kind == functions.String && format == nil:
			return refuse(at, "the column "+c.name+" is text, and nothing says how it is to be read", "add TIMESTAMP_FORMAT='yyyy-MM-dd HH:mm:ss'")
		case c.typ.Kind != functions.String && format != nil:
			return refuse(format, "the column "+c.name+" is no text", "leave out TIMESTAMP_FORMAT")
		case c.typ.Kind == functions.String:
			t := &timestamp{ref, format.value.(*literal).text}
			if _, err := javatime.Compile(javatime.DateTimeFormatter, t.format); err != nil {
				return refuse(format.value, err.Error(), "")
			}
			return t, nil
		case c.typ.Kind != functions.Bigint && c.typ.Kind != functions.Timestamp:
			return refuse(at.value, fmt.Sprintf("the time of a row is BIGINT, TIMESTAMP or STRING, and not %s", c.typ), "")
		}
		return &timestamp{column: ref}, nil
	}
	return refuse(at.value, "there is no column "+ref, didYouMean(ref, s.columnNames()))
}

// parseColumn reads the name of a column.
func parseColumn(text string) (string, error) {
	toks, err := lex(text)
	if err != nil {
		return "", err
	}
	p := &parser{src: text, toks: toks}
	e, err := p.expression()
	if err != nil {
		return "", err
	}
	ref, ok := e.(*columnRef)
	if !ok || ref.source.text != "" || p.peek().kind != eof {
		return "", p.unexpected()
	}
	return ref.name.text, nil
}

// sinkTime is how the time of a result is computed of one of its columns.
type sinkTime struct {
	of     compiled // Over rows of that column alone.
	column int
}

// clock compiles what tells the time of a row that is written to s, nil if nothing does.
func (s *source) clock(src string) (*sinkTime, error) {
	if s.timestamp == nil {
		return nil, nil
	}
	a := &analyzer{src: src, scope: &scope{src: src, sources: []scopeSource{{source: s}}}}
	of, err := a.compile(s.timestamp.expr())
	return &sinkTime{of, slices.Index(s.columnNames(), s.timestamp.column)}, err
}

// timeBy compiles the time of the rows that are read, if a column has it.
func (p *plan) timeBy() error {
	t := p.from.timestamp
	if t == nil {
		return nil
	}
	c, err := (&analyzer{src: p.scope.src, scope: p.scope}).compile(t.expr())
	p.time = &c
	return err
}

// timed reads a stream whose rows may say their time themselves.
func (a *assembler) timed(s *rowStream) *rowStream {
	if a.p.time == nil {
		return s
	}
	row := a.fullRow()
	return s.TimedBy(func(r rowRecord, _ int64) int64 {
		if r.NoValue {
			return r.Time
		}
		w := a.crew.borrow()
		defer a.crew.pool.Put(w)
		return a.crew.timeOf(w.time, row(r.Key, r.Value).Struct().Values(), -1)
	})
}

// fromTopic reads a topic as records of the columns that the query names. A record whose
// time cannot be told is left out, as in ksqlDB.
func (a *assembler) fromTopic(value serde.Serde[connect.Value], with streams.With) *rowStream {
	if a.p.time != nil {
		with.Timestamps = clock.SkipInvalid
	}
	return a.timed(streams.From(a.b, a.p.from.topic, serde.Serde[connect.Value](a.key), value, with))
}

// retimed gives results the time that a column of theirs says, where the sink wants that. One
// without keeps the time it has.
func (a *assembler) retimed(s *rowStream) *rowStream {
	if a.p.sinkTime == nil {
		return s
	}
	column := a.p.sinkTime.column
	return streams.Map(s, func(r rowRecord) rowRecord {
		if !r.NoValue {
			w := a.crew.borrow()
			defer a.crew.pool.Put(w)
			r.Time = a.crew.timeOf(w.sinkTime, []connect.Value{r.Value.Struct().At(column)}, r.Time)
		}
		return r
	}, streams.With{Name: "time"})
}

// timeOf computes a time; other is what it is when there is none.
func (c *crew) timeOf(of eval, row []connect.Value, other int64) int64 {
	v, err := of(row)
	switch {
	case err != nil:
		c.failed(fmt.Errorf("the time of a row: %w", err))
		return other
	case v.IsNull():
		return other
	}
	return v.Int()
}
