package meter

import (
	"sync/atomic"
	"time"
)

// bounds are the upper bounds of a Histogram's buckets. Above the last one is one more.
var bounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour,
}

// Histogram counts durations by how long they are. Counting takes no lock and allocates
// nothing. The zero value is empty.
type Histogram struct {
	counts              [len(bounds) + 1]atomic.Int64
	sum, last, min, max atomic.Int64 // Nanoseconds; min is one more, so that zero means none.
}

// Add counts one duration. A negative one, of two clocks that differ, counts as none.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.sum.Add(int64(d))
	h.last.Store(int64(d))
	for low := h.min.Load(); low == 0 || int64(d)+1 < low; low = h.min.Load() {
		if h.min.CompareAndSwap(low, int64(d)+1) {
			break
		}
	}
	for high := h.max.Load(); int64(d) > high; high = h.max.Load() {
		if h.max.CompareAndSwap(high, int64(d)) {
			break
		}
	}
	h.counts[i].Add(1)
}

// Spread is what a Histogram holds, in seconds.
type Spread struct {
	Count               uint64
	Sum, Last, Min, Max float64
	// Buckets has, for each upper bound, how many durations are not above it.
	Buckets map[float64]uint64
	counts  [len(bounds) + 1]uint64
}

// Read returns what was counted so far.
func (h *Histogram) Read() Spread {
	s := Spread{Buckets: make(map[float64]uint64, len(bounds))}
	for i := range h.counts {
		s.counts[i] = uint64(h.counts[i].Load())
		s.Count += s.counts[i]
		if i < len(bounds) {
			s.Buckets[bounds[i].Seconds()] = s.Count
		}
	}
	s.Sum, s.Last, s.Max = seconds(h.sum.Load()), seconds(h.last.Load()), seconds(h.max.Load())
	s.Min = seconds(max(h.min.Load()-1, 0))
	return s
}

func seconds(nanos int64) float64 { return time.Duration(nanos).Seconds() }

// Quantile estimates below which duration the given part of all lies: as if those of a
// bucket were spread evenly, between the extremes that were seen.
func (s *Spread) Quantile(part float64) float64 {
	rank, below, low := part*float64(s.Count), 0.0, 0.0
	for i, n := range s.counts {
		high := s.Max
		if i < len(bounds) {
			high = bounds[i].Seconds()
		}
		if n > 0 && below+float64(n) >= rank {
			v := low + (high-low)*(rank-below)/float64(n)
			return min(max(v, s.Min), s.Max)
		}
		below, low = below+float64(n), high
	}
	return s.Max
}
