package worker

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/connect"
)

// TestLabelsOfAFigureAreBounded has a plugin tell of more tables than figures may have
// labels: the counters of the rest are one, and their gauges are left out.
func TestLabelsOfAFigureAreBounded(t *testing.T) {
	m := newWorkerMetrics(parsed(t, connect.Config{"metrics.table.labels.max": "2"})).task(TaskID{"c", 0}, true)
	for i := range 5 {
		m.Add(fmt.Sprintf("events_total{table=%q,op=\"create\"}", fmt.Sprintf("a \"%d\", b", i)), 1)
		m.Set(fmt.Sprintf("rows{table=%q}", fmt.Sprint(i)), 1)
	}
	m.Add("events_total{table=\"a \\\"4\\\", b\",op=\"create\"}", 10)
	m.Add("plain_total", 3)
	told := map[string]float64{}
	m.each(func(f *pluginFigure) { told[fmt.Sprintf("%s%q", f.name, f.labels)] = f.value() })
	want := map[string]float64{
		`events_total["table" "a \"0\", b" "op" "create"]`: 1, `events_total["table" "a \"1\", b" "op" "create"]`: 1, `events_total["table" "(others)" "op" "(others)"]`: 13,
		`rows["table" "0"]`: 1, `rows["table" "1"]`: 1, `plain_total[]`: 3,
	}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told is %v", told)
	}
}

func parsed(t testing.TB, config connect.Config) connect.Settings {
	t.Helper()
	s, err := ConfigDef().Parse(config)
	must(t, err)
	return s
}

// TestMetricsSettingsAreChecked refuses spellings that there are not.
func TestMetricsSettingsAreChecked(t *testing.T) {
	for _, bad := range []connect.Config{{"metrics.compat": "connect,jmx"}, {"metrics.num.samples": "0"}, {"metrics.table.labels.max": "-1"}} {
		if _, err := ConfigDef().Parse(bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// BenchmarkScrape is one scrape of a worker with a thousand connectors.
func BenchmarkScrape(b *testing.B) {
	l := newLab(b)
	registry := prometheus.NewRegistry()
	w := l.start(nil, func(o *Options) { o.Metrics = registry })
	const n = 1000
	for i := range n {
		w.create(fmt.Sprintf("c%d", i), counter("numbers", "count", "0"))
	}
	wait(b, "all run", func() bool { return len(w.rt.metrics.all()) == n })
	for b.Loop() {
		families, err := registry.Gather()
		if err != nil || len(families) == 0 {
			b.Fatal(err)
		}
	}
}
