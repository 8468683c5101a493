package worker

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Letters returns letters of a sink connector's dead letter queue, as the query chooses
// them, in the order of the queue's partitions. more tells that there are further ones. It
// fails with "dlq.none" when the connector has no queue.
func (h *Herder) Letters(ctx context.Context, name string, query LetterQuery) (topic string, letters []Letter, more bool, err error) {
	if err := query.check(); err != nil {
		return "", nil, false, err
	}
	q, err := h.openQueue(ctx, name)
	if err != nil {
		return "", nil, false, err
	}
	most := query.Limit
	if most == 0 {
		most = 100
	}
	letters = []Letter{}
	err = q.read(ctx, &query, func(l *Letter) error {
		if len(letters) == most {
			more = true
			return errEnough
		}
		l.show(query.Payload)
		shown := *l
		shown.record = nil
		letters = append(letters, shown)
		return nil
	}, func() error { return nil })
	if err != nil && ctx.Err() != nil {
		return "", nil, false, h.timeout()
	}
	return q.topic, letters, more, err
}

// StartReplay begins to put letters to a running sink connector again, and returns at once.
// One replay of a connector runs at a time; the leader of the group does it.
func (h *Herder) StartReplay(ctx context.Context, name string, query LetterQuery) (Replay, error) {
	if err := query.check(); err != nil {
		return Replay{}, err
	}
	if err := h.mayChange(ctx); err != nil {
		return Replay{}, err
	}
	q, err := h.openQueue(ctx, name)
	if err != nil {
		return Replay{}, err
	}
	if err := q.takes(); err != nil {
		return Replay{}, err
	}
	now := Replay{Connector: name, Topic: q.topic, State: "running", DryRun: query.DryRun, Started: time.Now().UTC().Truncate(time.Millisecond)}
	r := newReplay(q, query, map[int32]int64{}, now)
	unlock, err := h.lock(ctx) // So that there is one at a time.
	if err != nil {
		return Replay{}, err
	}
	defer unlock()
	if h.replaying(name, storedAs(q.replay).Replay.State == "running") {
		return Replay{}, &connect.Error{Code: "request.conflict", Class: connect.ClassRetriable, Place: name, Message: "Letters of connector " + name + " are being replayed", Mend: "wait for its end, or stop it with DELETE /connectors/" + name + "/dlq/replay"}
	}
	if err := r.save(nil, true); err != nil {
		return Replay{}, err
	}
	return now, h.begin(r)
}

// ReplayOf returns how far the newest replay of a connector's letters has come. It fails
// with "dlq.no_replay" when there has been none.
func (h *Herder) ReplayOf(ctx context.Context, name string) (Replay, error) {
	r, stored, err := h.replayOf(ctx, name)
	if err != nil || r == nil {
		return stored, err
	}
	return r.now(), nil
}

// replayOf returns a replay that this worker has made, or what is stored of another.
func (h *Herder) replayOf(ctx context.Context, name string) (*replay, Replay, error) {
	if err := h.mayChange(ctx); err != nil {
		return nil, Replay{}, err
	}
	h.mu.Lock()
	r, there := h.replays[name], h.state.connectors[name] != nil
	h.mu.Unlock()
	if !there {
		return nil, Replay{}, notFound(name)
	}
	if r != nil {
		return r, Replay{}, nil
	}
	if err := h.rt.offsets.journal.ReadToEnd(ctx); err != nil {
		return nil, Replay{}, brokerError("kafka.offsets", "what is stored of replays cannot be read", err)
	}
	stored := storedAs(h.rt.offsets.get(name, replayKey()))
	switch stored.Replay.State {
	case "":
		return nil, Replay{}, &connect.Error{Code: "dlq.no_replay", Place: name, Message: "No letters of connector " + name + " have been replayed"}
	case "running": // It is about to be gone on with, if it can be.
		if q, err := h.openQueue(ctx, name); err == nil {
			return nil, q.sofar(stored), nil
		}
	}
	return nil, stored.Replay, nil
}

// StopReplay ends a replay that runs, after the letters in hand, and returns how far it has
// come.
func (h *Herder) StopReplay(ctx context.Context, name string) (Replay, error) {
	r, stored, err := h.replayOf(ctx, name)
	if err != nil {
		return Replay{}, err
	}
	if r == nil && stored.State == "running" {
		return Replay{}, &connect.Error{Code: "request.conflict", Class: connect.ClassRetriable, Place: name, Message: "The replay of connector " + name + " is being taken over from another worker", Mend: "ask again"}
	}
	if r == nil {
		return stored, nil
	}
	r.halted.Store(true)
	r.cancel()
	select {
	case <-r.done:
		return r.now(), nil
	case <-ctx.Done():
		return Replay{}, h.timeout()
	}
}

func notStarted(name string, state TargetState) error {
	return &connect.Error{
		Code: "request.conflict", Class: connect.ClassRetriable, Place: name,
		Message: "Connector " + name + " is " + string(state) + ", and letters are replayed only into one that may write", Mend: "resume it first",
	}
}
