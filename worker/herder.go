package worker

import (
	"context"
	"sync"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
	"github.com/tidemill/tidemill/worker/fleet"
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
	changed chan struct{} // The config topic says something new.
	// writing is held by whoever writes to the config topic, so that what is checked
	// before writing is still so then.
	writing chan struct{}
	// halts are the connectors that stand still for something else to be done; whoever
	// has the right to write may touch them.
	halts  map[string]*halt
	stages stages

	mu      sync.Mutex // Guards what follows; nothing is called while it is held.
	state   *configState
	units   map[string]*unit
	behind  map[string]bool // Connectors whose units have not been told of a change.
	group   group
	place   fleet.State // What is known of the group.
	share   share
	moved   chan struct{} // Closed, and replaced, when place or share have changed.
	placing func()        // Called, and dropped, when the worker has its place.
	ready   bool
	cluster string
	running context.Context // What units live by; nil when none may be started.
	ending  sync.WaitGroup  // The units that run.
	// restarts are those asked for in the topic since the worker is ready.
	restarts map[string]RestartOptions
	replays  map[string]*replay // The newest of each connector that this worker has made.
	resuming chan struct{}      // There may be replays to go on with.
}

func newHerder(o Options, rt *runtime) *Herder {
	return &Herder{
		rt: rt, options: o, state: newConfigState(), units: map[string]*unit{}, behind: map[string]bool{}, moved: make(chan struct{}),
		changed: make(chan struct{}, 1), writing: make(chan struct{}, 1), halts: map[string]*halt{}, restarts: map[string]RestartOptions{}, replays: map[string]*replay{}, resuming: make(chan struct{}, 1),
	}
}

// apply takes a record of the config topic.
func (h *Herder) apply(r kafkalog.Record) {
	h.mu.Lock()
	event := h.state.apply(r)
	if event != nil && event.logger != "" {
		tell := h.options.Level
		if !h.ready {
			tell = nil // As Kafka Connect has it, a level is for the workers that run.
		}
		h.mu.Unlock()
		if tell != nil {
			tell(event.logger, event.level)
		}
		return
	}
	if event != nil {
		h.behind[event.name] = true
	}
	if event != nil && event.restart != nil && h.ready {
		// Of several waiting requests the one that restarts the most stands for all.
		old, waits := h.restarts[event.name]
		h.restarts[event.name] = RestartOptions{
			IncludeTasks: old.IncludeTasks || event.restart.IncludeTasks,
			OnlyFailed:   event.restart.OnlyFailed && (old.OnlyFailed || !waits),
		}
	}
	member := h.group.member
	h.mu.Unlock()
	if event != nil {
		nudge(h.changed)
		if member != nil {
			member.Changed()
		}
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

// run keeps a unit for each connector until ctx, which opened was given, ends, and
// returns when all have stopped.
func (h *Herder) run(ctx context.Context) error {
	for {
		h.reconcile()
		h.sweep()
		h.serveRestarts(ctx)
		select {
		case <-ctx.Done():
			h.mu.Lock()
			h.running = nil // From here on no unit is started.
			h.mu.Unlock()
			h.ending.Wait()
			return nil
		case <-h.changed:
		}
	}
}

// reconcile starts missing units, ends those whose connector is gone or has nothing more
// to run here, and has those look whose connector or share has changed: the others are
// left alone, however many there are.
func (h *Herder) reconcile() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running == nil {
		return
	}
	if h.group.member == nil {
		h.share = share{all: true, connectors: len(h.state.connectors)}
		for _, c := range h.state.connectors {
			h.share.tasks += len(c.tasks)
		}
	}
	for name, u := range h.units {
		if h.state.connectors[name] == nil || !h.share.touches(name) {
			u.cancel()
		} else if h.behind[name] {
			u.poke()
		}
	}
	clear(h.behind)
	for name := range h.state.connectors {
		if h.units[name] != nil || !h.share.touches(name) {
			continue
		}
		u := newUnit(h, name)
		h.units[name] = u
		ctx, cancel := context.WithCancel(h.running)
		u.cancel = cancel
		h.ending.Go(func() {
			defer cancel()
			_ = u.Run(ctx) // It reports through statuses and never fails.
		})
	}
}

// ended is called by a unit that has stopped everything.
func (h *Herder) ended(name string) {
	gone, leads := h.gone(), h.leads()
	h.mu.Lock()
	defer h.mu.Unlock() // Until the states are put: the next unit begins after them.
	delete(h.units, name)
	c, stays := h.state.connectors[name]
	if !stays {
		h.rt.statuses.dropConnector(name, gone)
		h.rt.statuses.dropTasks(name, 0, gone)
		if leads {
			h.rt.statuses.dropTopics(name)
		}
	} else {
		h.rt.statuses.dropTasks(name, len(c.tasks), gone)
		h.rt.statuses.releaseConnector(name)
	}
	h.rt.metrics.forget(name, 0)
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
	h.mu.Lock()
	mine := h.share
	h.mu.Unlock()
	if c, ok := h.rt.statuses.connector(name); ok && mine.owns(name) && (!o.OnlyFailed || c.State == stateFailed) {
		r.connector = true
		h.rt.statuses.putConnector(name, stateRestarting, "", c.Version)
	}
	if !o.IncludeTasks {
		return r
	}
	for _, id := range h.rt.statuses.taskIDs(name) {
		if s, _ := h.rt.statuses.task(id); mine.has(id) && (!o.OnlyFailed || s.State == stateFailed) {
			r.tasks = append(r.tasks, id.Task)
			h.rt.statuses.putTask(id, stateRestarting, "", "")
		}
	}
	return r
}

// unit returns a connector's unit, nil when it has none. One that was only just
// created may have to be started first.
func (h *Herder) unit(name string) *unit {
	h.mu.Lock()
	u, exists := h.units[name], h.state.connectors[name] != nil
	h.mu.Unlock()
	if u != nil || !exists {
		return u
	}
	h.reconcile()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.units[name]
}

// opened is called when everything in the topics has been read. From then on requests are
// taken and units are started, which live until ctx ends.
func (h *Herder) opened(ctx context.Context, cluster string) {
	for _, name := range h.rt.statuses.known() {
		h.rt.statuses.releaseConnector(name)
	}
	h.sweep()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready, h.cluster, h.running = true, cluster, ctx
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
