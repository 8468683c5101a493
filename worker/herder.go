package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// Herder answers what REST asks, and may be called from any number of goroutines.
//
// Its errors are [*connect.Error] with one of the codes "connector.not_found",
// "connector.exists", "request.conflict", "request.invalid", "request.forbidden",
// "config.invalid", "plugin.unknown", "worker.starting" and "worker.timeout"; any
// other is a fault of the worker. Message is what Kafka Connect says in the place.
//
// What is wished is written to the config topic and becomes true by being read back;
// the units follow. So a worker that is started again after a crash does what it did
// before.
type Herder struct {
	rt      *runtime
	options Options
	configs journal
	group   *group
	changed chan struct{} // The config topic says something new.
	// writing is held by whoever writes to the config topic, so that what is checked
	// before writing is still so then.
	writing chan struct{}
	stages  stages

	mu      sync.Mutex // Guards what follows; nothing is called while it is held.
	state   *configState
	units   map[string]*unit
	share   share
	ready   bool
	stopped bool
	cluster string
	// restarts are those asked for in the topic since the worker is ready.
	restarts map[string]RestartOptions
}

func newHerder(o Options, rt *runtime, workerID string) *Herder {
	return &Herder{
		rt: rt, options: o, group: newGroup(workerID), state: newConfigState(), units: map[string]*unit{},
		changed: make(chan struct{}, 1), writing: make(chan struct{}, 1), restarts: map[string]RestartOptions{},
	}
}

// apply takes a record of the config topic.
func (h *Herder) apply(r kafkalog.Record) {
	h.mu.Lock()
	event := h.state.apply(r)
	if event != nil && event.restart != nil && h.ready {
		// Of several waiting requests the one that restarts the most stands for all.
		old := h.restarts[event.name]
		h.restarts[event.name] = RestartOptions{
			IncludeTasks: old.IncludeTasks || event.restart.IncludeTasks,
			OnlyFailed:   event.restart.OnlyFailed,
		}
	}
	h.mu.Unlock()
	if event != nil {
		nudge(h.changed)
	}
}

// desired returns what a unit should be doing, and false when its connector is there
// no more.
func (h *Herder) desired(name string) (desired, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.state.connectors[name]
	if c == nil {
		return desired{}, false
	}
	return desired{connectorConfig: *c, target: h.state.target(name), mine: h.share}, true
}

func (h *Herder) fencedTasks(name string) (int, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, ok := h.state.fenced[name]
	return n, ok
}

// run keeps a unit for each connector until ctx ends, and returns when all have
// stopped.
func (h *Herder) run(ctx context.Context) error {
	var units sync.WaitGroup
	defer units.Wait()
	for {
		h.reconcile(ctx, &units)
		h.serveRestarts(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-h.changed:
		}
	}
}

// reconcile starts missing units, ends those whose connector is gone, and has the
// others look at what has changed.
func (h *Herder) reconcile(ctx context.Context, running *sync.WaitGroup) {
	if ctx.Err() != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	tasks := map[string]int{}
	for name, c := range h.state.connectors {
		tasks[name] = len(c.tasks)
	}
	h.share = h.group.mine(tasks)
	for name, u := range h.units {
		if h.state.connectors[name] == nil {
			u.cancel()
		} else {
			u.poke()
		}
	}
	for _, name := range h.share.connectors {
		if h.units[name] != nil {
			continue
		}
		u := newUnit(h, name)
		h.units[name] = u
		ctx, cancel := context.WithCancel(ctx)
		u.cancel = cancel
		running.Go(func() {
			defer cancel()
			_ = u.Run(ctx) // It reports through statuses and never fails.
		})
	}
}

// ended is called by a unit that has stopped everything.
func (h *Herder) ended(name string) {
	h.mu.Lock()
	delete(h.units, name)
	_, stays := h.state.connectors[name]
	h.mu.Unlock()
	if !stays {
		h.rt.statuses.dropConnector(name)
		h.rt.metrics.forget(name)
	} else {
		h.rt.statuses.putConnector(name, stateUnassigned, "", "")
		for _, id := range h.rt.statuses.taskIDs(name) {
			h.rt.statuses.putTask(id, stateUnassigned, "", "")
		}
	}
	nudge(h.changed)
}

// serveRestarts hands restarts that came through the topic to their units. A unit
// that is busy takes it when it is free.
func (h *Herder) serveRestarts(ctx context.Context) {
	h.mu.Lock()
	waiting := h.restarts
	h.restarts = map[string]RestartOptions{}
	h.mu.Unlock()
	for name, o := range waiting {
		if u := h.unit(name); u != nil {
			r := h.plan(name, o)
			r.done = make(chan error, 1)
			go func() {
				select {
				case u.requests <- r:
				case <-u.done:
				case <-ctx.Done():
				}
			}()
		}
	}
}

// plan says what a restart touches, and marks it as restarting.
func (h *Herder) plan(name string, o RestartOptions) restartRequest {
	var r restartRequest
	if c, ok := h.rt.statuses.connector(name); ok && (!o.OnlyFailed || c.State == stateFailed) {
		r.connector = true
		h.rt.statuses.putConnector(name, stateRestarting, "", c.Version)
	}
	if !o.IncludeTasks {
		return r
	}
	for _, id := range h.rt.statuses.taskIDs(name) {
		if s, _ := h.rt.statuses.task(id); !o.OnlyFailed || s.State == stateFailed {
			r.tasks = append(r.tasks, id.Task)
			h.rt.statuses.putTask(id, stateRestarting, "", "")
		}
	}
	return r
}

func (h *Herder) unit(name string) *unit {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.units[name]
}

// opened is called when everything in the topics has been read. States of connectors
// that are there no more are cleared away.
func (h *Herder) opened(cluster string) {
	h.mu.Lock()
	h.ready, h.cluster = true, cluster
	exists := map[string]bool{}
	for name := range h.state.connectors {
		exists[name] = true
	}
	h.mu.Unlock()
	for _, name := range h.rt.statuses.known() {
		if !exists[name] {
			h.rt.statuses.dropConnector(name)
		}
	}
}

// starting is the answer until the internal topics have been read.
func starting() error {
	return &connect.Error{Code: "worker.starting", Class: connect.ClassRetriable, Message: "Worker is still starting up."}
}

func (h *Herder) checkReady() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ready {
		return starting()
	}
	return nil
}

// write writes to the config topic and reads it back. what names it, should it take
// too long.
func (h *Herder) write(ctx context.Context, what string, entries ...kafkalog.Entry) error {
	defer h.stages.enter(what)()
	err := h.configs.Put(ctx, entries...)
	if errors.Is(err, kafkalog.ErrFenced) {
		if l, ok := h.configs.(*kafkalog.Log); ok {
			err = errors.Join(err, l.TakeOver(ctx))
		}
	}
	if err == nil {
		err = h.configs.ReadToEnd(ctx)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return h.timeout()
	}
	return &connect.Error{
		Code: "worker.config_write", Class: connect.ClassRetriable, Cause: err,
		Message: "Failed to write to config topic; this may be due to a transient error and the request can be safely retried",
	}
}

// lock takes the right to write, or gives up with ctx.
func (h *Herder) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case h.writing <- struct{}{}:
		return func() { <-h.writing }, nil
	case <-ctx.Done():
		return nil, h.timeout()
	}
}

// configWriteLimit bounds the writing of a connector's task configurations.
const configWriteLimit = 30 * time.Second

// storeTasks writes a connector's task configurations and then, when they are all in
// the topic, the commit that makes them count.
func (h *Herder) storeTasks(ctx context.Context, name string, configs []connect.Config) error {
	ctx, cancel := context.WithTimeout(ctx, configWriteLimit)
	defer cancel()
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if d, ok := h.desired(name); !ok || d.target != Started {
		return nil // Deleted or stopped meanwhile.
	}
	return h.writeTasks(ctx, name, configs)
}

// writeTasks does the writing. The caller holds the right to write.
func (h *Herder) writeTasks(ctx context.Context, name string, configs []connect.Config) error {
	entries := make([]kafkalog.Entry, len(configs))
	for i, config := range configs {
		entries[i] = taskEntry(TaskID{name, i}, config)
	}
	if len(entries) > 0 {
		if err := h.write(ctx, "writing task configs for connector "+name+" to the config topic", entries...); err != nil {
			return err
		}
	}
	return h.write(ctx, "committing task configs for connector "+name+" to the config topic", commitEntry(name, len(configs)))
}

func (h *Herder) storeFencing(ctx context.Context, name string, tasks int) error {
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return h.write(ctx, "writing a task count record for connector "+name+" to the config topic", fencingEntry(name, tasks))
}

// stages remember what the worker is doing, to be told when a request takes too long.
type stages struct {
	mu   sync.Mutex // Guards what follows.
	now  []stageEntry
	last stageEntry
}

type stageEntry struct {
	what         string
	began, ended time.Time
}

// enter says that something begins, and returns how to say that it has ended.
func (s *stages) enter(what string) func() {
	e := stageEntry{what: what, began: time.Now()}
	s.mu.Lock()
	s.now = append(s.now, e)
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range s.now {
			if s.now[i] == e {
				s.now = append(s.now[:i], s.now[i+1:]...)
				break
			}
		}
		s.last = stageEntry{what: what, began: e.began, ended: time.Now()}
	}
}

// String says what the worker is doing, or did last, in Connect's words. It is empty
// when it never did anything.
func (s *stages) String() string {
	const instant = "2006-01-02T15:04:05.000Z"
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.now) > 0 {
		return fmt.Sprintf("The worker is currently %s, which began at %s", s.now[0].what, s.now[0].began.UTC().Format(instant))
	}
	if s.last.what == "" {
		return ""
	}
	return fmt.Sprintf("The last operation the worker completed was %s, which began at %s and completed at %s",
		s.last.what, s.last.began.UTC().Format(instant), s.last.ended.UTC().Format(instant))
}

// timeout is the error of a request whose time is over.
func (h *Herder) timeout() error {
	e := &connect.Error{Code: "worker.timeout", Class: connect.ClassRetriable, Message: "Request timed out."}
	if text := h.stages.String(); text != "" {
		e.Message += " " + text
	}
	return e
}
