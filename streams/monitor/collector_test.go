package monitor_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/monitor"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/streams/window"
)

// TestCollector scrapes an engine that counts words in windows: every group of Kafka
// Streams' metrics is there, with its labels, and the counts are right.
func TestCollector(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	brokers := devstack.TestKafka(t)
	client, err := topics.Open(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Delete(ctx, "words", "seen-counts-changelog", "seen-held-buffer-changelog"); err != nil {
		t.Fatal(err)
	}
	if err := client.Create(ctx, topics.Spec{Name: "words", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	b := streams.NewBuilder()
	words := streams.From(b, "words", serde.Text{}, serde.Text{}, streams.With{Name: "source"})
	counts := window.Count(words.GroupByKey(serde.Text{}, serde.Text{}), window.Tumbling(time.Minute), streams.With{Store: "counts"})
	window.UntilClosed(counts, window.Bounds{}, streams.With{Name: "held"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	e, err := streams.OpenEngine(streams.Config{Brokers: brokers, Dir: t.TempDir(), Instance: "one", CountOperators: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Add(streams.App{ID: "seen", Topology: topology, ExactlyOnce: true}); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(running) }()
	const n = 100
	began := time.Now() // One time, so that one window holds them all.
	for i := range n {
		r := &topics.Record{Topic: "words", Key: fmt.Append(nil, "word", i%10), Value: []byte("x"), Timestamp: began}
		if i == 0 {
			r.Key = nil // It is dropped.
		}
		if err := client.Produce(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&monitor.Collector{Source: e})
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	text := ""
	sum := func(name string, labels ...string) (total float64, found bool) {
		for line := range strings.Lines(text) {
			head, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			if !strings.HasPrefix(head, name+"{") && head != name {
				continue
			}
			for _, l := range labels {
				if !strings.Contains(line, l) {
					t.Fatalf("%s has no label %s: %s", name, l, line)
				}
			}
			if i := strings.LastIndex(line, "} "); i >= 0 {
				value = strings.TrimSpace(line[i+2:])
			}
			var v float64
			if _, err := fmt.Sscan(value, &v); err != nil {
				t.Fatal(line, err)
			}
			total, found = total+v, true
		}
		return total, found
	}
	scrape := func() {
		out := httptest.NewRecorder()
		handler.ServeHTTP(out, httptest.NewRequest("GET", "/metrics", nil))
		if out.Code != 200 {
			t.Fatal(out.Body.String())
		}
		text = out.Body.String()
	}
	const thread, task = `thread_id="seen-one-StreamThread-1"`, `task_id="0_`
	for {
		scrape()
		processed, _ := sum("kafka_streams_stream_task_metrics_process_total")
		held, _ := sum("kafka_streams_stream_state_metrics_suppression_buffer_count_current")
		lag, _ := sum("tidemill_streams_lag_records")
		if processed >= n && held == 10 && lag == 0 {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain; the last scrape is\n%s", text)
		case <-time.After(20 * time.Millisecond):
		}
	}
	for name, labels := range map[string][]string{
		"stream_metrics_client_state":                          nil,
		"stream_metrics_alive_stream_threads":                  nil,
		"stream_metrics_topology_description":                  {"Sub-topology: 0"},
		"stream_thread_metrics_process_total":                  {thread},
		"stream_thread_metrics_commit_rate":                    {thread},
		"stream_thread_metrics_commit_latency_max":             {thread},
		"stream_thread_metrics_poll_records_avg":               {thread},
		"stream_thread_metrics_punctuate_total":                {thread},
		"stream_thread_metrics_task_created_total":             {thread},
		"stream_task_metrics_active_process_ratio":             {thread, task},
		"stream_task_metrics_record_lateness_max":              {thread, task},
		"stream_task_metrics_dropped_records_total":            {thread, task},
		"stream_task_metrics_enforced_processing_total":        {thread, task},
		"stream_task_metrics_restore_remaining_records_total":  {thread, task},
		"stream_processor_node_metrics_process_total":          {thread, task, "processor_node_id="},
		"stream_processor_node_metrics_process_rate":           {thread, task, "processor_node_id="},
		"stream_metrics_recording_level":                       nil,
		"stream_state_metrics_suppression_buffer_size_current": {thread, task, "persistent_state_id="},
		"stream_record_cache_metrics_hit_ratio_avg":            {thread, task, "record_cache_id="},
	} {
		if _, found := sum("kafka_streams_"+name, append(labels, `client_id="seen-one"`)...); !found {
			t.Errorf("there is no %s", name)
		}
	}
	for name, want := range map[string]float64{
		"kafka_streams_stream_metrics_client_state": 2, "kafka_streams_stream_task_metrics_active_process_ratio": 1,
		"kafka_streams_stream_task_metrics_dropped_records_total": 1, "tidemill_streams_state_full": 0, "tidemill_streams_state_repairs_total": 0,
	} {
		if got, found := sum(name); !found || got < want-1e-6 || got > want+1e-6 {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
