package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/topics"
)

// State is how an application is doing.
type State string

// The states. A starting application waits for its topics or for its place in the
// group; a restoring one rebuilds stores; a failed one waits for Resume.
const (
	Starting  State = "STARTING"
	Restoring State = "RESTORING"
	Running   State = "RUNNING"
	Paused    State = "PAUSED"
	Failed    State = "FAILED"
	Stopped   State = "STOPPED"
)

// application is one App inside an Engine.
type application struct {
	App
	e       *Engine
	metrics Metrics
	hub     *query.Hub
	paused  atomic.Bool
	careful atomic.Bool   // the next runner sends records one by one
	guarded atomic.Bool   // the next runner catches panics at each operator
	again   chan struct{} // one element: Resume was called

	cancel context.CancelFunc // guarded by Engine.mu, as is done
	done   chan struct{}

	mu      sync.Mutex // guards the following
	state   State
	err     error
	changed chan struct{}          // closed and replaced when the state changes
	here    map[int]map[int32]bool // the running tasks, by sub-topology
	plan    *partitionPlan
	ends    map[part]int64 // where partitions ended when they were first seen, of those that are read from there
	fleet   *fleet         // nil until the group has given out its tasks
	stirred chan struct{}  // closed and replaced when who has what may have changed

	renewed bool // the next runner reads other topics than the last one; of the goroutine of run

	copies atomic.Pointer[copies] // nil while no runner runs
	board  board
	thread threadFigures
}

func newApplication(e *Engine, a App) *application {
	return &application{
		App: a, e: e, hub: query.NewHub(), again: make(chan struct{}, 1),
		state: Starting, changed: make(chan struct{}), here: map[int]map[int32]bool{}, ends: map[part]int64{}, stirred: make(chan struct{}),
	}
}

// set changes the state; a nil error leaves the last one.
func (a *application) set(s State, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		a.err = err
	}
	if s == Running {
		a.err = nil
	}
	if a.state != s {
		a.state = s
		close(a.changed)
		a.changed = make(chan struct{})
	}
}

// waitRunning waits until the application runs, which means that its stores have what
// was committed: one that is being rebuilt would answer as if it were empty. With planned
// it is enough that it has been known how many partitions there are.
func (a *application) waitRunning(ctx context.Context, planned bool) error {
	for {
		a.mu.Lock()
		s, changed, err := a.state, a.changed, a.err
		enough, stirred := planned && a.plan != nil, a.stirred
		a.mu.Unlock()
		if enough {
			return nil
		}
		switch s {
		case Running, Paused:
			return nil
		case Failed, Stopped:
			return &connect.Error{Code: "streams.app.down", Class: connect.ClassRetriable, Place: a.ID, Message: "the application is " + string(s), Cause: err}
		}
		select {
		case <-changed:
		case <-stirred:
		case <-ctx.Done():
			return &connect.Error{
				Code: "streams.app.not_ready", Class: connect.ClassRetriable, Place: a.ID,
				Message: "the application is " + string(s) + ", its stores cannot be read",
				Mend:    "try again when it runs", Cause: errors.Join(context.Cause(ctx), err),
			}
		}
	}
}

// partitionsOf lists the partitions of a store this process has.
func (a *application) partitionsOf(store string) []int32 {
	sub := a.subOf(store)
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.here[sub]))
}

// tasksOf returns how many partitions a store has in all processes.
func (a *application) tasksOf(store string) int {
	sub := a.subOf(store)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.plan == nil {
		return 0
	}
	return a.plan.tasks[sub]
}

func (a *application) subOf(store string) int {
	for _, sub := range a.Topology.subs {
		for _, s := range sub.stores {
			if s.name == store {
				return sub.index
			}
		}
	}
	return -1
}

// setHere notes that a task runs here or does not any more. Subscribers of its
// stores are told that they follow something else now.
func (a *application) setHere(id taskID, running bool) {
	a.mu.Lock()
	if a.here[id.sub] == nil {
		a.here[id.sub] = map[int32]bool{}
	}
	if running {
		a.here[id.sub][id.partition] = true
		a.metrics.Tasks.Add(1)
		a.thread.created.Add(1)
	} else {
		delete(a.here[id.sub], id.partition)
		a.metrics.Tasks.Add(-1)
		a.thread.closed.Add(1)
		a.board.drop(id)
	}
	a.stir()
	a.mu.Unlock()
	for _, s := range a.Topology.subs[id.sub].stores {
		a.hub.Cut(&connect.Error{
			Code: "streams.subscription.moved", Class: connect.ClassRetriable,
			Place:   fmt.Sprintf("store %s of %s, partition %d", s.name, a.ID, id.partition),
			Message: "the partition came to this process or left it",
			Mend:    "subscribe again",
		}, s.name)
	}
}

// run keeps the application going until ctx is done.
func (a *application) run(ctx context.Context) {
	defer a.set(Stopped, nil)
	defer a.hub.Cut(&connect.Error{Code: "streams.app.stopped", Class: connect.ClassRetriable, Place: a.ID, Message: "the application has stopped"})
	for wait := time.Duration(0); ; {
		began := time.Now()
		err := a.shield(func() error { return a.once(ctx) })
		switch {
		case ctx.Err() != nil || errors.Is(err, errCrash):
			return
		case errors.Is(err, errRematched):
			a.e.cfg.Logger.Info("other topics match, and the application reads those", "app", a.ID)
			a.renewed, wait = true, 0
		case stops(err):
			a.e.cfg.Logger.Error("application failed", "app", a.ID, "error", err)
			select {
			case <-a.again: // An old Resume does not count.
			default:
			}
			a.set(Failed, err)
			select {
			case <-a.again:
			case <-ctx.Done():
				return
			}
			wait = 0
		default:
			a.e.cfg.Logger.Warn("application starts anew", "app", a.ID, "error", err)
			a.metrics.Restarts.Add(1)
			a.set(Starting, err)
			if time.Since(began) > 30*time.Second {
				wait = 0
			}
			wait = min(max(2*wait, 50*time.Millisecond), 10*time.Second)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
	}
}

// stops tells whether an error is one that trying again does not mend: a record
// or a setting at fault, or lost data.
func stops(err error) bool {
	e, ok := errors.AsType[*connect.Error](err)
	if errors.Is(err, state.ErrFailing) && ok && e.Code != failingCode {
		return false // It is not what the error seems to be.
	}
	return ok && e.Class != connect.ClassRetriable && !errors.Is(err, state.ErrDamaged)
}

// once makes the topics, joins the group and processes until something is wrong.
func (a *application) once(ctx context.Context) error {
	a.e.using.RLock()
	defer a.e.using.RUnlock()
	a.set(Starting, nil)
	if err := a.e.kept(a.Topology); err != nil {
		return err
	}
	plan, err := a.prepare(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.plan = plan
	a.stir()
	a.mu.Unlock()
	tables, err := openGlobals(ctx, a)
	if err != nil {
		return err
	}
	defer tables.close()
	r, err := newRunner(ctx, a, plan, tables)
	if err != nil {
		return err
	}
	tables.follow(ctx)
	r.renewed, a.renewed = a.renewed, false
	return r.run(ctx)
}

// prepare looks at the topics of others and makes the internal ones.
func (a *application) prepare(ctx context.Context) (*partitionPlan, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	sources := a.Topology.Sources()
	matched, err := a.matching(ctx)
	if err != nil {
		return nil, err
	}
	for _, topics := range matched {
		sources = append(sources, topics...)
	}
	if len(sources) == 0 {
		return nil, a.errUnmatched()
	}
	counts, err := a.e.client.PartitionsOf(ctx, sources...)
	if err != nil {
		return nil, err
	}
	for _, s := range sources {
		if counts[s] == 0 {
			return nil, &connect.Error{
				Code: "streams.topic.missing", Class: connect.ClassRetriable, Place: s,
				Message: "application " + a.ID + " waits for a topic that does not exist",
				Mend:    "create the topic, or start what writes it",
			}
		}
	}
	if err := a.checkMetadata(ctx); err != nil {
		return nil, err
	}
	plan, err := planPartitions(a.Topology, counts, matched)
	if err != nil {
		return nil, err
	}
	for _, n := range a.Topology.nodes {
		if n.isSource && n.internal && plan.topics[n.topic] == 0 {
			return nil, a.errUnmatched()
		}
	}
	if err := a.makeTopics(ctx, plan); err != nil {
		return nil, err
	}
	return plan, a.makeDeadLetters(ctx)
}

// makeDeadLetters creates the dead letter topic when there is none.
func (a *application) makeDeadLetters(ctx context.Context) error {
	if a.DeadLetters == "" {
		return nil
	}
	n, err := a.e.client.Partitions(ctx, a.DeadLetters)
	if err != nil || n > 0 {
		return err
	}
	return a.e.client.Create(ctx, topics.Spec{Name: a.DeadLetters, Partitions: 1, Replication: a.e.cfg.Replication})
}

// makeTopics creates the internal topics that are missing and checks the others.
func (a *application) makeTopics(ctx context.Context, plan *partitionPlan) error {
	specs := a.internalTopics(plan)
	if len(specs) == 0 {
		return nil
	}
	names := make([]string, len(specs))
	for i, s := range specs {
		names[i] = s.Name
	}
	have, err := a.e.client.PartitionsOf(ctx, names...)
	if err != nil {
		return err
	}
	for _, s := range specs {
		switch n := have[s.Name]; n {
		case s.Partitions:
		case 0:
			if err := a.e.client.Create(ctx, s); err != nil {
				return err
			}
		default:
			return &connect.Error{
				Code: "streams.topic.partitions", Class: connect.ClassConfig, Place: s.Name,
				Message: fmt.Sprintf("the topic has %d partitions and the application now needs %d", n, s.Partitions),
				Mend:    "reset the application, or give the operator a new name",
			}
		}
	}
	return nil
}

// internalTopics describes the topics of the application's own. Changelogs keep
// the last record of each key; repartition topics keep everything until it has
// been processed.
func (a *application) internalTopics(plan *partitionPlan) (specs []topics.Spec) {
	for _, n := range a.Topology.nodes {
		if n.isSource && n.internal && a.Transactions == nil {
			specs = append(specs, topics.Spec{
				Name: topicName(a.ID, n.topic), Partitions: plan.topics[n.topic], Replication: a.e.cfg.Replication,
				Config: map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"},
			})
		}
	}
	for _, sub := range a.Topology.subs {
		for _, s := range sub.stores {
			if s.layout.Unlogged || plan.tasks[sub.index] == 0 {
				continue
			}
			specs = append(specs, topics.Spec{
				Name: changelogName(a.ID, s.name), Partitions: plan.tasks[sub.index], Replication: a.e.cfg.Replication,
				Config: changelogConfig(s.layout),
			})
		}
	}
	return specs
}

// transactionTimeout is when brokers abort a transaction of the application.
func (a *application) transactionTimeout() time.Duration {
	if a.Transactions != nil {
		return a.Transactions.Timeout()
	}
	return transactionTimeout
}
