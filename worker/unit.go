package worker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// unit runs one connector and its tasks: it makes them follow what the config topic
// says. One goroutine does so, which is this connector's own, so that plugin code
// that blocks holds up nobody else.
type unit struct {
	name string
	h    *Herder
	rt   *runtime
	log  *slog.Logger

	wake        chan struct{} // What the unit should follow has changed.
	requests    chan restartRequest
	faults      chan error    // Faults the connector found by itself.
	reconfigure chan struct{} // The connector wants its tasks divided anew.
	done        chan struct{} // Closed at the end.
	cancel      context.CancelFunc

	// What follows belongs to the unit's goroutine.
	connector *connectorRun
	attempted connect.Config // The configuration last started, also in vain.
	failures  int
	retry     *time.Timer // When a failed start or a failed division is tried again.
	state     string
	commits   int // Of the tasks that run.

	mu       sync.Mutex // Guards what follows, which others look at.
	tasks    map[int]*taskRun
	stopping int // Tasks that were told to stop and may still run.
	zombies  []*taskRun
}

// restartRequest asks a unit to restart things. done gets the outcome.
type restartRequest struct {
	connector bool
	tasks     []int
	done      chan error
}

// desired is what a unit should be doing.
type desired struct {
	connectorConfig
	target TargetState
	mine   share
}

func newUnit(h *Herder, name string) *unit {
	u := &unit{
		name: name, h: h, rt: h.rt, log: h.rt.log.With("connector", name),
		wake: make(chan struct{}, 1), requests: make(chan restartRequest), faults: make(chan error, 1),
		reconfigure: make(chan struct{}, 1), done: make(chan struct{}), tasks: map[int]*taskRun{},
		retry: time.NewTimer(time.Hour),
	}
	u.retry.Stop()
	return u
}

// poke makes the unit look at what it should be doing.
func (u *unit) poke() { nudge(u.wake) }

// nudge sends unless a signal is waiting already.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run follows until ctx ends, and then stops everything. It returns nil.
func (u *unit) Run(ctx context.Context) error {
	defer close(u.done)
	defer u.end()
	for ctx.Err() == nil {
		d, ok := u.h.desired(u.name)
		if !ok {
			return nil
		}
		u.follow(ctx, d)
		select {
		case <-ctx.Done():
		case <-u.wake:
		case <-u.retry.C:
			u.attempted = nil
		case <-u.reconfigure:
			u.divide(ctx)
		case err := <-u.faults:
			u.failConnector(err)
		case r := <-u.requests:
			r.done <- u.restart(ctx, r)
		}
	}
	return nil
}

// end stops everything, and says so unless the connector was deleted.
func (u *unit) end() {
	u.stopAll()
	u.stopConnector()
	u.h.ended(u.name)
}

// follow brings the connector and its tasks to where they should be.
func (u *unit) follow(ctx context.Context, d desired) {
	switch {
	case d.target == Stopped:
		u.stopAll()
		u.rest(d, stateStopped)
		u.forgetTasks(0)
		return
	case d.target == Paused:
		u.rest(d, statePaused)
	case !d.mine.owns(u.name):
		u.rest(d, "")
	default:
		// Tasks of a configuration that has not changed need not wait for the connector.
		if maps.Equal(d.config, d.applied) {
			u.followTasks(ctx, d)
		}
		u.followConnector(ctx, d)
		if next, ok := u.h.desired(u.name); ok {
			d = next
		}
	}
	u.followTasks(ctx, d)
}

// rest stops the connector, and puts its state if it is this worker's to put.
func (u *unit) rest(d desired, state string) {
	u.stopConnector()
	u.attempted, u.failures = nil, 0
	if d.mine.owns(u.name) {
		u.put(state, "")
	} else {
		u.rt.statuses.releaseOwner(u.name)
		u.state = ""
	}
}

// followConnector starts the connector if it does not run with its configuration.
func (u *unit) followConnector(ctx context.Context, d desired) {
	if maps.Equal(u.attempted, d.config) && u.attempted != nil {
		if len(d.tasks) == 0 {
			u.divide(ctx) // It may have been stopped and resumed before this could be seen.
		}
		return
	}
	if u.attempted != nil {
		u.failures = 0
	}
	u.stopConnector()
	u.attempted = d.config
	env := connect.ConnectorEnv{
		Name: u.name, Log: u.log,
		Reconfigure: func() { nudge(u.reconfigure) },
		Fail: func(err error) {
			select {
			case u.faults <- err:
			default: // One fault is enough to fail.
			}
		},
	}
	u.rt.metrics.attempts.connector.Add(1)
	var err error
	if u.connector, err = startConnector(ctx, u.rt, env, d.config); err != nil {
		if ctx.Err() == nil {
			u.rt.metrics.failures.connector.Add(1)
			u.failConnector(err)
		}
		return
	}
	u.put(stateRunning, "")
	u.divide(ctx)
}

// divide asks for the tasks' configurations and has them stored when they, or the
// connector's own since they were stored, have changed.
func (u *unit) divide(ctx context.Context) {
	d, ok := u.h.desired(u.name)
	if !ok || u.connector == nil || d.target != Started || !d.mine.owns(u.name) {
		return
	}
	configs, err := u.connector.taskConfigs(ctx, u.name)
	if err != nil {
		if ctx.Err() == nil {
			u.failConnector(err)
		}
		return
	}
	same := slices.EqualFunc(configs, d.tasks, func(a, b connect.Config) bool { return maps.Equal(a, b) })
	if same && !d.inconsistent && d.commits > 0 && maps.Equal(d.config, d.applied) {
		u.failures = 0
		return
	}
	if err := u.h.storeTasks(ctx, u.name, configs); err != nil {
		if ctx.Err() == nil {
			u.log.Warn("storing task configurations failed, trying again", "error", err)
			u.tryAgain(err)
		}
		return
	}
	u.failures = 0
}

// failConnector puts the connector in the FAILED state and, if the reason may pass,
// has it tried again.
func (u *unit) failConnector(err error) {
	u.stopConnector()
	u.log.Error("connector failed", "error", err)
	wait, again := u.retryLater(err)
	u.tell(stateRecord{State: stateFailed, Failure: newFailure(err, u.failures, wait, again)}, trace(err))
}

// retryLater has the connector started again, if its policy says so, and returns when.
func (u *unit) retryLater(err error) (wait time.Duration, again bool) {
	return u.retryBy(newRestartPolicy(u.rt.settings, u.attempted), err)
}

// tryAgain has what the worker could not do for the connector tried again, whatever the
// policy says: the connector has not failed.
func (u *unit) tryAgain(err error) {
	p := newRestartPolicy(u.rt.settings, u.attempted)
	p.enabled, p.most = true, -1
	u.retryBy(p, connect.Retry(err, 0))
}

func (u *unit) retryBy(p restartPolicy, err error) (wait time.Duration, again bool) {
	wait, again = p.next(err, failures{all: u.failures, row: u.failures})
	u.failures++
	if again {
		u.retry.Reset(wait)
	}
	return wait, again
}

func (u *unit) stopConnector() {
	u.retry.Stop()
	if u.connector == nil {
		return
	}
	u.connector.stop(graceful(u.rt.settings), u.log)
	u.connector = nil
}

// put puts the connector's state.
func (u *unit) put(state, trace string) {
	if u.state == state && trace == "" {
		return
	}
	u.tell(stateRecord{State: state}, trace)
}

// tell puts the connector's state with what else is to be said.
func (u *unit) tell(r stateRecord, trace string) {
	if u.connector != nil {
		r.Version = u.connector.version
	}
	r.Abandoned = u.rt.strays.ofConnector(u.name)
	u.state = r.State
	u.rt.statuses.tellConnector(u.name, r, trace)
}

// restart restarts what was asked for, and returns the connector's fault, if it has
// one now.
func (u *unit) restart(ctx context.Context, r restartRequest) error {
	d, ok := u.h.desired(u.name)
	if !ok {
		return notFound(u.name)
	}
	u.stopTasks(r.tasks)
	if r.connector && d.target == Started && d.mine.owns(u.name) {
		u.attempted, u.failures, u.state = nil, 0, ""
		u.followConnector(ctx, d)
	}
	if next, ok := u.h.desired(u.name); ok {
		d = next
	}
	if d.target != Stopped {
		u.followTasks(ctx, d)
	}
	if s, ok := u.rt.statuses.connector(u.name); r.connector && ok && s.State == stateFailed {
		return errors.New(s.trace())
	}
	return nil
}
