package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker/fleet"
)

// take makes this worker run what the group has given it, and returns when the tasks that
// others are to run have stopped, or were abandoned. A connector whose unit is busy stops
// when it is free: it only watches, and what it wants stored is refused.
func (h *Herder) take(_ context.Context, s fleet.State) {
	next := newShare(s.Work)
	h.mu.Lock()
	for name := range h.share.differs(next) {
		h.behind[name] = true
	}
	if s.Leads != h.place.Leads || !slices.Equal(s.URLs, h.place.URLs) {
		// Who leads drops what workers that are gone have said.
		for name := range h.units {
			h.behind[name] = true
		}
	}
	again := s.Rounds != h.place.Rounds
	if h.placing != nil && s.Rounds > 0 {
		h.placing()
		h.placing = nil
	}
	h.place, h.share = s, next
	units := maps.Clone(h.units)
	h.mu.Unlock()
	if again {
		h.rt.metrics.rebalanceTime.Add(float64(s.Took.Milliseconds()))
	}
	h.rt.statuses.generation.Store(s.Generation)
	var stopping sync.WaitGroup
	for _, u := range units {
		if stale := u.strange(next); len(stale) > 0 {
			stopping.Go(func() {
				u.stopTasks(stale)
				for _, i := range stale {
					h.rt.statuses.release(TaskID{u.name, i})
					h.rt.metrics.drop(TaskID{u.name, i})
				}
			})
		}
	}
	stopping.Wait()
	h.reconcile()
	h.sweep()
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.moved)
	h.moved = make(chan struct{})
	nudge(h.changed)
	nudge(h.resuming)
}

// awaits takes what is to be called when the worker has its place in the group.
func (h *Herder) awaits(placed func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.placing = placed
}

// holds tells whether this worker is to run a task.
func (h *Herder) holds(id TaskID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.share.has(id)
}

// gone returns what tells whether a worker is known to run nothing any more. Only the
// leader of the group knows; the others take everybody to be there.
func (h *Herder) gone() func(worker string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.group.member != nil && !h.place.Leads {
		return func(string) bool { return false }
	}
	there := map[string]bool{h.rt.statuses.workerID: true}
	for _, address := range h.place.URLs {
		there[workerOf(address)] = true
	}
	return func(worker string) bool { return !there[worker] }
}

// leads tells whether this worker is the leader of its group.
func (h *Herder) leads() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.group.member == nil || h.place.Leads
}

// sweep drops what is said of connectors and tasks that are configured no more, as far as
// it was said by this worker or by one that is there no more. Where a unit runs, it does so
// itself.
func (h *Herder) sweep() {
	gone, leads := h.gone(), h.leads()
	known := h.rt.statuses.known()
	h.mu.Lock()
	defer h.mu.Unlock() // So that no unit begins meanwhile.
	for _, name := range known {
		if h.units[name] != nil {
			continue
		}
		c := h.state.connectors[name]
		if c != nil {
			h.rt.statuses.dropTasks(name, len(c.tasks), gone)
			continue
		}
		h.rt.statuses.dropConnector(name, gone)
		h.rt.statuses.dropTasks(name, 0, gone)
		if leads {
			h.rt.statuses.dropTopics(name)
		}
	}
}

// Elsewhere is the error of a request that another worker can carry out: the leader of the
// group, or the one that runs what it is about.
type Elsewhere struct {
	// URL is that worker's REST interface; it ends with a slash.
	URL string
}

// Error implements error.
func (e *Elsewhere) Error() string { return "this is for the worker at " + e.URL + " to do" }

// placeLimit is how long a request waits for the work to be divided.
const placeLimit = 30 * time.Second

// leading returns when this worker leads its group, and the error [Elsewhere] when another
// does. Nobody else can have taken the lead when it returns: the brokers were asked.
func (h *Herder) leading(ctx context.Context) error {
	_, err := h.placed(ctx, func(s fleet.State) (string, bool) {
		return s.LeaderURL, s.Leads
	})
	if err == nil && h.rt.confirm != nil {
		if h.rt.confirm(ctx) != nil {
			return h.timeout()
		}
	}
	return err
}

// mayChange returns when this worker may change what the config topic says: it is ready,
// and leads its group.
func (h *Herder) mayChange(ctx context.Context) error {
	if err := h.checkReady(); err != nil {
		return err
	}
	return h.leading(ctx)
}

// placed waits until something is known to be here, or where it is. where returns the URL,
// empty as long as it is not known.
func (h *Herder) placed(ctx context.Context, where func(fleet.State) (url string, here bool)) (fleet.State, error) {
	limit := time.NewTimer(placeLimit)
	defer limit.Stop()
	for {
		h.mu.Lock()
		member, place, moved := h.group.member, h.place, h.moved
		h.mu.Unlock()
		if member == nil {
			return place, nil
		}
		address, here := where(place)
		if here {
			return place, nil
		}
		if address != "" && workerOf(address) != h.rt.statuses.workerID {
			return place, &Elsewhere{URL: address}
		}
		select {
		case <-moved:
		case <-limit.C:
			return place, &connect.Error{
				Code: "request.conflict", Class: connect.ClassRetriable,
				Message: "Cannot complete request momentarily due to no known leader URL, likely because a rebalance was underway.",
			}
		case <-ctx.Done():
			return place, h.timeout()
		}
	}
}

// at returns the unit that runs a piece of work, nil when there is no such connector, and
// the error [Elsewhere] when another worker runs it, or may know who does.
func (h *Herder) at(ctx context.Context, w fleet.Work) (*unit, error) {
	_, err := h.placed(ctx, func(s fleet.State) (string, bool) {
		h.mu.Lock()
		exists := h.state.connectors[w.Connector] != nil
		here := h.share.work[w]
		h.mu.Unlock()
		switch {
		case here, !exists:
			return "", true
		case s.Leads:
			return s.Owners[w], false
		}
		return s.LeaderURL, false
	})
	if err != nil {
		return nil, err
	}
	return h.unit(w.Connector), nil
}
