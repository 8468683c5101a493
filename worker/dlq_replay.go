package worker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Replay is how far a replay of letters has come.
type Replay struct {
	Connector string `json:"connector"`
	Topic     string `json:"topic"`
	// State is "running", "done", "failed" (Error tells why) or "stopped".
	State   string     `json:"state"`
	DryRun  bool       `json:"dry_run,omitempty"`
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended,omitempty"`
	// Left is how many offsets of the queue are still to be looked at.
	Left int64 `json:"left"`
	// Chosen letters are those that were asked for. Of them, Replayed were written (in a dry
	// run: could be converted), Dropped were left out by a transform, Failed failed again and
	// stay pending, Repeated may have been written before, and Duplicates are further letters
	// of a record that was replayed. Unsure are those that the connector has not said it has
	// written. Stranger letters do not say where they come from, and cannot be replayed.
	Chosen     int `json:"chosen"`
	Replayed   int `json:"replayed"`
	Dropped    int `json:"dropped"`
	Failed     int `json:"failed"`
	Repeated   int `json:"repeated"`
	Duplicates int `json:"duplicates"`
	Unsure     int `json:"unsure"`
	Stranger   int `json:"no_context"`
	// Resumed is how often a worker has gone on with it after the one before was lost.
	Resumed int `json:"resumed,omitempty"`
	// Waiting is why it waits before it tries again; empty when it does not.
	Waiting string `json:"waiting,omitempty"`
	Error   string `json:"error,omitempty"`
	// Failures are the first letters that failed again, with the error in Error and Message.
	Failures []Letter `json:"failures,omitempty"`
}

// failuresShown is how many letters that failed again are shown.
const failuresShown = 20

// replay puts letters to the connector again: into a task of the connector's own that is
// made for it, through the same converters and transforms, with the topic, partition and
// offset that the records first had. Other readers of the topic see nothing of it.
//
// Nothing is lost or written twice in silence. Before a batch is put its letters are stored
// as unsure, and when the connector has said that it is written, as replayed. What was being
// put when a worker was lost stays unsure: the next replay takes it again, and counts it as
// repeated. Letters that fail again stay pending. Behind each batch it is stored where the
// replay is, and the next leader of the group goes on there.
type replay struct {
	h      *Herder
	q      *queue
	query  LetterQuery
	cancel context.CancelFunc
	done   chan struct{}
	halted atomic.Bool // Somebody has asked for its end.

	mu    sync.Mutex // Guards state.
	state Replay

	// What follows belongs to the goroutine of run.
	sink    *replaySink
	batch   []*Letter
	bytes   int
	origins map[connect.TopicPartition]*spans // Of what was replayed by this replay.
	at      map[int32]int64                   // Behind the last letter that was taken in, of each partition.
	inARow  int                               // Letters that the plugin refused one after the other.
}

const (
	replayBatch = 500
	replayBytes = 4 << 20
	// replayGivesUp is after how many letters that are refused one after the other a replay
	// ends: what was to be mended is not.
	replayGivesUp = 20
)

// update changes what is known of the replay.
func (r *replay) update(f func(*Replay)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.state)
}

// now returns how far the replay has come.
func (r *replay) now() Replay {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.Failures = append([]Letter(nil), s.Failures...)
	return s
}

// run replays until all was looked at, something fails or ctx ends.
func (r *replay) run(ctx context.Context) {
	err := guard("replay", func() error { return r.work(ctx) })
	if left(err) || ctx.Err() != nil && !r.halted.Load() {
		r.h.rt.log.Info("a replay of dead letters is left to whoever leads the group", "connector", r.q.connector, "worker", r.h.rt.statuses.workerID, "error", err)
		r.h.leave(r) // Whoever leads the group goes on with it.
		close(r.done)
		return
	}
	s, ended := r.now(), time.Now().UTC().Truncate(time.Millisecond)
	s.Ended, s.Waiting = &ended, ""
	switch {
	case ctx.Err() != nil:
		s.State = "stopped"
	case err != nil:
		s.State, s.Error = "failed", err.Error()
	default:
		s.State, s.Left = "done", 0
	}
	if err := r.saveAs(s, nil, true); err != nil {
		r.h.rt.log.Warn("the end of a replay could not be stored", "connector", r.q.connector, "error", err)
	}
	// Who sees that it has ended may begin the next one.
	r.update(func(state *Replay) {
		*state = s
		close(r.done)
	})
	r.h.rt.log.Info("a replay of dead letters ended", "connector", r.q.connector, "state", s.State, "dry_run", s.DryRun,
		"replayed", s.Replayed, "failed", s.Failed, "error", s.Error)
}

func (r *replay) work(ctx context.Context) (err error) {
	if r.sink, err = newReplaySink(ctx, r.q); err != nil {
		return err
	}
	defer func() {
		if last := r.sink.close(); err == nil {
			err = last
		}
	}()
	err = r.q.read(ctx, &r.query, func(l *Letter) error { return r.take(ctx, l) }, func() error {
		r.update(func(s *Replay) { s.Left = r.q.left })
		return r.flush(ctx)
	})
	return err
}

// take takes in the next letter that was chosen.
func (r *replay) take(ctx context.Context, l *Letter) error {
	if most := r.query.Limit; most > 0 && r.state.Chosen >= most {
		if err := r.flush(ctx); err != nil {
			return err
		}
		return errEnough
	}
	again := l.Origin != nil && slices.ContainsFunc(r.batch, func(b *Letter) bool { return *b.Origin == *l.Origin })
	if again {
		if err := r.flush(ctx); err != nil {
			return err
		}
	}
	r.at[l.Partition] = l.Offset + 1
	r.update(func(s *Replay) {
		s.Chosen++
		switch l.State {
		case letterStranger:
			s.Stranger++
		case letterReplayed, letterUnsure:
			s.Repeated++
		}
	})
	if l.State == letterStranger {
		return nil
	}
	if r.origin(l).has(l.Origin.Offset) {
		// A sink that was killed reads, and refuses, some records twice.
		r.update(func(s *Replay) { s.Duplicates++ })
		return r.settle([]*Letter{l}, (*marks).written)
	}
	r.batch = append(r.batch, l)
	r.bytes += len(l.record.Key) + len(l.record.Value)
	most := r.query.Batch
	if most == 0 {
		most = replayBatch
	}
	if len(r.batch) < most && r.bytes < replayBytes {
		return nil
	}
	return r.flush(ctx)
}

// origin is what was replayed of the partition that a letter comes from.
func (r *replay) origin(l *Letter) *spans {
	tp := connect.TopicPartition{Topic: l.Origin.Topic, Partition: l.Origin.Partition}
	if r.origins[tp] == nil {
		r.origins[tp] = &spans{}
	}
	return r.origins[tp]
}

// flush replays the letters gathered, and stores how far it has come.
func (r *replay) flush(ctx context.Context) error {
	letters := r.batch
	r.batch, r.bytes = nil, 0
	if len(letters) == 0 {
		return nil
	}
	if err := r.allowed(); err != nil {
		return err
	}
	b := r.sink.convert(ctx, letters)
	if ctx.Err() != nil {
		return ctx.Err() // What could not be converted may not be at fault.
	}
	if i := slices.IndexFunc(b.why, isBroken); i >= 0 {
		return b.why[i] // Nor are the letters, and others would fare no better.
	}
	for i, l := range b.refused {
		r.fail(l, b.why[i])
	}
	r.update(func(s *Replay) { s.Dropped += len(b.dropped) })
	if r.query.DryRun {
		r.update(func(s *Replay) { s.Replayed += len(b.letters) })
		return nil
	}
	if err := r.settle(b.dropped, (*marks).written); err != nil {
		return err
	}
	if len(b.letters) > 0 {
		if err := r.split(ctx, b); err != nil {
			return err
		}
	}
	return r.save(nil, true)
}

// split puts letters. When the plugin refuses them together, each half is put by itself,
// into a task that is made anew, and so on: one letter that is refused holds up no other.
func (r *replay) split(ctx context.Context, b *replayed) error {
	err := r.put(ctx, b)
	if err == nil || !isolable(err) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err() // It may have failed for that, and what it has written is not known.
	}
	if n := len(b.letters); n > 1 {
		for _, half := range []*replayed{b.part(0, n/2), b.part(n/2, n)} {
			if err := r.sink.renew(ctx); err != nil {
				return err
			}
			if err := r.split(ctx, half); err != nil {
				return err
			}
		}
		return nil
	}
	r.fail(b.letters[0], err)
	if err := r.settle(b.letters, (*marks).refused); err != nil {
		return err
	}
	if r.inARow++; r.inARow >= replayGivesUp {
		return err
	}
	return r.sink.renew(ctx)
}

// isolable tells whether an error may be that of one record.
func isolable(err error) bool {
	if _, ends := errors.AsType[*replayEnds](err); ends {
		return false
	}
	class := connect.AsError(err).Class
	return class == connect.ClassFatal || class == connect.ClassRecord
}

// allowed fails when the replay must not go on: the connector is not to write any more, or
// another worker has taken the lead.
func (r *replay) allowed() error {
	d, ok := r.h.desired(r.q.connector)
	switch {
	case !ok:
		return &replayEnds{notFound(r.q.connector)}
	case d.target != Started:
		return &replayEnds{notStarted(r.q.connector, d.target)}
	case !r.h.leads():
		return &replayEnds{&connect.Error{
			Code: "dlq.moved", Class: connect.ClassRetriable, Place: r.q.connector,
			Message: "another worker leads the group now, and goes on with the replay",
		}}
	}
	return nil
}

// settle stores what has become of letters. A replay that is stopped stores it as well.
func (r *replay) settle(letters []*Letter, change func(m *marks, offset int64)) error {
	if len(letters) == 0 {
		return nil
	}
	changed := map[int32]bool{}
	for _, l := range letters {
		if !r.query.DryRun {
			change(r.q.marks[l.Partition], l.Offset)
		}
		changed[l.Partition] = true
	}
	return r.save(changed, false)
}

// save stores the marks of partitions, and then where the replay is when all that it has
// taken in is settled.
func (r *replay) save(partitions map[int32]bool, settled bool) error {
	return r.saveAs(r.now(), partitions, settled)
}

func (r *replay) saveAs(now Replay, partitions map[int32]bool, settled bool) error {
	if r.query.DryRun {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleLimit)
	defer cancel()
	err := r.q.store(ctx, partitions, nil)
	if err == nil && settled {
		err = r.q.store(ctx, nil, appendJSON(nil, storedReplay{TopicID: r.q.id, Query: r.query, At: r.at, Behind: r.q.replayedBehind(r.at), Replay: now}))
	}
	if err != nil {
		return &replayEnds{err}
	}
	return nil
}

// settleLimit is how long storing marks may take.
const settleLimit = time.Minute

// replayEnds is an error that ends a replay and is no plugin's.
type replayEnds struct{ cause error }

// Error implements error.
func (e *replayEnds) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *replayEnds) Unwrap() error { return e.cause }

// fail takes note of a letter that failed again.
func (r *replay) fail(l *Letter, err error) {
	shown := *l
	shown.Error, shown.Message, shown.Trace, shown.record = connect.AsError(err).Code, err.Error(), "", nil
	r.update(func(s *Replay) {
		s.Failed++
		if len(s.Failures) < failuresShown {
			s.Failures = append(s.Failures, shown)
		}
	})
}

// put puts letters and stores what became of them. An error is the plugin's, about letters
// that are unsure then, or one that ends the replay.
func (r *replay) put(ctx context.Context, b *replayed) error {
	if err := r.settle(b.letters, (*marks).doubted); err != nil {
		return err
	}
	if err := r.sink.put(ctx, r, b); err != nil {
		if !isolable(err) {
			r.update(func(s *Replay) { s.Unsure += len(b.letters) })
		}
		return err
	}
	var good, refused []*Letter
	open := 0
	for i, l := range b.letters {
		switch {
		case b.errant[i] != nil:
			r.fail(l, b.errant[i])
			refused = append(refused, l)
		case !b.answered(i):
			open++
		default:
			good = append(good, l)
			r.origin(l).add(l.Origin.Offset)
			r.inARow = 0
		}
	}
	if err := r.settle(refused, (*marks).refused); err != nil {
		return err
	}
	if err := r.settle(good, (*marks).written); err != nil {
		return err
	}
	r.update(func(s *Replay) { s.Replayed, s.Unsure = s.Replayed+len(good), s.Unsure+open })
	return nil
}
