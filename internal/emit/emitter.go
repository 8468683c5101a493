package emit

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/internal/meter"
)

// Emitter sends figures with their labels.
type Emitter struct {
	Out    chan<- prometheus.Metric
	names  []string
	values []string
}

// With returns an Emitter of further labels, given as names and values by turns.
func (e Emitter) With(labels ...string) Emitter {
	for i := 0; i < len(labels); i += 2 {
		e.names = append(e.names[:len(e.names):len(e.names)], labels[i])
		e.values = append(e.values[:len(e.values):len(e.values)], labels[i+1])
	}
	return e
}

func (e Emitter) send(name, help string, kind prometheus.ValueType, v float64) {
	if math.IsNaN(v) {
		return
	}
	m, err := prometheus.NewConstMetric(prometheus.NewDesc(name, help, e.names, nil), kind, v, e.values...)
	if err == nil {
		e.Out <- m
	}
}

// Gauge sends a value that goes up and down.
func (e Emitter) Gauge(name, help string, v float64) { e.send(name, help, prometheus.GaugeValue, v) }

// Count sends a value that only grows.
func (e Emitter) Count(name, help string, v int64) {
	e.send(name, help, prometheus.CounterValue, float64(v))
}

// Window sends mean and maximum of a time or size.
func (e Emitter) Window(name, unit, help string, w *meter.Window) {
	f := w.Read()
	e.Gauge(name+"_max"+unit, "Maximum "+help, f.Max)
	e.Gauge(name+"_avg"+unit, "Mean "+help, f.Avg)
}
