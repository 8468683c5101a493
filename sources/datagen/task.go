package datagen

import (
	"context"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

const (
	// maxBatch is how many records one Poll returns at most.
	maxBatch = 1024
	// idle is how long a Poll waits before it returns nothing.
	idle = time.Second
)

type task struct {
	table table
	next  position
	end   uint64  // The number of rows in all; 0 for no end.
	rate  float64 // Rows per second.

	began   time.Time // When row first was due.
	first   uint64
	records []connect.SourceRecord
}

// Start reads the settings and goes to the stored position.
func (t *task) Start(ctx context.Context, env connect.SourceTaskEnv) error {
	s, err := parse(env.Config)
	if err != nil {
		return err
	}
	if err := t.configure(s, env.Connector); err != nil {
		return err
	}
	stored, err := env.StoredOffset(ctx, t.table.partition)
	if err != nil {
		return err
	}
	if t.next, err = parsePosition(stored); err != nil {
		return &connect.Error{Code: "datagen.offset", Place: t.table.topic, Message: "the stored position cannot be understood", Mend: "reset the connector's offsets", Cause: err}
	}
	t.first, t.began = t.next.row, time.Now()
	return nil
}

func (t *task) configure(s connect.Settings, name string) error {
	for _, tmpl := range templates() {
		if strings.EqualFold(tmpl.name, s.String("quickstart")) {
			t.table.template = tmpl
		}
	}
	keys := t.table.template.keys
	if s.Given("keys") {
		keys = uint64(s.Int64("keys"))
	}
	t.table.rows = rows{seed: uint64(s.Int64("seed")), keys: keys, deletes: uint64(s.Float("delete.percent") * 100)}
	t.table.topic, t.table.connector = s.String("topic"), name
	t.table.start, t.table.step = s.Int64("start.time.ms"), s.Int64("step.ms")
	t.rate, t.end = s.Float("rate"), uint64(max(s.Int64("rows"), 0))
	if s.Given("max.interval") {
		t.rate = 2000 / float64(s.Int64("max.interval"))
	}
	var err error
	t.table.partition, err = connect.NewSourcePartition(map[string]any{"topic": t.table.topic, "table": t.table.name})
	if err != nil {
		return err
	}
	return t.table.build(strings.EqualFold(s.String("shape"), shapeRow))
}

// Poll returns the rows that are due, and waits for the first of them.
func (t *task) Poll(ctx context.Context) ([]connect.SourceRecord, error) {
	if !t.wait(ctx) {
		return nil, nil
	}
	due := t.due()
	t.records = t.records[:0]
	s := &slab{}
	for len(t.records) < maxBatch && (t.next.tombstone || t.next.row < due) {
		t.records, t.next = t.table.record(t.records, s, t.next)
	}
	return t.records, nil
}

// wait returns true when there is a row to be told, and false when ctx is done, or
// for a while there was none.
func (t *task) wait(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	pause := idle
	switch over := t.end > 0 && t.next.row >= t.end; {
	case t.next.tombstone:
		return true
	case !over && t.rate > 0:
		at := t.began.Add(time.Duration(float64(t.next.row-t.first) / t.rate * float64(time.Second)))
		if pause = time.Until(at); pause <= 0 {
			return true
		}
	}
	timer := time.NewTimer(min(pause, idle))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return pause < idle
	}
}

// due returns the first row that is not to be told yet.
func (t *task) due() uint64 {
	due := t.first + uint64(time.Since(t.began).Seconds()*t.rate) + 1
	if t.end > 0 {
		due = min(due, t.end)
	}
	return due
}

// Stop implements connect.SourceTask. There is nothing to release.
func (t *task) Stop(context.Context) error { return nil }
