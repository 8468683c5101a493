package plugin

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"sync"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// log returns a logger whose lines go to the worker's log, with its fields.
func (s *session) log(start line.Start) *slog.Logger {
	level := slog.LevelInfo
	if start.Debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewJSONHandler(logLines{s.line}, &slog.HandlerOptions{Level: level}))
}

// logLines sends lines of a log; each comes in one Write.
type logLines struct{ line *line.Line }

// Write implements io.Writer.
func (l logLines) Write(p []byte) (int, error) {
	l.line.Notify(line.Log, bytes.Clone(p))
	return len(p), nil
}

// complaint is a line of the log.
func complaint(message string, err error) []byte {
	var b bytes.Buffer
	slog.New(slog.NewJSONHandler(&b, nil)).Warn(message, "error", err)
	return b.Bytes()
}

// figures gathers what a plugin counts, since it may count on a row's way; sums are sent
// with each answer, and once a second.
type figures struct {
	mu  sync.Mutex // Guards what follows.
	add map[string]int64
	set map[string]float64
	any bool // There is something to send.
}

// Add implements connect.Metrics.
func (f *figures) Add(name string, delta int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.add == nil {
		f.add = map[string]int64{}
	}
	f.add[name] += delta
	f.any = true
}

// Set implements connect.Metrics.
func (f *figures) Set(name string, value float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.set == nil {
		f.set = map[string]float64{}
	}
	f.set[name] = value
	f.any = true
}

func (f *figures) send(to *line.Line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.any {
		return
	}
	// Counters that did not move stay in the map, so that the next count allocates nothing.
	moved := maps.Clone(f.add)
	maps.DeleteFunc(moved, func(_ string, n int64) bool { return n == 0 })
	for name := range f.add {
		f.add[name] = 0
	}
	to.Notify(line.Figures, line.Pack(line.FiguresUpdate{Add: moved, Set: finite(f.set)}))
	clear(f.set)
	f.any = false
}

// finite leaves out what is no number, which JSON cannot say.
func finite(set map[string]float64) map[string]float64 {
	kept := maps.Clone(set)
	maps.DeleteFunc(kept, func(_ string, v float64) bool { return v-v != 0 })
	return kept
}

// readers are the topics that a task has the worker read for it.
type readers struct {
	mu   sync.Mutex // Guards what follows.
	next uint64
	each map[uint64]func(key, value []byte) error
}

// consume has the worker read a topic: see connect.SourceTaskEnv.Consume.
func (t *sourceSide) consume(ctx context.Context, settings connect.Config, topic, group string, each func(key, value []byte) error) error {
	r := &t.reading
	r.mu.Lock()
	r.next++
	id := r.next
	if r.each == nil {
		r.each = map[uint64]func(key, value []byte) error{}
	}
	r.each[id] = each
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.each, id)
		r.mu.Unlock()
	}()
	_, err := t.s.line.Call(ctx, line.Consume, line.Pack(line.Reading{ID: id, Settings: settings, Topic: topic, Group: group}))
	return err
}

// consumed takes a record that was read.
func (r *readers) consumed(body []byte) error {
	reading, err := line.Unpack[line.Reading](body)
	if err != nil {
		return err
	}
	r.mu.Lock()
	each := r.each[reading.ID]
	r.mu.Unlock()
	if each == nil {
		return context.Canceled
	}
	key, value := reading.Key, reading.Value
	if key == nil && !reading.NilKey {
		key = []byte{}
	}
	if value == nil && !reading.NilValue {
		value = []byte{}
	}
	return each(key, value)
}
