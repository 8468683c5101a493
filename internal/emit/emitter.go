package emit

import (
	"math"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/internal/meter"
)

// Emitter sends figures with their labels.
type Emitter struct {
	Out chan<- prometheus.Metric
	// Known keeps what is the same at each scrape; nil makes it anew each time.
	Known  *Known
	names  []string
	values []string
}

// Known keeps the descriptions of figures: their checks cost more than all else. It may be
// used by any goroutine.
type Known struct {
	descs sync.Map // What Emitter.desc makes of name and labels → *prometheus.Desc.
}

// With returns an Emitter of further labels, given as names and values by turns.
func (e Emitter) With(labels ...string) Emitter {
	for i := 0; i < len(labels); i += 2 {
		e.names = append(e.names[:len(e.names):len(e.names)], labels[i])
		e.values = append(e.values[:len(e.values):len(e.values)], strings.ToValidUTF8(labels[i+1], "\uFFFD"))
	}
	return e
}

func (e Emitter) desc(name, help string) *prometheus.Desc {
	if e.Known == nil {
		return prometheus.NewDesc(name, help, e.names, nil)
	}
	key := name
	for _, label := range e.names {
		key += "\x00" + label
	}
	if d, ok := e.Known.descs.Load(key); ok {
		return d.(*prometheus.Desc)
	}
	d, _ := e.Known.descs.LoadOrStore(key, prometheus.NewDesc(name, help, e.names, nil))
	return d.(*prometheus.Desc)
}

func (e Emitter) send(name, help string, kind prometheus.ValueType, v float64) {
	if math.IsNaN(v) {
		return
	}
	m, err := prometheus.NewConstMetric(e.desc(name, help), kind, v, e.values...)
	if err == nil {
		e.Out <- m
	}
}

// Gauge sends a value that goes up and down. One that is not known, NaN, is left out.
func (e Emitter) Gauge(name, help string, v float64) { e.send(name, help, prometheus.GaugeValue, v) }

// Count sends a value that only grows.
func (e Emitter) Count(name, help string, v int64) {
	e.send(name, help, prometheus.CounterValue, float64(v))
}

// Histogram sends how durations are spread, in seconds.
func (e Emitter) Histogram(name, help string, h *meter.Histogram) {
	s := h.Read()
	m, err := prometheus.NewConstHistogram(e.desc(name, help), s.Count, s.Sum, s.Buckets, e.values...)
	if err == nil {
		e.Out <- m
	}
}
