package worker

import (
	"net"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/connect"
)

// TestBrokersComeBack takes the broker away under running tasks and brings it back.
func TestBrokersComeBack(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	must(t, listener.Close())
	dir := t.TempDir()
	broker := func() *kfake.Cluster {
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(dir))
		must(t, err)
		return c
	}
	cluster := broker()
	defer func() { cluster.Close() }()
	l := labWith(t, cluster.ListenAddrs())
	for name, over := range map[string]connect.Config{"plain": nil, "exact": exact} {
		w := l.start(connect.Config{"exactly.once.source.support": over["exactly.once.source.support"]})
		w.create(name, counter(name, "pace.ms", "2"))
		w.create(name+"-s", keeper(name, "consumer.override.isolation.level", "read_committed"))
		wait(t, "something is kept", func() bool { return len(l.keptBy(name+"-s")) > 20 })
		cluster.Close()
		time.Sleep(1500 * time.Millisecond) // The outage.
		cluster = broker()
		before := len(l.keptBy(name + "-s"))
		wait(t, "more is kept after the outage", func() bool { return len(l.keptBy(name+"-s")) > before+100 })
		w.waitState(name, "RUNNING RUNNING")
		w.waitState(name+"-s", "RUNNING RUNNING")
		must(t, w.SetState(t.Context(), name, Stopped))
		w.waitState(name, "STOPPED")
		got := l.values(name)
		distinct := map[string]bool{}
		for _, v := range got {
			distinct[v] = true
		}
		for _, v := range numbers(1, len(distinct)) {
			if !distinct[v] {
				t.Errorf("%s: %s is missing", name, v)
			}
		}
		if over != nil && len(got) != len(distinct) {
			t.Errorf("%s: %d values are there twice", name, len(got)-len(distinct))
		}
		w.stop()
	}
}

// TestTaskBeginsWhileBrokersFail starts a task again while the brokers cannot say where
// the offsets end: it waits for them instead of failing for good.
func TestTaskBeginsWhileBrokersFail(t *testing.T) {
	l := newFakeLab(t)
	w := l.start(connect.Config{"errors.restart.delay.ms": "10"})
	w.create("c", counter("c", "pace.ms", "2"))
	w.waitState("c", "RUNNING RUNNING")
	refusals := l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.UnknownServerError, Count: 3})
	must(t, w.RestartTask(t.Context(), TaskID{Connector: "c"}))
	wait(t, "the brokers have refused", func() bool { return refusals.Hits() == 3 })
	w.waitState("c", "RUNNING RUNNING")
}

func TestSinkFindsTopicsThatAppearLater(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("s", keeper("late"))
	config := keeper("", "topics.regex", "late.*")
	delete(config, "topics")
	w.create("r", config)
	w.waitState("s", "RUNNING RUNNING")
	w.waitState("r", "RUNNING RUNNING")
	time.Sleep(300 * time.Millisecond) // Let the consumers hear that there is nothing.
	l.produce("late", 1, "a", "b")
	wait(t, "both are kept", func() bool { return len(l.keptBy("s")) == 2 })
	wait(t, "both are kept by the pattern", func() bool { return len(l.keptBy("r")) == 2 })
}

func TestMetrics(t *testing.T) {
	l := newLab(t)
	registry := prometheus.NewPedanticRegistry()
	w := l.start(nil, func(o *Options) { o.Metrics = registry })
	w.create("c", counter("numbers", "count", "100", "bad.every", "50", "errors.tolerance", "all"))
	w.create("s", keeper("numbers"))
	wait(t, "all is kept", func() bool { return len(l.keptBy("s")) == 98 })
	wait(t, "all is committed", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":100}` })
	w.waitState("c", "RUNNING RUNNING")
	families, err := registry.Gather()
	must(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, p := range m.GetLabel() {
				labels = append(labels, p.GetName()+"="+p.GetValue())
			}
			got[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"kafka_connect_connect_worker_metrics_connector_count{connector=aggregate}":                  2,
		"kafka_connect_connect_worker_metrics_task_count{connector=aggregate}":                       2,
		"kafka_connect_connect_worker_metrics_connector_startup_attempts_total{connector=aggregate}": 2,
		"kafka_connect_connector_metrics{connector=c,status=running}":                                1,
		"kafka_connect_connector_task_metrics{connector=c,status=running,task=0}":                    1,
		"kafka_connect_connect_worker_metrics_connector_running_task_count{connector=c}":             1,
		"kafka_connect_connect_worker_metrics_connector_failed_task_count{connector=c}":              0,
		"kafka_connect_source_task_metrics_source_record_poll_total{connector=c,task=0}":             100,
		"kafka_connect_source_task_metrics_source_record_write_total{connector=c,task=0}":            98,
		"kafka_connect_source_task_metrics_source_record_active_count{connector=c,task=0}":           0,
		"kafka_connect_task_error_metrics_total_records_skipped{connector=c,task=0}":                 2,
		"kafka_connect_task_error_metrics_total_record_failures{connector=c,task=0}":                 2,
		"kafka_connect_sink_task_metrics_sink_record_read_total{connector=s,task=0}":                 98,
		"kafka_connect_sink_task_metrics_sink_record_send_total{connector=s,task=0}":                 98,
		"kafka_connect_connector_task_metrics_offset_commit_success_percentage{connector=c,task=0}":  1,
		"kafka_connect_connector_metrics{connector=s,connector_class=KeepingSink}":                   1,
		"kafka_connect_connector_task_metrics_batch_size_max{connector=c,task=0}":                    10,
		"tidemill_task_restarts_total{connector=c,reason=retriable,task=0}":                          0,
		"tidemill_connector_health{connector=c,health=healthy}":                                      1,
		"tidemill_connector_health{connector=c,health=degraded}":                                     0,
		"tidemill_counting_polls_total{connector=c,task=0}":                                          11,
		"tidemill_counting_next{connector=c,task=0}":                                                 101,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
		}
	}
}

func TestReconfigureDividesTheWorkAnew(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("c", counter("numbers", "count", "10", "tasks.max", "3", "tasks", "grow"))
	w.waitState("c", "RUNNING RUNNING")
	l.mu.Lock()
	env := l.env
	l.happen["grown"] = 1
	l.mu.Unlock()
	env.Reconfigure()
	w.waitState("c", "RUNNING RUNNING RUNNING")
	env.Fail(&connect.Error{Code: "test.watch", Message: "the other system is gone"})
	w.waitState("c", "FAILED RUNNING RUNNING")
	_, err := w.Restart(t.Context(), "c", RestartOptions{OnlyFailed: true})
	must(t, err)
	w.waitState("c", "RUNNING RUNNING RUNNING")
}

// TestStoppedWorkersLeaveNothingRunning looks for goroutines of this package.
func TestStoppedWorkersLeaveNothingRunning(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("c", counter("numbers", "pace.ms", "1"))
	w.create("s", keeper("numbers"))
	w.create("f", counter("x", "connector.trouble", "fatal"))
	wait(t, "something is kept", func() bool { return len(l.keptBy("s")) > 20 })
	w.stop()
	left := func() (list []string) {
		stacks := make([]byte, 4<<20)
		for g := range strings.SplitSeq(string(stacks[:goruntime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(g, "tidemill/worker.") && !strings.Contains(g, "TestStoppedWorkers") && !strings.Contains(g, "testing.(*T).Run") {
				list = append(list, g)
			}
		}
		return list
	}
	deadline := time.Now().Add(patience)
	for len(left()) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("still running:\n%s", strings.Join(left(), "\n\n"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}
