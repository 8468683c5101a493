package sql

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tidemill/tidemill/streams"
	recordfault "github.com/tidemill/tidemill/streams/fault"
	rows "github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/topics"
)

// Follower takes what Follow gives, from one goroutine. An error ends the query and is
// returned to whoever started it.
type Follower interface {
	// Begin comes first. table says that the result is a table: a row stands for the one of
	// the same key before it.
	Begin(h Header, table bool) error
	// Row is a row, or the news that one is gone. Of a table, key is the same for all rows
	// of a key.
	Row(r Row, key []byte) error
	// Passed says that all rows have come that records of a topic before the offset next
	// have made.
	Passed(topic string, partition int32, next int64) error
	// Current says, once, that all rows have come that were there when the query began, and
	// how far the topics have been read.
	Current(at rows.Position) error
}

// Follow runs one SELECT with EMIT CHANGES for those who want to know what is there and what
// becomes of it: the rows of the tables it reads come first, whatever auto.offset.reset says,
// so that a result which is a table is whole when Current is called. Of streams comes what is
// written from now on, or from the offsets in from; for a table that gathers a stream, with
// auto.offset.reset = earliest, everything. It returns when ctx is done, which is no error.
// Offsets that are gone are an error of code sql.gone.
func (e *Engine) Follow(ctx context.Context, r Request, from rows.Position, to Follower) error {
	s := newSession(r)
	text := s.replaceVariables(r.Text)
	stmt, err := parseOne(text, nil)
	if err != nil {
		return err
	}
	q, ok := stmt.(*query)
	if !ok || q.emit == emitNone {
		return fault(text, span{0, len(text)}, "sql.use_follow", "only a query that goes on can be followed", "send one SELECT … EMIT CHANGES")
	}
	p, err := analyzeQuery(text, q, e.view(), false)
	if err != nil {
		return err
	}
	if lacking := p.keysNeeded() - p.keysGiven(); p.table && lacking > 0 {
		return fault(text, q.span, "sql.key_missing", "the key is not selected, without which nobody can tell which row has changed", "select all key columns, and WINDOWSTART where there are windows")
	}
	if p.limit >= 0 {
		return fault(text, q.span, "sql.bad_clause", "a query that is followed goes on and takes no LIMIT", "leave out LIMIT")
	}
	earliest := setting(s.properties, "auto.offset.reset") == "earliest"
	if earliest && !p.table {
		return fault(text, q.span, "sql.bad_property", "a stream is followed from now on, or from where one has come", "SET 'auto.offset.reset' = 'latest', or send the query to /query-stream")
	}
	f := &followed{e: e, p: p, to: to, header: p.header("")}
	if err := f.open(); err != nil {
		return err
	}
	if err := to.Begin(f.header, p.table); err != nil {
		return err
	}
	err = f.read(ctx, from, earliest)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// keysNeeded is how many columns tell the rows of the result apart.
func (p *plan) keysNeeded() int {
	n := p.from.keys()
	switch j := p.from.joined; {
	case p.aggregates():
		n = len(p.group)
	case j != nil && j.foreign():
		n = j.sides[0].source.keys()
	case j != nil:
		n = 1
	}
	if p.windowing != nil {
		n++
	}
	return n
}

func (p *plan) keysGiven() (n int) {
	for _, o := range p.outputs {
		if o.key {
			n++
		}
	}
	return n
}

// followed is one run of Follow.
type followed struct {
	e        *Engine
	p        *plan
	to       Follower
	header   Header
	local    *streams.Local
	internal []string
	key      []byte
	failure  error
}

// open makes the topology.
func (f *followed) open() error {
	const id = "follow"
	b, err := f.p.build(target{formats: f.e.config.Formats, failed: f.e.failed(id), updates: true, emit: f.give})
	if err != nil {
		return err
	}
	f.internal = b.topology.InternalTopics(id)
	f.local, err = streams.NewLocal(b.topology, id)
	if err == nil {
		f.local.OnFault(recordfault.SkipUnreadable, "")
	}
	return err
}

// give passes a result on.
func (f *followed) give(r result) {
	if f.failure != nil {
		return
	}
	f.key = f.key[:0]
	if f.p.table {
		for i, o := range f.p.outputs {
			if o.key {
				f.key = appendJSON(comma(f.key, len(f.key)), o.typ, r.values[i])
			}
		}
	}
	f.failure = f.to.Row(Row{Values: r.values, Time: r.time, Tombstone: r.deleted, columns: f.header.Columns}, f.key)
}

// read reads the topics: first those of tables, as they are now, then all of them on.
func (f *followed) read(ctx context.Context, from rows.Position, earliest bool) error {
	tables, all := map[string]bool{}, map[string]bool{}
	for _, s := range f.p.sides() {
		all[s.topic] = true
		tables[s.topic] = tables[s.topic] || s.table || earliest
	}
	spans, err := f.e.config.Records.Spans(ctx, slices.Sorted(maps.Keys(all))...)
	if err != nil {
		return err
	}
	start, at := map[string]map[int32]int64{}, map[string]map[int32]int64{}
	for topic, ps := range spans {
		at[topic] = map[int32]int64{}
		if tables[topic] {
			start[topic] = map[int32]int64{}
		}
		for p, span := range ps {
			at[topic][p] = span.End
			if tables[topic] {
				start[topic][p] = span.Start
			} else if offset, given := from[topic][p]; given {
				if offset < span.Start || offset > span.End {
					return &Error{Code: "sql.gone", Message: fmt.Sprintf("offset %d of partition %d is not in topic %s, which has %d to %d", offset, p, topic, span.Start, span.End), Hint: "begin anew"}
				}
				at[topic][p] = offset
			}
		}
	}
	if len(start) > 0 {
		to := map[string]map[int32]int64{}
		for topic := range start {
			to[topic] = at[topic]
		}
		if err := f.e.config.Records.ReadSpan(ctx, start, to, f.visit); err != nil {
			return err
		}
	}
	current := rows.Position{}
	current.Merge(at)
	if err := f.to.Current(current); err != nil {
		return err
	}
	return f.e.config.Records.ReadSpan(ctx, at, nil, f.visit)
}

// visit has the topology process records of one partition.
func (f *followed) visit(rs []*topics.Record) (bool, error) {
	for _, r := range rs {
		if err := replayed(f.local, f.internal, r); err != nil {
			return false, err
		}
		if f.failure == nil {
			f.failure = f.to.Passed(r.Topic, r.Partition, r.Offset+1)
		}
		if f.failure != nil {
			return false, f.failure
		}
	}
	return true, nil
}
