package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// What is asked of a partition: a row, the rows of a range of keys, windows, or the rows
// that a key had.
const (
	opGet      = "get"
	opScan     = "scan"
	opSpan     = "span"
	opVersions = "versions"
	// opGets asks for several rows, each of its own partition, for several callers.
	opGets = "gets"
)

// question is what one instance asks another, or itself, of one partition of a store.
type question struct {
	App       string   `json:"app"`
	Store     string   `json:"store"`
	Partition int32    `json:"partition"`
	Op        string   `json:"op"`
	Key       []byte   `json:"key"` // of a row; of windows nil for all keys
	Lo        []byte   `json:"lo"`  // nil is open, as is Hi
	Hi        []byte   `json:"hi"`
	From      int64    `json:"from"`
	To        int64    `json:"to"`
	MaxLag    int64    `json:"max_lag,omitempty"`
	AtLeast   Position `json:"at_least,omitempty"`
	Report    bool     `json:"report,omitempty"` // whether seen is wanted
	Gets      []single `json:"gets,omitempty"`   // of opGets

	seen Position // how far the answer was, set by who answers
}

// room is the size of the buffers that the answer goes through: one row is asked for often,
// and making room for many would be most of the work.
func (q *question) room() int {
	const one, many = 1 << 10, 32 << 10
	if q.Op == opGet {
		return one
	}
	return many
}

const (
	// patience is how long tasks that move are waited for: that of ksqlDB, see
	// ksql.query.pull.streamsstore.rebalancing.timeout.ms in
	// https://docs.confluent.io/platform/current/ksqldb/reference/server-configuration.html.
	patience = 10 * time.Second
	// again is how long after a refusal somebody is asked anew when the group says
	// nothing meanwhile.
	again = 25 * time.Millisecond
)

// here answers a question from this process alone.
func (r *Rows) here(ctx context.Context, q *question, visit func(Row) error) error {
	if q.Op != opGet {
		return r.scanHere(ctx, q, visit)
	}
	r.Open.RLock()
	defer r.Open.RUnlock()
	return r.getHere(q, visit)
}

// askKey asks the partition that a key is in. Where the key does not tell, it asks one
// after another, those that are here first, until one has what is asked for.
func (r *Rows) askKey(ctx context.Context, key []byte, q *question, visit func(Row) error) error {
	total := r.Total()
	if q.Partition = r.Place(key, total); q.Partition >= 0 {
		return r.ask(ctx, q, visit)
	}
	found := false
	visiting := func(row Row) error {
		found = true
		return visit(row)
	}
	order := slices.Clone(r.Here())
	for p := range int32(total) {
		if !slices.Contains(order, p) {
			order = append(order, p)
		}
	}
	for _, p := range order {
		one := *q
		one.Partition = p
		if err := r.ask(ctx, &one, visiting); err != nil || found {
			return err
		}
	}
	return nil
}

// ask answers a question from wherever its partition is.
func (r *Rows) ask(ctx context.Context, q *question, visit func(Row) error) error {
	q.App, q.Store, q.MaxLag, q.AtLeast, q.Report = r.App, r.Store, r.MaxLag, r.AtLeast, r.Seen != nil
	if r.Fleet == nil {
		return r.noted(q, r.here(ctx, q, visit))
	}
	// Most of what is asked often is here, and then nothing has to be prepared.
	if err := r.has(q); err == nil && q.Op == opGet && q.AtLeast == nil {
		if err := r.here(ctx, q, visit); err == nil {
			return r.noted(q, nil)
		}
	}
	return r.askAround(ctx, q, visit)
}

// askAround is ask where others may have to be asked.
func (r *Rows) askAround(ctx context.Context, q *question, visit func(Row) error) error {
	wait := r.Patience
	if wait <= 0 {
		wait = patience
	}
	within, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("waited %v for it", wait))
	defer cancel()
	// Once rows were visited, nothing is asked again: they would come twice.
	begun := false
	var refused error
	visiting := func(row Row) error {
		begun = true
		refused = visit(row)
		return refused
	}
	var last error
	for {
		fleet, changed := r.Fleet()
		err := r.askOnce(within, fleet, q, visiting)
		if err == nil || refused != nil || begun || !passing(err) {
			return r.noted(q, err)
		}
		if last == nil || within.Err() == nil { // What the end of the time cuts off says nothing.
			last = err
		}
		select {
		case <-changed:
		case <-time.After(again):
		case <-within.Done():
			if ctx.Err() != nil {
				return errors.Join(last, ctx.Err())
			}
			return r.unsettled(last, context.Cause(within))
		}
	}
}

// noted adds how far an answer was to what the reader has seen.
func (r *Rows) noted(q *question, err error) error {
	if err == nil && r.Seen != nil {
		r.Seen.Merge(q.seen)
	}
	return err
}

// askOnce asks who could answer, one after another, until one does.
func (r *Rows) askOnce(ctx context.Context, fleet []Instance, q *question, visit func(Row) error) error {
	err := r.here(ctx, q, visit)
	if err == nil || !passing(err) {
		return err
	}
	for _, active := range []bool{true, false} {
		for _, in := range fleet {
			has := in.Standby
			if active {
				has = in.Active
			} else if q.MaxLag <= 0 {
				continue
			}
			if in.Self || in.Address == "" || !slices.Contains(has, q.Partition) {
				continue
			}
			visited := false
			err = r.Peers.ask(ctx, in, q, func(row Row) error {
				visited = true
				return visit(row)
			})
			if err == nil || visited || !passing(err) {
				return err
			}
		}
	}
	return err
}

// passing tells whether an error may go away by itself.
func passing(err error) bool {
	e, ok := errors.AsType[*connect.Error](err)
	return ok && e.Class == connect.ClassRetriable
}

// unsettled says that nobody could answer in time. The code stays that of the reason.
func (r *Rows) unsettled(err, waited error) error {
	e := *connect.AsError(err)
	e.Cause = errors.Join(e.Cause, waited)
	return &e
}

// askAll asks for each partition in turn.
func (r *Rows) askAll(ctx context.Context, q question, visit func(Row) error) error {
	for p := range int32(max(r.Total(), 1)) {
		one := q
		one.Partition = p
		if err := r.ask(ctx, &one, visit); err != nil {
			return err
		}
	}
	return nil
}
