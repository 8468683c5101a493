package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// topicState reads change topics and folds them into the tables they describe: a
// change puts its after row under its key, a delete or tombstone removes it. What it
// holds at a moment is what any consumer would have at that moment.
type topicState struct {
	client     *kgo.Client
	key, value connect.Converter
	seen       func(change) // Called for every change, from Run's goroutine; may be nil.

	mu     sync.Mutex // Guards the following.
	tables map[string]*foldedTable
	moved  chan struct{} // Closed and renewed when something was read.
}

// foldedTable is one topic's state.
type foldedTable struct {
	rows     map[string]string // Key text → row text.
	key, row *connect.Schema
	ops      map[string]int           // Changes seen, by op.
	last     map[string]connect.Value // The rows themselves, for those who watch.
}

// change is one change, for printing.
type change struct {
	topic string
	key   connect.Value
	connect.Change
	row *connect.Schema
}

// newTopicState returns a reader of the topics from their beginning.
func newTopicState(brokers []string, topics []string, key, value connect.Converter) (*topicState, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...),
		kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		return nil, err
	}
	t := &topicState{client: client, key: key, value: value, tables: map[string]*foldedTable{}, moved: make(chan struct{})}
	for _, topic := range topics {
		t.tables[topic] = &foldedTable{rows: map[string]string{}, ops: map[string]int{}, last: map[string]connect.Value{}}
	}
	return t, nil
}

// Run reads until ctx is done or a record cannot be read.
func (t *topicState) Run(ctx context.Context) error {
	defer t.client.Close()
	for {
		fetches := t.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var err error
		fetches.EachRecord(func(r *kgo.Record) {
			if err == nil {
				err = t.fold(ctx, r)
			}
		})
		if err != nil {
			return err
		}
		t.mu.Lock()
		close(t.moved)
		t.moved = make(chan struct{})
		t.mu.Unlock()
	}
}

// fold applies one record.
func (t *topicState) fold(ctx context.Context, r *kgo.Record) error {
	keySchema, key, err := t.key.ToConnect(ctx, r.Topic, r.Key)
	if err != nil {
		return fmt.Errorf("key of %s, offset %d: %w", r.Topic, r.Offset, err)
	}
	schema, value, err := t.value.ToConnect(ctx, r.Topic, r.Value)
	if err != nil {
		return fmt.Errorf("value of %s, offset %d: %w", r.Topic, r.Offset, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	table := t.tables[r.Topic]
	id := rowText(key)
	if value.IsNull() {
		delete(table.rows, id)
		return nil
	}
	env, ok := connect.EnvelopeOf(schema)
	if !ok {
		return fmt.Errorf("%s, offset %d: %s is no change", r.Topic, r.Offset, schema)
	}
	c := env.Change(value)
	table.key, table.row = keySchema, env.Row()
	table.ops[c.Op]++
	if c.After.IsNull() {
		delete(table.rows, id)
	} else {
		table.rows[id] = rowText(c.After)
	}
	if t.seen == nil {
		return nil
	}
	if c.Before.IsNull() { // The table's replica identity does not send it.
		c.Before = table.last[id]
	}
	table.last[id] = c.After
	t.seen(change{topic: r.Topic, key: key, Change: c, row: env.Row()})
	return nil
}

// count returns how many changes of the given ops a topic had so far.
func (t *topicState) count(topic string, ops ...string) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, op := range ops {
		n += t.tables[topic].ops[op]
	}
	return n
}

// wait blocks until holds is true; it looks whenever something was read.
func (t *topicState) wait(ctx context.Context, what string, holds func() bool) error {
	for {
		t.mu.Lock()
		moved := t.moved
		t.mu.Unlock()
		if holds() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-moved:
		}
	}
}

// nullText stands for an absent value in row texts; no value is written like it.
const nullText = "\x00"

// rowText writes a row's values, each as PostgreSQL's own text or as the number its
// semantic type carries, so that rows can be compared with what sqlText selects.
func rowText(v connect.Value) string {
	if v.IsNull() {
		return nullText
	}
	st := v.Struct()
	parts := make([]string, len(st.Values()))
	for i, f := range st.Schema().Fields() {
		parts[i] = fieldText(f.Schema, st.At(i))
	}
	return strings.Join(parts, "\x1f")
}

func fieldText(s *connect.Schema, v connect.Value) string {
	switch v.Kind() {
	case connect.KindNull:
		return nullText
	case connect.KindString:
		return v.Str()
	case connect.KindFloat32:
		return strconv.FormatFloat(v.Float(), 'g', -1, 32)
	case connect.KindFloat64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case connect.KindBytes:
		if _, ok := s.DecimalScale(); !ok {
			return fmt.Sprintf("\\x%x", v.Bytes())
		}
	}
	return string(connect.AppendJSON(nil, s, v))
}

// sqlText returns the expression that selects a column as fieldText writes it.
func sqlText(column string, s *connect.Schema) string {
	epoch := func(factor string) string {
		return "trunc(extract(epoch FROM " + column + ")*" + factor + ")::bigint::text"
	}
	switch s.Name() {
	case "io.debezium.time.Date", connect.LogicalDate:
		return "(" + column + " - date '1970-01-01')::text"
	case "io.debezium.time.MicroTimestamp", "io.debezium.time.MicroTime":
		return epoch("1000000")
	case "io.debezium.time.Timestamp", "io.debezium.time.Time", connect.LogicalTimestamp, connect.LogicalTime:
		return epoch("1000")
	case "io.debezium.time.ZonedTimestamp":
		return "to_char(" + column + ` AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`
	}
	return column + "::text"
}
