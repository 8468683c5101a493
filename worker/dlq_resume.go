package worker

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// storedReplay is the newest replay of a connector as it is kept in the topic of the
// offsets: the next leader of the group goes on with it when this one is lost.
type storedReplay struct {
	TopicID string          `json:"topic_id"`
	Query   LetterQuery     `json:"query"`
	At      map[int32]int64 `json:"at"` // Where to go on in each partition of the queue.
	// Behind is how many letters were marked as replayed behind there: those that have come
	// since are of a batch of which the marks were stored, and the figures were not.
	Behind int64  `json:"behind"`
	Replay Replay `json:"replay"`
}

// replayKey is what it is stored under, among the offsets of its connector.
func replayKey() connect.SourcePartition {
	p, _ := connect.NewSourcePartition(map[string]any{"dead_letters_replay": "newest"})
	return p
}

// storedAs reads it; what cannot be read is none.
func storedAs(value []byte) (s storedReplay) {
	if json.Unmarshal(value, &s) != nil {
		return storedReplay{}
	}
	return s
}

func newReplay(q *queue, query LetterQuery, at map[int32]int64, now Replay) *replay {
	return &replay{h: q.h, q: q, query: query, at: at, state: now, done: make(chan struct{}), origins: map[connect.TopicPartition]*spans{}}
}

// replaying tells whether this worker runs a replay of a connector, or is about to go on
// with one that is stored as running.
func (h *Herder) replaying(name string, stored bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	former := h.replays[name]
	if former == nil {
		return stored
	}
	select {
	case <-former.done:
		return false
	default:
		return true
	}
}

// begin runs a replay.
func (h *Herder) begin(r *replay) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running == nil {
		return starting()
	}
	var running context.Context
	running, r.cancel = context.WithCancel(h.running)
	h.replays[r.q.connector] = r
	h.ending.Go(func() {
		defer r.cancel()
		r.run(running)
	})
	return nil
}

// left tells whether a replay has ended because it is another worker's to do.
func left(err error) bool {
	code := ""
	if err != nil {
		code = connect.AsError(err).Code
	}
	return code == "dlq.moved" || code == "dlq.concurrent"
}

// leave forgets a replay that this worker does no more.
func (h *Herder) leave(r *replay) {
	h.mu.Lock()
	if h.replays[r.q.connector] == r {
		delete(h.replays, r.q.connector)
	}
	h.mu.Unlock()
	nudge(h.resuming)
}

// resumeAgain is the wait before replays that could not be gone on with are looked at again.
const resumeAgain = time.Second

// keepReplays goes on with the replays of the leader before, whenever this worker has become
// the leader, until ctx ends.
func (h *Herder) keepReplays(ctx context.Context) {
	for ctx.Err() == nil {
		if h.leads() {
			if err := h.resumeReplays(ctx); err != nil && ctx.Err() == nil {
				h.rt.log.Warn("replays could not be gone on with, trying again", "error", err)
				if sleep(ctx, resumeAgain) == nil {
					continue
				}
			}
		}
		select {
		case <-h.resuming:
		case <-ctx.Done():
		}
	}
}

func (h *Herder) resumeReplays(ctx context.Context) error {
	if err := h.leading(ctx); err != nil {
		if _, other := errors.AsType[*Elsewhere](err); other {
			return nil
		}
		return err
	}
	if err := h.rt.offsets.journal.ReadToEnd(ctx); err != nil {
		return err
	}
	var all error
	for _, name := range h.Connectors() {
		if storedAs(h.rt.offsets.get(name, replayKey())).Replay.State != "running" {
			continue
		}
		all = errors.Join(all, h.resumeReplay(ctx, name))
	}
	return all
}

// resumeReplay goes on with one replay, or ends it when it cannot go on.
func (h *Herder) resumeReplay(ctx context.Context, name string) error {
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	h.mu.Lock()
	here := h.replays[name] != nil
	h.mu.Unlock()
	if here {
		return nil
	}
	q, err := h.openQueue(ctx, name)
	if err == nil {
		err = q.takes()
	}
	if err != nil && connect.AsError(err).Class == connect.ClassRetriable && (q == nil || q.desired.target == Started) {
		return err
	}
	stored := storedAs(h.rt.offsets.get(name, replayKey()))
	if err != nil {
		ended := time.Now().UTC().Truncate(time.Millisecond)
		stored.Replay.State, stored.Replay.Ended, stored.Replay.Error = "failed", &ended, err.Error()
		return h.rt.offsets.alter(ctx, name, map[connect.SourcePartition][]byte{replayKey(): appendJSON(nil, stored)})
	}
	at := map[int32]int64{}
	if stored.TopicID == q.id {
		maps.Copy(at, stored.At)
	}
	q.at = maps.Clone(at)
	stored.Replay = q.sofar(stored)
	stored.Replay.Resumed++
	h.rt.log.Info("a replay of dead letters goes on that another worker has begun", "connector", name, "worker", h.rt.statuses.workerID, "replayed", stored.Replay.Replayed)
	return h.begin(newReplay(q, stored.Query, at, stored.Replay))
}

// sofar returns how far a replay has come that is stored: the marks may be newer than the
// figures.
func (q *queue) sofar(stored storedReplay) Replay {
	now := stored.Replay
	if more := int(q.replayedBehind(stored.At) - stored.Behind); more > 0 && stored.TopicID == q.id {
		now.Chosen += more
		now.Replayed += more
	}
	return now
}

// replayedBehind counts the letters that are marked as replayed behind places.
func (q *queue) replayedBehind(at map[int32]int64) (n int64) {
	for partition, m := range q.marks {
		n += m.replayed.count(at[partition])
	}
	return n
}

// takes fails when letters cannot be put to the connector now.
func (q *queue) takes() error {
	if q.desired.target != Started {
		return notStarted(q.connector, q.desired.target)
	}
	if len(q.desired.tasks) == 0 {
		return &connect.Error{Code: "request.conflict", Class: connect.ClassRetriable, Place: q.connector, Message: "Connector " + q.connector + " has no tasks", Mend: "wait until it runs; its status tells why it does not"}
	}
	return nil
}
