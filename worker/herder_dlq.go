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
	if q.desired.target != Started {
		return Replay{}, notStarted(name, q.desired.target)
	}
	if len(q.desired.tasks) == 0 {
		return Replay{}, &connect.Error{Code: "request.conflict", Class: connect.ClassRetriable, Place: name, Message: "Connector " + name + " has no tasks", Mend: "wait until it runs; its status tells why it does not"}
	}
	r := &replay{
		h: h, q: q, query: query, done: make(chan struct{}), origins: map[connect.TopicPartition]*spans{},
		state: Replay{Connector: name, Topic: q.topic, State: "running", DryRun: query.DryRun, Started: time.Now().UTC().Truncate(time.Millisecond)},
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running == nil {
		return Replay{}, starting()
	}
	if former := h.replays[name]; former != nil {
		select {
		case <-former.done:
		default:
			return Replay{}, &connect.Error{Code: "request.conflict", Class: connect.ClassRetriable, Place: name, Message: "Letters of connector " + name + " are being replayed", Mend: "wait for its end, or stop it with DELETE /connectors/" + name + "/dlq/replay"}
		}
	}
	var running context.Context
	running, r.cancel = context.WithCancel(h.running)
	h.replays[name] = r
	h.ending.Go(func() {
		defer r.cancel()
		r.run(running)
	})
	return r.now(), nil
}

// ReplayOf returns how far the newest replay of a connector's letters has come. It fails
// with "dlq.no_replay" when there has been none since the leader of the group has led it.
func (h *Herder) ReplayOf(ctx context.Context, name string) (Replay, error) {
	r, err := h.replayOf(ctx, name)
	if err != nil {
		return Replay{}, err
	}
	return r.now(), nil
}

func (h *Herder) replayOf(ctx context.Context, name string) (*replay, error) {
	if err := h.mayChange(ctx); err != nil {
		return nil, err
	}
	h.mu.Lock()
	r, there := h.replays[name], h.state.connectors[name] != nil
	h.mu.Unlock()
	switch {
	case !there:
		return nil, notFound(name)
	case r == nil:
		return nil, &connect.Error{Code: "dlq.no_replay", Place: name, Message: "No letters of connector " + name + " have been replayed since this worker leads its group", Mend: "the states of the letters tell what was replayed before: GET /connectors/" + name + "/dlq?state=all"}
	}
	return r, nil
}

// StopReplay ends a replay that runs, after the letters in hand, and returns how far it has
// come.
func (h *Herder) StopReplay(ctx context.Context, name string) (Replay, error) {
	r, err := h.replayOf(ctx, name)
	if err != nil {
		return Replay{}, err
	}
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
