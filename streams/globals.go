package streams

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/topics"
)

// globalStore is the one copy of a global table in this process. It belongs to the
// goroutine that runs the tasks.
type globalStore struct {
	st   *taskStore // its changelog is the topic
	db   state.DB
	meta state.ID
	next map[int32]int64 // the offset to go on at in each partition, kept with the rows

	read, total int64  // records, when catching up
	timed       []byte // scratch
}

// openGlobal opens the store of a global table and finds out how far it is.
func openGlobal(app string, db state.DB, spec *storeSpec) (*globalStore, error) {
	g := &globalStore{st: &taskStore{spec: spec, changelog: spec.topic}, db: db, next: map[int32]int64{}}
	var err error
	if g.meta, err = db.Open(metaStore(app), 0); err == nil {
		g.st.id, err = db.Open(storeName(app, spec.name), 0)
	}
	if err != nil {
		return nil, fmt.Errorf("opening global table %s: %w", spec.name, err)
	}
	g.st.cache = state.NewCache(db.Reader(g.st.id), 0)
	prefix := g.position()
	it := db.Reader(g.meta).Scan(state.Range{Lo: prefix, Hi: state.PrefixEnd(prefix)})
	for it.Next() {
		if at := it.Key()[len(prefix):]; len(at) == 4 && len(it.Value()) == 8 {
			g.next[int32(binary.BigEndian.Uint32(at))] = int64(binary.BigEndian.Uint64(it.Value()))
		}
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("reading the positions of global table %s: %w", spec.name, err)
	}
	return g, nil
}

// position is the beginning of the keys under which positions are noted: the letter of
// global tables, the store and the topic, each ended by a zero byte, so that a table
// that reads another topic now starts anew.
func (g *globalStore) position() []byte {
	return slices.Concat([]byte{'g'}, []byte(g.st.spec.name), []byte{0}, []byte(g.st.spec.topic), []byte{0})
}

// apply takes in records of one partition: rows and position in one step, which
// subscribers are told about.
func (g *globalStore) apply(hub *query.Hub, rs []*kgo.Record) error {
	for _, r := range rs {
		var err error
		switch {
		case r.Key == nil:
			continue // It is nobody's row.
		case r.Value == nil:
			err = g.st.cache.Delete(r.Key)
		default:
			g.timed = state.AppendTimed(g.timed[:0], r.Timestamp.UnixMilli(), r.Value)
			err = g.st.cache.Put(r.Key, g.timed)
		}
		if err != nil {
			return err
		}
	}
	return hub.Step(func(f *query.Feed) error {
		b := g.db.Batch()
		g.st.cache.Write(b, g.st.id)
		g.moveTo(b, rs[len(rs)-1].Partition, rs[len(rs)-1].Offset+1)
		if err := b.Commit(); err != nil {
			return fmt.Errorf("writing global table %s: %w", g.st.spec.name, err)
		}
		if f.Wanted(g.st.spec.name) {
			g.tell(f, rs)
		}
		g.st.cache.Committed()
		return nil
	})
}

// tell passes records on to those who follow the table.
func (g *globalStore) tell(f *query.Feed, rs []*kgo.Record) {
	for _, r := range rs {
		if r.Key != nil {
			f.Push(g.st.spec.name, query.Row{Key: r.Key, Value: r.Value, Deleted: r.Value == nil, Time: r.Timestamp.UnixMilli()})
		}
	}
}

func (g *globalStore) moveTo(b state.Batch, partition int32, offset int64) {
	g.next[partition] = offset
	key := binary.BigEndian.AppendUint32(g.position(), uint32(partition))
	b.Put(g.meta, key, binary.BigEndian.AppendUint64(nil, uint64(offset)))
}

// begin compares what the store has with what the topic has, and returns from where
// to where to read. When the topic does not go on where the store stopped, because
// what was in between is gone or the topic is another one, the store starts empty.
func (g *globalStore) begin(spans map[int32]topics.Span) (from, to map[int32]int64, err error) {
	whole := len(g.next) > 0
	for p, span := range spans {
		at, known := g.next[p]
		whole = whole && (!known || at >= span.Start && at <= span.End)
	}
	for p := range g.next {
		_, there := spans[p]
		whole = whole && there
	}
	b := g.db.Batch()
	if !whole {
		b.DeleteRange(g.st.id, state.Range{})
		prefix := g.position()
		b.DeleteRange(g.meta, state.Range{Lo: prefix, Hi: state.PrefixEnd(prefix)})
		clear(g.next)
	}
	from, to = map[int32]int64{}, map[int32]int64{}
	for p, span := range spans {
		at, known := g.next[p]
		if !known {
			at = span.Start
			g.moveTo(b, p, at)
		}
		from[p], to[p] = at, span.End
		g.total += span.End - at
	}
	return from, to, b.Commit()
}

// globals are the global tables of one run of an application.
type globals struct {
	a       *application
	stores  map[*storeSpec]*globalStore
	fetched chan fetched // for the goroutine that runs the tasks
	failed  chan error   // one element: what ended the following of a table

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// fetched are records of one partition of a global table's topic.
type fetched struct {
	g  *globalStore
	rs []*kgo.Record
}

// globalBatches is how many batches may wait to be taken in.
const globalBatches = 4

// openGlobals brings the application's global tables up to date with their topics,
// before any task starts.
func openGlobals(ctx context.Context, a *application) (*globals, error) {
	gs := &globals{a: a, stores: map[*storeSpec]*globalStore{}, fetched: make(chan fetched, globalBatches), failed: make(chan error, 1)}
	for _, spec := range a.Topology.globals {
		a.set(Restoring, nil)
		g, err := openGlobal(a.ID, a.e.db, spec)
		if err != nil {
			return nil, err
		}
		if err := gs.catchUp(ctx, g); err != nil {
			return nil, err
		}
		gs.stores[spec] = g
	}
	return gs, nil
}

// catchUp reads what the topic has now.
func (gs *globals) catchUp(ctx context.Context, g *globalStore) error {
	spans, err := gs.a.e.client.Spans(ctx, g.st.spec.topic)
	if err != nil {
		return err
	}
	from, to, err := g.begin(spans[g.st.spec.topic])
	if err != nil {
		return err
	}
	gs.report(g)
	topic := g.st.spec.topic
	err = gs.a.e.client.ReadSpan(ctx, map[string]map[int32]int64{topic: from}, map[string]map[int32]int64{topic: to}, func(rs []*kgo.Record) (bool, error) {
		gs.a.metrics.Restored.Add(int64(len(rs)))
		g.read += int64(len(rs))
		gs.report(g)
		return true, g.apply(gs.a.hub, rs)
	})
	if err != nil {
		return fmt.Errorf("reading global table %s: %w", g.st.spec.name, err)
	}
	// The last offsets may belong to the marks of transactions.
	b := g.db.Batch()
	for p, end := range to {
		g.moveTo(b, p, max(end, g.next[p]))
	}
	g.read = g.total
	gs.report(g)
	return b.Commit()
}

func (gs *globals) report(g *globalStore) {
	if gs.a.e.cfg.Restoring != nil {
		gs.a.e.cfg.Restoring(gs.a.ID, g.st.spec.name, 0, g.read, g.total)
	}
}

// follow fetches what comes from now on, until close.
func (gs *globals) follow(ctx context.Context) {
	ctx, gs.cancel = context.WithCancel(ctx)
	for _, g := range gs.stores {
		from := map[string]map[int32]int64{g.st.spec.topic: maps.Clone(g.next)}
		gs.done.Go(func() {
			err := gs.a.e.client.ReadSpan(ctx, from, nil, func(rs []*kgo.Record) (bool, error) {
				select {
				case gs.fetched <- fetched{g, rs}:
				case <-ctx.Done():
				}
				return true, ctx.Err()
			})
			if err == nil || ctx.Err() != nil {
				return
			}
			select {
			case gs.failed <- fmt.Errorf("following global table %s: %w", g.st.spec.name, err):
			default: // Another has failed, which is enough.
			}
		})
	}
}

// takeIn brings the tables up to date with what was fetched.
func (gs *globals) takeIn() error {
	for range globalBatches {
		select {
		case f := <-gs.fetched:
			if err := f.g.apply(gs.a.hub, f.rs); err != nil {
				return err
			}
		case err := <-gs.failed:
			return err
		default:
			return nil
		}
	}
	return nil
}

// close ends following.
func (gs *globals) close() {
	if gs.cancel != nil {
		gs.cancel()
	}
	gs.done.Wait()
}

// openGlobals opens the global tables of a Local and brings them up to date.
func (l *Local) openGlobals() error {
	l.env.globals = map[*storeSpec]*globalStore{}
	for _, spec := range l.topology.globals {
		g, err := openGlobal(l.env.app, l.env.db, spec)
		if err != nil {
			return err
		}
		l.env.globals[spec] = g
		g.st.cache.SetLimit(l.env.cacheBytes)
		for _, r := range l.globalLog {
			if r.Topic == spec.topic && r.Offset >= g.next[0] {
				if err := g.apply(l.hub, []*kgo.Record{r}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// applyGlobal takes a record into the global tables that read its topic.
func (l *Local) applyGlobal(r *kgo.Record) error {
	kept := false
	for spec, g := range l.env.globals {
		if spec.topic != r.Topic || r.Offset < g.next[0] {
			continue
		}
		if !kept {
			l.globalLog, kept = append(l.globalLog, r), true
		}
		if err := g.apply(l.hub, []*kgo.Record{r}); err != nil {
			return err
		}
	}
	return nil
}

// globalSpec returns the global table whose store has a name, nil when there is
// none.
func (t *Topology) globalSpec(store string) *storeSpec {
	for _, s := range t.globals {
		if s.name == store {
			return s
		}
	}
	return nil
}
