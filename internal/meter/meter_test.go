package meter

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// TestWindow has the clock of a bubble: what is older than all samples is forgotten, and
// rates are over the time that was measured.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Window
		w.Span(10*time.Second, 3)
		w.Add(2)
		w.Add(4)
		time.Sleep(10 * time.Second)
		w.Add(9)
		if f := w.Read(); f != (Figures{Avg: 5, Max: 9, Min: 2, Rate: 1.5, Sum: 15, Count: 3}) {
			t.Errorf("two samples are %+v", f)
		}
		time.Sleep(20 * time.Second) // The first sample has left.
		if f := w.Read(); f.Sum != 9 || f.Min != 9 || f.Rate != 9.0/20 {
			t.Errorf("behind the first sample there is %+v", f)
		}
		time.Sleep(time.Hour)
		if f := w.Read(); f != (Figures{}) {
			t.Errorf("after an hour there is %+v", f)
		}
		var zero Window
		zero.Add(30)
		time.Sleep(59 * time.Second)
		if f := zero.Read(); f.Sum != 30 || f.Avg != 30 {
			t.Errorf("the zero window has %+v", f)
		}
		time.Sleep(time.Second)
		if f := zero.Read(); f.Count != 0 {
			t.Errorf("after a minute the zero window has %+v", f)
		}
	})
}

// TestHistogram counts durations, and estimates quantiles between what was seen.
func TestHistogram(t *testing.T) {
	var h Histogram
	for i := 1; i <= 100; i++ {
		h.Add(time.Duration(i) * 10 * time.Millisecond) // Up to a second.
	}
	h.Add(-time.Second)
	s := h.Read()
	if s.Count != 101 || math.Abs(s.Sum-50.5) > 1e-9 || s.Min != 0 || s.Max != 1 || s.Last != 0 {
		t.Errorf("counted is %+v", s)
	}
	if s.Buckets[0.1] != 11 || s.Buckets[1] != 101 || s.Buckets[3600] != 101 {
		t.Errorf("the buckets are %v", s.Buckets)
	}
	for part, want := range map[float64]float64{0.5: 0.5, 0.95: 0.95, 0.99: 0.99, 1: 1} {
		if got := s.Quantile(part); math.Abs(got-want) > 0.02 {
			t.Errorf("the quantile %v is %v", part, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { h.Add(time.Second) }); n > 0 {
		t.Errorf("counting allocates %v times", n)
	}
	var none Histogram
	if s := none.Read(); s.Quantile(0.5) != 0 || s.Count != 0 {
		t.Errorf("nothing is %+v", s)
	}
}
