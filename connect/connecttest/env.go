package connecttest

import (
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"
)

// patience is how long anything may take before a check gives up on it.
const patience = 3 * time.Minute

// promptly is how soon a call must return after its context is done.
const promptly = 5 * time.Second

// Figures keeps what a plugin reports through connect.Metrics. The zero value is
// ready, and it may be used by any number of goroutines.
type Figures struct {
	mu       sync.Mutex
	counters map[string]int64
	gauges   map[string]float64
}

// Add implements connect.Metrics.
func (f *Figures) Add(name string, delta int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counters == nil {
		f.counters = map[string]int64{}
	}
	f.counters[name] += delta
}

// Set implements connect.Metrics.
func (f *Figures) Set(name string, value float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gauges == nil {
		f.gauges = map[string]float64{}
	}
	f.gauges[name] = value
}

// Counter returns what a counter has come to.
func (f *Figures) Counter(name string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counters[name]
}

// Gauges returns a copy of all gauges.
func (f *Figures) Gauges() map[string]float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.gauges)
}

// logger writes what a plugin logs into the test's own output, so that it is read
// where a test fails.
func logger(tb testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
