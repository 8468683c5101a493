package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/topics"
)

// restoration brings the stores of new tasks up to date, beside the running ones,
// in a goroutine that its runner starts and waits for.
type restoration struct {
	tasks  map[taskID]*task
	cancel context.CancelFunc
	done   chan struct{} // closed at the end
	err    error         // set before that
	// stance is where the stores are, in transaction mode, once they are restored.
	stance stance
}

// restore starts what has to be restored and takes over what has been.
func (r *runner) restore(ctx context.Context) error {
	if r.pending != nil {
		select {
		case <-r.pending.done:
			if r.pending.err != nil {
				return r.pending.err
			}
			if err := r.activate(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	if len(r.fresh) == 0 {
		r.settled()
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &restoration{tasks: r.fresh, cancel: cancel, done: make(chan struct{})}
	r.fresh, r.pending = map[taskID]*task{}, p
	r.a.metrics.Restoring.Store(int64(len(p.tasks)))
	r.a.set(Restoring, nil)
	go func() {
		defer close(p.done)
		p.err = r.a.shield(func() error { return p.run(ctx, r.a) })
	}()
	return nil
}

// settled shows that all tasks run, once the group has given out its partitions.
func (r *runner) settled() {
	switch {
	case r.a.paused.Load():
		r.a.set(Paused, nil)
	case r.joined:
		r.a.set(Running, nil)
	}
}

// activate lets restored tasks run.
func (r *runner) activate() error {
	if r.epochs != nil {
		if err := r.stand(); err != nil {
			return err
		}
	}
	for id, t := range r.pending.tasks {
		for _, q := range t.queues {
			q.next = q.saved // The goroutine that restored must not touch it: records are coming in.
			q.place(q.placed, q.known)
		}
		t.resume()
		r.tasks[id] = t
		t.note(time.Time{})
		r.a.setHere(id, true)
	}
	r.pending.cancel()
	r.pending = nil
	r.a.metrics.Restoring.Store(0)
	return nil
}

// stopRestoring ends a restoration; its tasks start over from where it came to.
func (r *runner) stopRestoring() {
	if r.pending == nil {
		return
	}
	r.pending.cancel()
	<-r.pending.done
	if err := r.pending.err; err != nil && !errors.Is(err, context.Canceled) && r.broken == nil {
		r.broken = err
	}
	for id, t := range r.pending.tasks {
		r.fresh[id] = t
	}
	r.pending = nil
	r.a.metrics.Restoring.Store(0)
}

// run restores all tasks.
func (p *restoration) run(ctx context.Context, a *application) error {
	partitions := map[string][]int32{}
	for id, t := range p.tasks {
		for _, q := range t.queues {
			partitions[q.topic] = append(partitions[q.topic], id.partition)
		}
	}
	committed, err := a.e.client.Committed(ctx, a.ID, partitions)
	if err != nil {
		return err
	}
	if a.Transactions != nil {
		if p.stance, err = a.stance(ctx); err != nil {
			return err
		}
	}
	if err := p.placeQueues(ctx, a, committed); err != nil {
		return err
	}
	moved, err := p.moved(a)
	if err != nil {
		return err
	}
	var behind []*task
	for _, t := range p.tasks {
		if moved || !t.stands(committed) {
			behind = append(behind, t)
		}
	}
	if err := p.catchUp(ctx, a, behind); err != nil {
		return err
	}
	b := a.e.db.Batch()
	for _, t := range behind {
		for _, q := range t.queues {
			t.setPosition(b, 's', q.topic, committed[q.topic][t.id.partition].Offset)
		}
	}
	if err := b.Commit(); err != nil {
		return err
	}
	p.stand(a, committed)
	return nil
}

// stand sets where the inputs of the tasks are, and what time it is in them.
func (p *restoration) stand(a *application, committed topics.Commits) {
	var strange []string
	for _, t := range p.tasks {
		for _, q := range t.queues {
			commit, ok := committed[q.topic][t.id.partition], false
			q.saved = commit.Offset
			if q.savedHigh, ok = readTimeNote(commit.Note); !ok {
				strange = append(strange, fmt.Sprintf("%s-%d", q.topic, t.id.partition))
			}
		}
	}
	if len(strange) > 0 {
		slices.Sort(strange)
		a.e.cfg.Logger.Warn("what is noted with the committed offsets is nothing of ours: the time of the partitions is that of what comes", "app", a.ID, "partitions", strange)
	}
}

// moved tells, in transaction mode, whether the DB is as of another transaction than the
// group. One may change the stores of a task without an event in its partitions: a
// truncate has one for all of a table's, and windows close by the time of all of them.
func (p *restoration) moved(a *application) (bool, error) {
	if a.Transactions == nil {
		return false, nil
	}
	at, err := epochOf(a.e.db, a.ID, a.e.db.Reader)
	return at != p.stance.at, err
}

// placeQueues tells tasks that choose between partitions where these begin and
// end, so that they know what to wait for.
func (p *restoration) placeQueues(ctx context.Context, a *application, committed topics.Commits) error {
	names := map[string]bool{}
	for _, t := range p.tasks {
		for _, q := range t.queues {
			if len(t.queues) > 1 {
				names[q.topic] = true
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	spans, err := a.e.client.Spans(ctx, slices.Collect(maps.Keys(names))...)
	if err != nil {
		return err
	}
	for _, t := range p.tasks {
		for _, q := range t.queues {
			if a.FromLatest && committed[q.topic][t.id.partition].Offset < 0 && !isRepartition(q) {
				continue // There is nothing to wait for yet.
			}
			span := spans[q.topic][t.id.partition]
			q.placed, q.known = max(committed[q.topic][t.id.partition].Offset, span.Start), span.End
		}
	}
	return nil
}

func isRepartition(q *queue) bool { return strings.HasPrefix(q.name, internalMark) }

// stands tells whether the DB has a task's stores exactly as of the offsets its
// group has committed. Then there is nothing to restore, even when the changelog
// goes on: what follows was written by a commit that did not get through, and will
// be written again.
func (t *task) stands(committed topics.Commits) bool {
	if len(t.ordered) == 0 {
		return true
	}
	some := false
	for _, q := range t.queues {
		if q.saved != committed[q.topic][t.id.partition].Offset {
			return false
		}
		some = some || q.saved >= 0
	}
	return some
}

// logPart is one changelog partition that is read.
type logPart struct {
	t           *task
	st          *taskStore
	read, total int64
}

// catchUp reads the changelogs of tasks from where their stores stand to where
// they end now.
func (p *restoration) catchUp(ctx context.Context, a *application, tasks []*task) error {
	parts, names := map[string]map[int32]*logPart{}, map[string]bool{}
	for _, t := range tasks {
		for _, st := range t.ordered {
			if st.spec.layout.Unlogged {
				continue
			}
			if parts[st.changelog] == nil {
				parts[st.changelog] = map[int32]*logPart{}
			}
			parts[st.changelog][t.id.partition] = &logPart{t: t, st: st}
			names[st.changelog] = true
		}
	}
	if len(names) == 0 {
		return nil
	}
	spans, err := a.e.client.Spans(ctx, slices.Collect(maps.Keys(names))...)
	if err != nil {
		return err
	}
	from, to := map[string]map[int32]int64{}, map[string]map[int32]int64{}
	for topic, ps := range parts {
		from[topic], to[topic] = map[int32]int64{}, map[int32]int64{}
		for partition, part := range ps {
			at, err := part.begin(a, spans[topic][partition])
			if err != nil {
				return err
			}
			from[topic][partition], to[topic][partition] = at, spans[topic][partition].End
			part.total = max(spans[topic][partition].End-at, 0)
			part.st.figures.ended.Store(0)
			part.st.figures.began.Store(time.Now().UnixNano())
			part.report(a)
		}
	}
	if err := p.read(ctx, a, parts, reach{from, to}); err != nil {
		return fmt.Errorf("restoring the stores of application %s: %w", a.ID, err)
	}
	return finish(a, parts, to)
}

// reach is a part of changelogs.
type reach struct{ from, to map[string]map[int32]int64 }

// read takes parts of changelogs into the stores.
func (p *restoration) read(ctx context.Context, a *application, parts map[string]map[int32]*logPart, what reach) (err error) {
	var total int64
	for _, ps := range parts {
		for _, part := range ps {
			total += part.total
		}
	}
	fills := a.e.fillFor(total)
	defer func() { err = errors.Join(err, fills.close()) }()
	var scratch []byte
	err = a.e.client.ReadSpan(ctx, what.from, what.to, func(rs []*kgo.Record) (bool, error) {
		part := parts[rs[0].Topic][rs[0].Partition]
		b := fills.batch(part.st)
		var err error
		if scratch, err = part.t.replay(b, part.st, rs, scratch); err != nil {
			return false, err
		}
		part.moveTo(b, rs[len(rs)-1].Offset+1)
		if err := fills.commit(b); err != nil {
			return false, err
		}
		part.read += int64(len(rs))
		part.t.figures.restored.Add(int64(len(rs)))
		a.metrics.Restored.Add(int64(len(rs)))
		part.report(a)
		return true, nil
	})
	return fills.end(err)
}

// finish notes that the stores stand at the ends of their changelogs.
func finish(a *application, parts map[string]map[int32]*logPart, to map[string]map[int32]int64) error {
	b := a.e.db.Batch()
	for topic, ps := range parts {
		for partition, part := range ps {
			part.moveTo(b, max(to[topic][partition], part.st.position))
			part.read = part.total
			part.st.figures.ended.Store(time.Now().UnixNano())
			part.report(a)
		}
	}
	return b.Commit()
}

// begin decides where to read from: after what the store has, or from the start
// into an empty store when the changelog does not reach that far back or forth.
// From here on the store is no longer as of the offsets noted with it.
func (p *logPart) begin(a *application, span topics.Span) (int64, error) {
	at := p.st.position
	b := a.e.db.Batch()
	for _, q := range p.t.queues {
		p.t.setPosition(b, 's', q.topic, -1)
		q.saved = -1
	}
	if at < span.Start || at > span.End {
		rows := a.e.db.Reader(p.st.id).Scan(state.Range{})
		if rows.Next() {
			b.DeleteRange(p.st.id, state.Range{}) // Above nothing it would be in the way of what comes.
		}
		if err := rows.Close(); err != nil {
			return 0, err
		}
		at = span.Start
		p.moveTo(b, at)
	}
	return at, b.Commit()
}

// moveTo notes how far the store has come.
func (p *logPart) moveTo(b state.Batch, offset int64) {
	p.st.position = offset
	p.t.setPosition(b, 'c', p.st.spec.name, offset)
}

func (p *logPart) report(a *application) {
	p.st.figures.restored.Store(p.read)
	p.st.figures.toRestore.Store(p.total)
	if a.e.cfg.Restoring != nil {
		a.e.cfg.Restoring(a.ID, p.st.spec.name, p.t.id.partition, p.read, p.total)
	}
}
