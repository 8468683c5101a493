package bankstorm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/torture/chaos"
	"github.com/tidemill/tidemill/torture/storm"
)

// reachTime is how long the worker may take to come to a failpoint.
const reachTime = time.Minute

// started looks at what was done while the connector of the storm began, and makes the
// one beside it.
func (s *sweep) started(ctx context.Context, r *run) (err error) {
	s.run = r
	// A first reading of the tables that was cut short is repeated behind the log.
	s.awaitActed(ctx, s.of(byStart), nil)
	s.tell(s.of(byStart))
	if err := r.world.Arm(s.startText(byAside)); err != nil {
		return err
	}
	if s.aside, err = newAside(ctx, r); err != nil {
		return err
	}
	s.awaitActed(ctx, s.of(byAside), nil)
	s.tell(s.of(byAside))
	return errors.Join(r.world.Arm(""), r.settled(ctx, "the start of everything"))
}

// of returns the trials that come about in a way.
func (s *sweep) of(by way) []trial {
	return slices.DeleteFunc(slices.Clone(s.trials), func(t trial) bool { return t.by != by })
}

// tell says which of some trials were made.
func (s *sweep) tell(list []trial) {
	acted := s.run.world.Acted()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range list {
		s.add(Swept{Mode: s.mode, Point: t.point, Action: t.action, Reached: slices.Contains(acted, t.acted())})
	}
}

// awaitActed waits until the worker has acted in all trials. Meanwhile it does, again and
// again, what leads there.
func (s *sweep) awaitActed(ctx context.Context, list []trial, lead func(context.Context)) bool {
	const again = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	next := time.Now()
	for {
		acted := s.run.world.Acted()
		if !slices.ContainsFunc(list, func(t trial) bool { return !slices.Contains(acted, t.acted()) }) {
			return true
		}
		if lead != nil && !time.Now().Before(next) {
			lead(ctx)
			next = time.Now().Add(again)
		}
		if !sleep(ctx, 10*time.Millisecond) {
			return false
		}
	}
}

// faults makes one trial after the other.
func (s *sweep) faults(ctx context.Context) error {
	began := time.Now()
	defer func() { s.run.result.StormSeconds = time.Since(began).Seconds() }()
	for _, t := range s.trials {
		if t.by == byStart || t.by == byAside || ctx.Err() != nil {
			continue
		}
		if err := s.try(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// try makes a trial.
func (s *sweep) try(ctx context.Context, t trial) error {
	r := s.run
	text := t.text()
	if t.by == byAbort {
		text += ";worker.transaction.flushed=error"
	}
	r.journal.Say("fault", "%s", text)
	over := s.begin(t)
	if err := r.world.Arm(text); err != nil {
		return err
	}
	reached := s.reach(ctx, t)
	if reached && t.action == actStop {
		sleep(ctx, t.hold)
	}
	if err := r.world.Arm(""); err != nil {
		return err
	}
	took := s.recover(ctx, t)
	if t.action == actError {
		s.lead(ctx, byTask) // What has failed is not used before the next connection.
	}
	if ctx.Err() != nil {
		return nil
	}
	over(func(one *Swept) { one.Reached, one.Took = reached, took })
	return nil
}

// reach leads the worker to the failpoint of a trial.
func (s *sweep) reach(ctx context.Context, t trial) bool {
	if t.by == byLarge {
		ctx, stop := context.WithCancel(ctx)
		var group errgroup.Group
		group.Go(func() error { return s.large().Run(ctx) })
		defer func() {
			stop()
			if err := group.Wait(); err != nil {
				s.run.journal.Found(chaos.AnomalyHarness, "large transactions: %v", err)
			}
		}()
	}
	return s.awaitActed(ctx, []trial{t}, func(ctx context.Context) { s.lead(ctx, t.by) })
}

// lead does what leads the worker to a failpoint. What fails is tried again: the worker
// may just have died of it.
func (s *sweep) lead(ctx context.Context, by way) {
	w := s.run.world
	switch by {
	case byTask:
		_ = w.Call(ctx, "POST", "/connectors/"+chaos.Connector+"/restart?includeTasks=true", nil, nil)
	case byConfig:
		_ = s.aside.reconfigure(ctx)
	case byRead:
		_ = s.aside.readBeside(ctx)
	}
}

// large is a storm of large transactions alone.
func (s *sweep) large() *storm.Storm {
	const rows = 8000
	r := s.run
	return storm.New(storm.Options{Seed: int64(r.o.Seed) + 1, Clients: 1, TPS: 1, BigTx: rows, Abort: -1, Die: -1, Templates: []string{"big", "bigdelete"},
		Connect: func(ctx context.Context) (*pgx.Conn, error) { return r.world.Connect(ctx, database) }})
}

// recover waits until a change made after an action has come to Kafka, one to the table of
// the sink beside it, and the log has been confirmed up to there.
func (s *sweep) recover(ctx context.Context, t trial) time.Duration {
	r := s.run
	healed := time.Now()
	waiting, cancel := context.WithTimeout(ctx, r.o.Patience)
	defer cancel()
	took, err := r.monitor.Recovered(waiting, healed)
	for _, also := range []func(context.Context, time.Time) (time.Duration, error){s.aside.recovered, s.aside.confirmed} {
		if err == nil {
			var later time.Duration
			later, err = also(waiting, healed)
			took = max(took, later)
		}
	}
	if ctx.Err() != nil {
		return took
	}
	fault := chaos.Fault{Class: t.acted()}
	r.result.Faults++
	r.result.ByClass[t.action]++
	r.result.recoveries = append(r.result.recoveries, recovered{fault, took})
	if err != nil {
		r.journal.Found(chaos.AnomalyStuck, "after %s: %v; %s", t.acted(), err, s.states(ctx))
		r.world.Dump(ctx)
		return took
	}
	r.journal.Say("recovered", "from %s in %v", t.acted(), took.Round(time.Millisecond))
	return took
}

// states says how the connectors are.
func (s *sweep) states(ctx context.Context) (text string) {
	for _, name := range []string{chaos.Connector, asideName, asideSink} {
		status, err := s.run.world.Status(ctx, name)
		text += fmt.Sprintf("%s: %s", name, status)
		if err != nil {
			text += " (" + err.Error() + ")"
		}
		text += "; "
	}
	return text
}

// verifyAside compares what a sweep has beside the storm.
func (r *run) verifyAside(ctx context.Context) error {
	if r.o.sweep == nil {
		return nil
	}
	return r.o.sweep.aside.verify(ctx)
}
