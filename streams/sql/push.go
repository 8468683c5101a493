package sql

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams"
	recordfault "github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/sql/functions"
	"github.com/tidemill/tidemill/streams/topics"
)

// pushing is one run of a query over a topic.
type pushing struct {
	id      string
	session *session
	follow  bool
	to      Answer
}

// push runs a plan over the records of its topic, in this process alone: its state
// is in memory and goes with it. It starts at the end of the topic unless
// auto.offset.reset is earliest.
func (e *Engine) push(ctx context.Context, p *plan, run pushing) (bool, error) {
	header := p.header(run.id)
	header.Push = run.follow
	left := p.limit
	var failure error
	b, err := p.build(target{formats: e.config.Formats, failed: e.failed(run.id), updates: true, emit: func(r result) {
		if failure != nil || left == 0 {
			return
		}
		failure = run.to.Row(Row{Values: r.values, Time: r.time, Tombstone: r.deleted, columns: header.Columns})
		if left > 0 {
			left--
		}
	}})
	if err != nil {
		return false, err
	}
	local, err := streams.NewLocal(b.topology, run.id)
	if err != nil {
		return false, err
	}
	local.OnFault(recordfault.SkipUnreadable, "")
	internal := b.topology.InternalTopics(run.id)
	if err := run.to.Header(header); err != nil || left == 0 {
		return left == 0, err
	}
	feed := &feed{e: e, run: run, seen: map[topicPartition]int64{}, visit: func(r *topics.Record) (bool, error) {
		if err := replayed(local, internal, r); err != nil {
			return false, err
		}
		if failure != nil {
			return false, failure
		}
		return left != 0, nil
	}}
	err = feed.read(ctx, p.sides())
	if ctx.Err() != nil && run.follow {
		return false, failure
	}
	return err == nil, err
}

// replayed has a topology process a record and give all that it makes of it. What it writes to
// topics of its own nobody reads.
func replayed(local *streams.Local, internal []string, r *topics.Record) error {
	err := local.Put(r.Topic, r.Key, r.Value, r.Timestamp.UnixMilli(), r.Headers...)
	if err == nil {
		err = local.Commit()
	}
	if err == nil {
		err = local.Advance(time.Second) // What is sent once in a second is sent now.
	}
	for _, t := range internal {
		local.Take(t)
	}
	return err
}

// extent says which records a run reads.
func (run pushing) extent() topics.Extent {
	switch {
	case !run.follow:
		return topics.ToEnd
	case setting(run.session.properties, "auto.offset.reset") == "earliest":
		return topics.FromStart
	}
	return topics.FromNow
}

// feed reads the topics of a run, one record at a time.
type feed struct {
	e     *Engine
	run   pushing
	visit func(r *topics.Record) (bool, error)

	mu   sync.Mutex               // held while a record is visited
	over bool                     // the run has had enough
	seen map[topicPartition]int64 // of the tables, what was read before the rest
}

type topicPartition struct {
	topic     string
	partition int32
}

// read reads all sources. The rows of tables that streams are joined with are there before
// the records that look them up, as far as they were written when the run began.
func (f *feed) read(ctx context.Context, sides []*source) error {
	if len(sides) == 1 {
		return f.follow(ctx, sides[0].topic, f.run.extent())
	}
	streaming := slices.ContainsFunc(sides, func(s *source) bool { return !s.table })
	if streaming {
		for _, s := range sides {
			if s.table {
				if err := f.follow(ctx, s.topic, topics.ToEnd); err != nil || f.over {
					return err
				}
			}
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	all, within := errgroup.WithContext(ctx)
	for _, s := range sides {
		extent := f.run.extent()
		if s.table && streaming {
			extent = topics.FromStart
		}
		all.Go(func() error {
			err := f.follow(within, s.topic, extent)
			if f.enough() {
				stop()
			}
			return err
		})
	}
	err := all.Wait()
	if f.enough() {
		return nil // What was read still has ended for that.
	}
	return err
}

func (f *feed) enough() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.over
}

// follow reads one topic.
func (f *feed) follow(ctx context.Context, topic string, extent topics.Extent) error {
	return f.e.config.Records.Read(ctx, topic, extent, func(r *topics.Record) (bool, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		at := topicPartition{r.Topic, r.Partition}
		if last, known := f.seen[at]; f.over || known && r.Offset <= last {
			return !f.over, nil
		}
		if extent == topics.ToEnd {
			f.seen[at] = r.Offset
		}
		more, err := f.visit(r)
		f.over = f.over || !more
		return more, err
	})
}

// print executes PRINT: the records of a topic as text.
func (e *Engine) print(ctx context.Context, st *printTopic, to Answer) (bool, error) {
	n, err := e.config.Topics.Partitions(ctx, st.topic.text)
	if err != nil {
		return false, err
	}
	if n == 0 {
		return false, &Error{Code: "sql.no_topic", Message: "there is no topic " + st.topic.text, Hint: "topics are named as they are written; quote a name in lower case: PRINT 'name'"}
	}
	text := scalar(functions.String)
	columns := []Column{{Name: "ROWTIME", Type: "BIGINT", typ: bigint}, {Name: "KEY", Type: "STRING", typ: text}, {Name: "VALUE", Type: "STRING", typ: text}}
	if err := to.Header(Header{Push: true, Columns: columns}); err != nil {
		return false, err
	}
	seen, given := 0, 0
	extent := topics.FromNow
	if st.fromBeginning {
		extent = topics.FromStart
	}
	err = e.config.Records.Read(ctx, st.topic.text, extent, func(r *topics.Record) (bool, error) {
		if seen++; (seen-1)%max(1, st.interval) != 0 {
			return true, nil
		}
		values := []connect.Value{connect.Int64(r.Timestamp.UnixMilli()), readable(r.Key), readable(r.Value)}
		if err := to.Row(Row{Values: values, Time: r.Timestamp.UnixMilli(), columns: columns}); err != nil {
			return false, err
		}
		given++
		return given != st.limit, nil
	})
	if ctx.Err() != nil {
		return false, nil
	}
	return err == nil, err
}

// readable gives bytes as text: as they are when that is what they look like, else
// quoted.
func readable(b []byte) connect.Value {
	if b == nil {
		return null
	}
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' || c == 0x7f {
			return connect.String(strconv.Quote(string(b)))
		}
	}
	return connect.String(string(b))
}
