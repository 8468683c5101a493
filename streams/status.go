package streams

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/status"
	"github.com/tidemill/tidemill/streams/topics"
)

var _ status.Source = (*Engine)(nil)

// Status tells how an application is doing in this process: its tasks with the lag of
// each partition, restorations, stores and copies. ctx bounds the question to the brokers
// where the partitions end; without an answer the ends are those heard of last.
func (e *Engine) Status(ctx context.Context, id string) (*status.Application, error) {
	a, err := e.app(id)
	if err != nil {
		return nil, err
	}
	out := &status.Application{
		ID: id, Instance: e.instance, Guarantee: "at_least_once",
		Transactions: a.Transactions != nil, CountsOperators: e.cfg.CountOperators, Tasks: []status.Task{}, Standbys: a.standbys(), Thread: a.threadStatus(),
	}
	if a.ExactlyOnce {
		out.Guarantee = "exactly_once_v2"
	}
	if a.Transactions != nil {
		out.Epochs = a.metrics.Transactions.status()
	}
	all := a.board.all()
	slices.SortFunc(all, func(x, y *taskFigures) int { return x.id.compare(y.id) })
	ends := e.ends(ctx, all)
	for _, f := range all {
		out.Tasks = append(out.Tasks, a.taskStatus(f, ends))
	}
	e.measureDisk(a, out)
	// The brokers may have taken their time: what tasks have done meanwhile they have not done
	// in the state from before that.
	s, why := e.State(id)
	out.State, out.Error = string(s), status.NewError(why)
	return out, nil
}

// Drawn describes the topology of an application, as text or, for Graphviz, in DOT.
func (e *Engine) Drawn(id string, dot bool) (string, error) {
	a, err := e.app(id)
	switch {
	case err != nil:
		return "", err
	case dot:
		return a.Topology.DOT(), nil
	}
	return a.Topology.Describe(), nil
}

// ends asks where partitions end.
func (e *Engine) ends(ctx context.Context, all []*taskFigures) map[string]map[int32]topics.Span {
	names := map[string]bool{}
	for _, f := range all {
		for _, in := range f.inputs {
			names[in.topic] = true
		}
	}
	if len(names) == 0 {
		return nil
	}
	spans, err := e.client.Spans(ctx, slices.Collect(maps.Keys(names))...)
	if err != nil {
		e.cfg.Logger.Debug("it is not known where partitions end", "error", err)
		return nil
	}
	return spans
}

func (a *application) taskStatus(f *taskFigures, ends map[string]map[int32]topics.Span) status.Task {
	t := status.Task{
		ID: f.id.String(), State: "RESTORING", Stores: []status.Store{},
		Processed: f.processed.Load(), Dropped: f.dropped.Load(), Enforced: f.enforced.Load(), Restored: f.restored.Load(),
		Busy: f.busy.Read(), ProcessRecords: f.records.Read(), LateMean: f.lateMean.Read(), LateMax: f.lateMax.Read(),
	}
	a.mu.Lock()
	if a.here[f.id.sub][f.id.partition] {
		t.State = "RUNNING"
	}
	a.mu.Unlock()
	for _, in := range f.inputs {
		p := status.Partition{
			Topic: in.topic, Partition: f.id.partition, Node: in.node,
			Offset: in.next.Load(), End: in.end.Load(), Buffered: in.buffered.Load(), Processed: in.processed.Load(),
		}
		from := max(p.Offset, 0)
		if span, known := ends[in.topic][f.id.partition]; known {
			p.End, from = max(span.End, p.End), max(from, span.Start)
		}
		p.Lag = max(p.End-from, 0)
		t.Partitions = append(t.Partitions, p)
	}
	for _, o := range f.operators {
		t.Operators = append(t.Operators, status.Operator{Name: o.name, Processed: o.taken.Load(), Records: o.rate.Read()})
	}
	for _, st := range f.stores {
		t.Stores = append(t.Stores, st.status())
	}
	return t
}

func (f *storeFigures) status() status.Store {
	s := status.Store{
		Name: f.name, CacheBytes: f.cached.Load(), CacheHits: f.hits.Load(), CacheReads: f.reads.Load(),
		Rows: f.rows.Load(), RowBytes: f.bytes.Load(),
	}
	if began := f.began.Load(); began > 0 {
		end := f.ended.Load()
		if end == 0 {
			end = time.Now().UnixNano()
		}
		s.Restore = status.NewRestore(f.restored.Load(), f.toRestore.Load(), time.Duration(end-began))
	}
	return s
}

func (a *application) threadStatus() status.Thread {
	m, f := &a.metrics, &a.thread
	return status.Thread{
		Processed: m.Processed.Load(), Produced: m.Produced.Load(), Dropped: m.Dropped.Load(),
		Unreadable: m.Unreadable.Load(), Unprocessed: m.Unprocessed.Load(), Unwritten: m.Unwritten.Load(), DeadLetters: m.DeadLetters.Load(),
		Commits: m.Commits.Load(), Aborts: m.Aborts.Load(), Restarts: m.Restarts.Load(), Restored: m.Restored.Load(),
		Polls: f.polls.Load(), Punctuations: f.punctuations.Load(), Created: f.created.Load(), Closed: f.closed.Load(),
		Poll: f.poll.Read(), Process: f.process.Read(), Punctuate: f.punctuate.Read(), Commit: f.commit.Read(),
		PollRecords: f.pollRecords.Read(), ProcessRecords: f.processRecords.Read(),
	}
}

// standbys tells of the copies that are kept.
func (a *application) standbys() []status.Standby {
	all := []status.Standby{}
	c := a.copies.Load()
	if c == nil {
		return all
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range slices.SortedFunc(maps.Keys(c.kept), taskID.compare) {
		s := status.Standby{Task: id.String(), Lag: c.kept[id].lag(), Stores: []status.Store{}}
		for _, st := range c.kept[id].t.ordered {
			s.Stores = append(s.Stores, status.Store{Name: st.spec.name})
		}
		all = append(all, s)
	}
	return all
}

// measureDisk adds what is on disk. While the database is being replaced nothing is.
func (e *Engine) measureDisk(a *application, out *status.Application) {
	if e.disk == nil || !e.open.TryRLock() {
		return
	}
	defer e.open.RUnlock()
	if e.shut {
		return
	}
	out.Disk = &status.Disk{Dir: e.cfg.Dir, Repairs: e.repairs.Load(), Failing: e.failing != nil}
	if e.failing != nil {
		return
	}
	if out.Disk.Full = e.disk.Full() != nil; out.Disk.Full {
		return // Whoever asks the database may have to wait for it.
	}
	out.Disk.Bytes = e.disk.Total()
	measure := func(task string, stores []status.Store) {
		var id taskID
		if _, err := fmt.Sscanf(strings.ReplaceAll(task, "_", " "), "%d %d", &id.sub, &id.partition); err != nil {
			return
		}
		for i := range stores {
			stores[i].DiskBytes = e.sizeOf(a, stores[i].Name, id.partition)
		}
	}
	for _, t := range out.Tasks {
		measure(t.ID, t.Stores)
	}
	for _, s := range out.Standbys {
		measure(s.Task, s.Stores)
	}
}

// sizeOf returns what a partition of a store takes on disk.
func (e *Engine) sizeOf(a *application, store string, partition int32) uint64 {
	var id state.ID
	id, err := e.disk.Open(storeName(a.ID, store), partition)
	if err != nil {
		return 0
	}
	n, err := e.disk.Size(id)
	if err != nil {
		e.cfg.Logger.Debug("it is not known how large a store is", "app", a.ID, "store", store, "error", err)
	}
	return n
}
