package bankstorm

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/tidemill/tidemill/torture/chaos"
	"github.com/tidemill/tidemill/torture/recount"
)

// fleetSize is the number of processes of the streams application.
const fleetSize = 3

// flow watches a streams application: what it was given, what it has written, and when a
// change that was made has come through all of its partitions.
type flow struct {
	reader *recount.Reader

	mu   sync.Mutex // guards the following
	made map[int64]time.Time
	// through has for each partition the newest marker that came through: when it was
	// made and when it was seen.
	through [recount.Partitions]passage
}

// passage is a marker that came through.
type passage struct{ made, seen time.Time }

// newFlow prepares to watch, before there is anything to see.
func newFlow() *flow { return &flow{made: map[int64]time.Time{}} }

// marked notes a marker that was written.
func (f *flow) marked(id int64, made time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made[id] = made
}

// beat notes a marker that came through.
func (f *flow) beat(id int64, partition int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	made, ok := f.made[id]
	delete(f.made, id)
	if p := &f.through[partition]; ok && made.After(p.made) {
		*p = passage{made, time.Now()}
	}
}

// recovered waits until markers that were written after since have come through every
// partition, and returns how long after since that was.
func (f *flow) recovered(ctx context.Context, since time.Time) (time.Duration, error) {
	for {
		var behind []int
		var last time.Time
		f.mu.Lock()
		for n, p := range f.through {
			if !p.made.After(since) {
				behind = append(behind, n)
			}
			if p.seen.After(last) {
				last = p.seen
			}
		}
		f.mu.Unlock()
		if len(behind) == 0 {
			return max(0, last.Sub(since)), nil
		}
		if !sleep(ctx, 10*time.Millisecond) {
			return time.Since(since), fmt.Errorf("no change made after it has come through partitions %v of the streams application in %v", behind, time.Since(since).Round(time.Millisecond))
		}
	}
}

// startStreams starts the streams application, and waits until a change comes through it.
func (r *run) startStreams(ctx context.Context) error {
	if !r.o.Streams {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.setupTime())
	defer cancel()
	topics := map[string]int32{recount.Ticks: 1}
	for _, name := range recount.Results() {
		topics[name] = recount.Partitions
	}
	binary := r.o.Fleet
	if binary == "" {
		var err error
		if binary, err = os.Executable(); err != nil {
			return err
		}
	}
	if err := r.world.StartFleet(ctx, chaos.FleetOptions{Binary: binary, Size: fleetSize, Prefix: prefix, Topics: topics}); err != nil {
		return err
	}
	reader, err := recount.NewReader(recount.Options{Kafka: r.world.Direct(), Registry: r.world.Registry(), Prefix: prefix, Beat: r.flow.beat})
	if err != nil {
		return err
	}
	r.flow.reader = reader
	r.reading(func(ctx context.Context) error { return reader.Run(ctx) })
	return r.flowing(ctx, "the start of the streams application")
}

// flowing waits until a change that is made now has come through the streams application.
func (r *run) flowing(ctx context.Context, after string) error {
	took, err := r.flow.recovered(ctx, time.Now())
	if err != nil {
		r.journal.Found(recount.Stuck, "after %s: %v", after, err)
		r.world.DumpFleet(context.WithoutCancel(ctx))
		return fmt.Errorf("after %s: %w", after, err)
	}
	r.journal.Say("settled", "the streams application, after %s in %v", after, took.Round(time.Millisecond))
	return nil
}

// recoverStreams waits until a change made after a fault has come through the streams
// application, and takes note of how long that took.
func (r *run) recoverStreams(ctx context.Context, f chaos.Fault, healed time.Time) {
	if !r.o.Streams {
		return
	}
	waiting, cancel := context.WithDeadline(ctx, healed.Add(streamsPatience(r.o.Patience)))
	defer cancel()
	took, err := r.flow.recovered(waiting, healed)
	if ctx.Err() != nil {
		return
	}
	r.result.flows = append(r.result.flows, recovered{f, took})
	if err != nil {
		r.journal.Found(recount.Stuck, "after %s: %v", f, err)
		r.world.DumpFleet(ctx)
		return
	}
	r.journal.Say("recovered", "the streams application from %s in %v", f.Class, took.Round(time.Millisecond))
}

// streamsPatience is how long a recovery of the streams application may take: beside what
// the worker has, the time after which a silent process loses its place, and that after
// which brokers end a transaction that nobody ends.
func streamsPatience(patience time.Duration) time.Duration {
	const session, transaction = 6 * time.Second, 10 * time.Second
	return patience + session + transaction
}

// verifyStreams waits until the streams application has written what follows from what it
// was given, and moves time on so that windows close.
func (r *run) verifyStreams(ctx context.Context) error {
	if !r.o.Streams {
		return nil
	}
	r.journal.Say("phase", "recount what the streams application has written")
	began := time.Now()
	waiting, cancel := context.WithTimeout(ctx, max(r.setupTime(), copyPatience))
	defer cancel()
	if err := r.flow.reader.CatchUp(waiting); err != nil {
		return err
	}
	expected := r.flow.reader.Inputs().Expect()
	for {
		found, list, err := r.recount(waiting, expected)
		if err == nil && len(found) == 0 {
			r.journal.Say("verified", "%d results of the streams application are what they must be, after %v", len(list), time.Since(began).Round(time.Millisecond))
			return nil
		}
		if err != nil || overdone(found) || !sleep(waiting, 500*time.Millisecond) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			for _, a := range found {
				r.journal.Found(a.Name, "%s", a)
			}
			if len(found) == 0 {
				return err
			}
			return nil
		}
	}
}

// recount compares once. When everything has been counted it moves time on.
func (r *run) recount(ctx context.Context, expected *recount.Expected) ([]recount.Anomaly, []recount.Result, error) {
	list := r.flow.reader.Results()
	found := expected.Compare(list)
	if len(found) == 0 || !expected.Counted(list) {
		return found, list, nil
	}
	if err := r.flow.reader.Tick(ctx); err != nil {
		return found, list, fmt.Errorf("moving the time of the streams application on: %w", err)
	}
	return found, list, nil
}

// overdone tells whether something came too often, which waiting does not mend.
func overdone(list []recount.Anomaly) bool {
	for _, a := range list {
		if a.Name == recount.Twice {
			return true
		}
	}
	return false
}

// rebuiltStreams restarts the streams application, of which one process has lost its
// state: nothing may come anew, and changes go on to come through.
func (r *run) rebuiltStreams(ctx context.Context) error {
	if !r.o.Streams {
		return nil
	}
	r.journal.Say("phase", "restart the streams application")
	starting, cancel := context.WithTimeout(ctx, r.setupTime())
	defer cancel()
	if err := r.world.ForgetFleet(starting); err != nil {
		return err
	}
	if err := r.flowing(starting, "its restart"); err != nil {
		return nil // It was told.
	}
	if err := r.flow.reader.CatchUp(starting); err != nil {
		return err
	}
	return r.verifyStreams(ctx)
}
