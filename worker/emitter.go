package worker

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// emitter sends figures with their labels.
type emitter struct {
	out    chan<- prometheus.Metric
	names  []string
	values []string
}

// with returns an emitter of further labels, given as names and values by turns.
func (e emitter) with(labels ...string) emitter {
	for i := 0; i < len(labels); i += 2 {
		e.names = append(e.names[:len(e.names):len(e.names)], labels[i])
		e.values = append(e.values[:len(e.values):len(e.values)], labels[i+1])
	}
	return e
}

func (e emitter) send(name, help string, kind prometheus.ValueType, v float64) {
	if math.IsNaN(v) {
		return
	}
	m, err := prometheus.NewConstMetric(prometheus.NewDesc(name, help, e.names, nil), kind, v, e.values...)
	if err == nil {
		e.out <- m
	}
}

func (e emitter) gauge(name, help string, v float64) { e.send(name, help, prometheus.GaugeValue, v) }

func (e emitter) count(name, help string, v int64) {
	e.send(name, help, prometheus.CounterValue, float64(v))
}

// window sends mean and maximum of a time or size.
func (e emitter) window(name, unit, help string, w *window) {
	f := w.read()
	e.gauge(name+"_max"+unit, "Maximum "+help, f.max)
	e.gauge(name+"_avg"+unit, "Mean "+help, f.avg)
}

func percent(good, bad int64) float64 {
	if good+bad == 0 {
		return 0
	}
	return float64(good) / float64(good+bad)
}
