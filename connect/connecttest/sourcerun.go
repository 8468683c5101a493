package connecttest

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Offsets are the stored offsets of a source, in memory. The zero value holds none.
// It may be used by any number of goroutines.
type Offsets struct {
	mu   sync.Mutex
	json map[connect.SourcePartition][]byte
}

// Get returns the offset stored for p, nil when there is none. It has the form of
// SourceTaskEnv.StoredOffset.
func (o *Offsets) Get(_ context.Context, p connect.SourcePartition) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.json[p], nil
}

// Put stores an offset, as the JSON object it is rendered as.
func (o *Offsets) Put(p connect.SourcePartition, json []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.json == nil {
		o.json = map[connect.SourcePartition][]byte{}
	}
	o.json[p] = json
}

// All returns a copy of everything stored.
func (o *Offsets) All() map[connect.SourcePartition][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.json)
}

// SourceRun runs the first task of a source as a worker would. Its methods fail
// the test where the task breaks its contract.
type SourceRun struct {
	Task    connect.SourceTask
	Metrics *Figures
	// Signals is where a test sends what users would send to the running task.
	Signals chan<- []byte

	shown     documents
	tb        testing.TB
	connector connect.SourceConnector
	offsets   *Offsets
	end       context.CancelFunc
	taken     map[connect.SourcePartition]connect.Offset
	spare     []connect.SourceRecord // Polled, not yet taken.
	stopped   bool
}

// StartSource starts the connector, asks it for one task and starts that. offsets
// may hold the positions to resume from; Commit writes to it. The run is stopped at
// the end of the test at the latest.
func StartSource(tb testing.TB, c connect.SourceConnector, config connect.Config, offsets *Offsets) *SourceRun {
	tb.Helper()
	return StartSourceIn(tb, c, config, offsets, tb.TempDir())
}

// StartSourceIn is StartSource with a state directory that outlives the run.
func StartSourceIn(tb testing.TB, c connect.SourceConnector, config connect.Config, offsets *Offsets, dir string) *SourceRun {
	tb.Helper()
	ctx, end := context.WithCancel(context.Background())
	r := &SourceRun{
		tb: tb, connector: c, offsets: offsets, end: end, Metrics: &Figures{},
		taken: map[connect.SourcePartition]connect.Offset{},
	}
	tb.Cleanup(r.Stop)
	taskConfig := startConnector(ctx, tb, c, config)
	r.Task = c.NewTask()
	env := sourceEnv(tb, taskConfig, offsets, r.Metrics)
	signals := make(chan []byte, 16)
	r.Signals, env.Signals, env.Show, env.StateDir = signals, signals, r.shown.show, dir
	if err := r.Task.Start(ctx, env); err != nil {
		tb.Fatalf("the task does not start: %v", err)
	}
	return r
}

// Shown returns the document that the task shows under a name, nil for none.
func (r *SourceRun) Shown(name string) []byte { return r.shown.get(name) }

// documents are what a task shows, by name.
type documents struct {
	mu     sync.Mutex
	byName map[string][]byte
}

func (d *documents) show(name string, document []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byName == nil {
		d.byName = map[string][]byte{}
	}
	d.byName[name] = slices.Clone(document)
}

func (d *documents) get(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.byName[name]
}

// startConnector starts c and returns the configuration of its first task.
func startConnector(ctx context.Context, tb testing.TB, c connect.Connector, config connect.Config) connect.Config {
	tb.Helper()
	env := connect.ConnectorEnv{
		Name: "conformance", Config: config, Log: logger(tb),
		Reconfigure: func() {},
		Fail:        func(err error) { tb.Errorf("the connector failed: %v", err) },
	}
	if err := c.Start(ctx, env); err != nil {
		tb.Fatalf("the connector does not start: %v", err)
	}
	configs, err := c.TaskConfigs(ctx, 1)
	if err != nil || len(configs) != 1 {
		tb.Fatalf("TaskConfigs(1) gave %d configurations, error %v; want one", len(configs), err)
	}
	return configs[0]
}

func sourceEnv(tb testing.TB, config connect.Config, offsets *Offsets, figures *Figures) connect.SourceTaskEnv {
	return connect.SourceTaskEnv{
		Connector: "conformance", Config: config, StoredOffset: offsets.Get, Log: logger(tb), Metrics: figures,
	}
}

// Poll polls once, for at most the given time, and returns what came. A retriable
// error counts as nothing, as it does for a worker.
func (r *SourceRun) Poll(atMost time.Duration) []connect.SourceRecord {
	r.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), atMost)
	defer cancel()
	records, err := r.Task.Poll(ctx)
	if err != nil && connect.AsError(err).Class == connect.ClassRetriable {
		r.tb.Logf("poll: %v", err)
		return nil
	}
	if err != nil {
		r.tb.Fatalf("poll: %v", err)
	}
	return Keep(records)
}

// Take polls until there are n records and returns the first n, leaving what is
// over for the next call. It fails the test when they do not come. Position marks
// are passed over; their offsets count as taken in their turn.
func (r *SourceRun) Take(n int) []connect.SourceRecord {
	r.tb.Helper()
	var out []connect.SourceRecord
	for deadline := time.Now().Add(patience); ; {
		for len(r.spare) > 0 && len(out) < n {
			next := r.spare[0]
			r.spare = r.spare[1:]
			r.taken[next.SourcePartition] = next.SourceOffset
			if next.Topic != "" {
				out = append(out, next)
			}
		}
		if len(out) >= n {
			return out
		}
		left := time.Until(deadline)
		if left <= 0 {
			r.tb.Fatalf("%d records in %v; want %d", len(out), patience, n)
		}
		r.spare = append(r.spare, r.Poll(left)...)
	}
}

// Keep returns copies of records that share no memory with them, for tests that keep
// what a task gave beyond its next Poll, when it may use the memory again.
func Keep(records []connect.SourceRecord) []connect.SourceRecord {
	records = slices.Clone(records)
	for i := range records {
		r := &records[i]
		r.Key, r.Value, r.Headers = clone(r.Key), clone(r.Value), slices.Clone(r.Headers)
		for k, h := range r.Headers {
			r.Headers[k].Value = clone(h.Value)
		}
	}
	return records
}

func clone(v connect.Value) connect.Value {
	switch v.Kind() {
	case connect.KindString:
		return connect.String(strings.Clone(v.Str()))
	case connect.KindBytes:
		return connect.Bytes(bytes.Clone(v.Bytes()))
	case connect.KindArray:
		elems := slices.Clone(v.Array())
		for i, e := range elems {
			elems[i] = clone(e)
		}
		return connect.Array(elems)
	case connect.KindMap:
		entries := slices.Clone(v.Map())
		for i, e := range entries {
			entries[i] = connect.MapEntry{Key: clone(e.Key), Value: clone(e.Value)}
		}
		return connect.Map(entries)
	case connect.KindStruct:
		st := v.Struct()
		values := make([]connect.Value, len(st.Schema().Fields()))
		for i := range values {
			values[i] = clone(st.At(i))
		}
		return connect.StructValue(st.Schema().StructOf(values))
	}
	return v
}

// Commit stores the offsets of all records taken and then, in a worker's order,
// tells a task that is a connect.Committer.
func (r *SourceRun) Commit() {
	r.tb.Helper()
	for p, o := range r.taken {
		r.offsets.Put(p, o.AppendJSON(nil))
	}
	if c, ok := r.Task.(connect.Committer); ok && len(r.taken) > 0 {
		if err := c.Commit(context.Background(), maps.Clone(r.taken)); err != nil {
			r.tb.Errorf("commit: %v", err)
		}
	}
	clear(r.taken)
}

// Stop stops task and connector and waits for them. Calling it again does nothing.
func (r *SourceRun) Stop() {
	if r.stopped {
		return
	}
	r.stopped = true
	if r.Task != nil {
		stop(r.tb, "task", r.Task.Stop)
	}
	stop(r.tb, "connector", r.connector.Stop)
	r.end()
}

// stop calls a Stop method with a deadline and checks that it keeps it.
func stop(tb testing.TB, what string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), promptly)
	defer cancel()
	began := time.Now()
	if err := f(ctx); err != nil {
		tb.Errorf("stopping the %s: %v", what, err)
	}
	if took := time.Since(began); took > 2*promptly {
		tb.Errorf("stopping the %s took %v, past the deadline of its context", what, took)
	}
}
