package worker

import (
	"sync"
	"time"
)

// window keeps mean, maximum and rate of a figure over the last while, as Kafka's
// own metrics do: two samples of thirty seconds, of which the older is dropped.
type window struct {
	mu      sync.Mutex
	samples [2]sample
}

type sample struct {
	start    time.Time
	count    int64
	sum, max float64
}

// sampleLength is metrics.sample.window.ms by default.
const sampleLength = 30 * time.Second

// add takes note of one measurement.
func (w *window) add(v float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.roll(time.Now())
	if s.count == 0 || v > s.max {
		s.max = v
	}
	s.count++
	s.sum += v
}

// since adds the milliseconds since start.
func (w *window) since(start time.Time) {
	w.add(float64(time.Since(start)) / float64(time.Millisecond))
}

// roll returns the current sample. The caller holds mu.
func (w *window) roll(now time.Time) *sample {
	if now.Sub(w.samples[0].start) >= sampleLength {
		w.samples[1] = w.samples[0]
		if now.Sub(w.samples[0].start) >= 2*sampleLength {
			w.samples[1] = sample{start: now}
		}
		w.samples[0] = sample{start: now}
	}
	return &w.samples[0]
}

// figures are what a window holds.
type figures struct {
	avg, max, rate, sum float64
	count               int64
}

func (w *window) read() figures {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.roll(now)
	var f figures
	start := now
	for i, s := range w.samples {
		if s.start.IsZero() {
			continue
		}
		if s.count > 0 && (f.count == 0 || s.max > f.max) {
			f.max = s.max
		}
		f.count += s.count
		f.sum += s.sum
		if i == 0 || s.start.Before(start) {
			start = s.start
		}
	}
	if f.count > 0 {
		f.avg = f.sum / float64(f.count)
	}
	if elapsed := now.Sub(start).Seconds(); elapsed > 0 {
		f.rate = f.sum / max(elapsed, 1)
	}
	return f
}
