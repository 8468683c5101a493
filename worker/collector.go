package worker

import (
	"math"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// collector gives Prometheus the worker's figures, under the names that exporters of
// Kafka Connect's own have made common (kafka_connect_<group>_<attribute>), so that
// existing dashboards and alerts work; and those of plugins under tidemill_.
//
// Figures are read when somebody scrapes: a task costs nothing to watch otherwise.
type collector struct{ h *Herder }

// Describe implements prometheus.Collector. Names follow from what runs, so none are
// declared beforehand.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	e := emitter{out: out}
	c.worker(e)
	for _, name := range c.h.Connectors() {
		c.connector(e, name)
	}
	m := c.h.rt.metrics
	m.mu.Lock()
	tasks := make([]*taskMetrics, 0, len(m.tasks))
	for _, t := range m.tasks {
		tasks = append(tasks, t)
	}
	m.mu.Unlock()
	for _, t := range tasks {
		c.task(e, t)
	}
}

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

func (c *collector) worker(e emitter) {
	m := c.h.rt.metrics
	c.h.mu.Lock()
	share := c.h.share
	c.h.mu.Unlock()
	const worker = "kafka_connect_worker_"
	e.gauge(worker+"connector_count", "Connectors run by this worker.", float64(len(share.connectors)))
	e.gauge(worker+"task_count", "Tasks run by this worker.", float64(len(share.tasks)))
	e.gauge("kafka_connect_coordinator_assigned_connectors", "Connectors assigned to this worker.", float64(len(share.connectors)))
	e.gauge("kafka_connect_coordinator_assigned_tasks", "Tasks assigned to this worker.", float64(len(share.tasks)))
	for kind, n := range map[string][2]int64{
		"connector": {m.attempts.connector.Load(), m.failures.connector.Load()},
		"task":      {m.attempts.task.Load(), m.failures.task.Load()},
	} {
		attempts, failures := n[0], n[1]
		e.count(worker+kind+"_startup_attempts_total", "Starts attempted.", attempts)
		e.count(worker+kind+"_startup_success_total", "Starts that went well.", attempts-failures)
		e.count(worker+kind+"_startup_failure_total", "Starts that failed.", failures)
		e.gauge(worker+kind+"_startup_success_percentage", "Share of starts that went well.", percent(attempts-failures, failures))
		e.gauge(worker+kind+"_startup_failure_percentage", "Share of starts that failed.", percent(failures, attempts-failures))
	}
	const rebalance = "kafka_connect_worker_rebalance_"
	e.gauge(rebalance+"rebalancing", "Whether work is being divided anew.", 0)
	e.gauge(rebalance+"epoch", "Generation of the group.", 1)
	e.count(rebalance+"completed_rebalances_total", "Divisions of work.", 1)
}

func (c *collector) connector(e emitter, name string) {
	status, err := c.h.Status(name)
	if err != nil {
		return
	}
	e = e.with("connector", name)
	e.with("status", strings.ToLower(status.Connector.State)).gauge("kafka_connect_connector_status", "State of the connector, as a label.", 1)
	e.with("connector_type", status.Type).gauge("kafka_connect_connector_connector_type", "Type of the connector, as a label.", 1)
	if d, ok := c.h.desired(name); ok {
		e.with("connector_class", d.config["connector.class"]).gauge("kafka_connect_connector_connector_class", "Class of the connector, as a label.", 1)
	}
	e.with("connector_version", status.Connector.Version).gauge("kafka_connect_connector_connector_version", "Version of the connector, as a label.", 1)
	counts := map[string]int{}
	for _, t := range status.Tasks {
		counts[t.State]++
		e.with("task", strconv.Itoa(t.ID), "status", strings.ToLower(t.State)).
			gauge("kafka_connect_connector_task_status", "State of the task, as a label.", 1)
	}
	const worker = "kafka_connect_worker_connector_"
	e.gauge(worker+"total_task_count", "Tasks of the connector.", float64(len(status.Tasks)))
	for _, state := range []string{stateRunning, statePaused, stateFailed, stateUnassigned, stateRestarting, "DESTROYED"} {
		e.gauge(worker+strings.ToLower(state)+"_task_count", "Tasks of the connector in this state.", float64(counts[state]))
	}
}

func (c *collector) task(e emitter, t *taskMetrics) {
	e = e.with("connector", t.id.Connector, "task", strconv.Itoa(t.id.Task))
	const task = "kafka_connect_connector_task_"
	commits, failed := t.commits.Load(), t.commitFailures.Load()
	e.gauge(task+"offset_commit_success_percentage", "Share of offset commits that went well.", percent(commits, failed))
	e.gauge(task+"offset_commit_failure_percentage", "Share of offset commits that failed.", percent(failed, commits))
	e.window(task+"offset_commit", "_time_ms", "time of an offset commit.", &t.commitTime)
	e.window(task+"batch_size", "", "number of records in a batch.", &t.batchSize)
	if t.source {
		c.source(e, t)
	} else {
		c.sink(e, t)
	}
	const faults = "kafka_connect_task_error_"
	e.count(faults+"total_record_failures", "Records that could not be dealt with.", t.failures.Load())
	e.count(faults+"total_record_errors", "Errors, repeated ones included.", t.errors.Load())
	e.count(faults+"total_records_skipped", "Records left out.", t.skipped.Load())
	e.count(faults+"total_retries", "Operations tried again.", t.retries.Load())
	e.count(faults+"total_errors_logged", "Errors logged.", t.logged.Load())
	e.count(faults+"deadletterqueue_produce_requests", "Letters sent to the dead letter queue.", t.letters.Load())
	e.count(faults+"deadletterqueue_produce_failures", "Letters that could not be sent.", t.letterFailures.Load())
	e.gauge(faults+"last_error_timestamp", "When the last error was, in milliseconds since the epoch.", float64(t.lastError.Load()))
	e.count("tidemill_task_restarts_total", "Restarts after a failure.", t.restarts.Load())
	t.plugin.Range(func(name, value any) bool {
		f := value.(*pluginFigure)
		if f.isGauge {
			e.gauge("tidemill_"+name.(string), "A figure of the plugin.", math.Float64frombits(f.gauge.Load()))
		} else {
			e.count("tidemill_"+name.(string), "A figure of the plugin.", f.counter.Load())
		}
		return true
	})
}

func (c *collector) source(e emitter, t *taskMetrics) {
	const source = "kafka_connect_source_task_"
	e.count(source+"source_record_poll_total", "Records polled.", t.polled.Load())
	e.count(source+"source_record_write_total", "Records written to Kafka.", t.written.Load())
	e.gauge(source+"source_record_poll_rate", "Records polled in a second.", t.batchSize.read().rate)
	e.gauge(source+"source_record_active_count", "Records polled and not yet written.", float64(t.active.Load()))
	e.window(source+"poll_batch", "_time_ms", "time of a poll.", &t.pollTime)
	e.window(source+"transaction_size", "", "number of records in a transaction.", &t.txnSize)
}

func (c *collector) sink(e emitter, t *taskMetrics) {
	const sink = "kafka_connect_sink_task_"
	e.count(sink+"sink_record_read_total", "Records read from Kafka.", t.read.Load())
	e.count(sink+"sink_record_send_total", "Records put to the task.", t.sent.Load())
	e.gauge(sink+"sink_record_send_rate", "Records put to the task in a second.", t.batchSize.read().rate)
	e.gauge(sink+"partition_count", "Partitions the task reads.", float64(t.partitions.Load()))
	e.gauge(sink+"offset_commit_seq_no", "Number of the last offset commit.", float64(t.commitSeq.Load()))
	e.count(sink+"offset_commit_completion_total", "Offset commits that went well.", t.commits.Load())
	e.count(sink+"offset_commit_skip_total", "Offset commits with nothing to commit.", t.commitSkips.Load())
	e.gauge(sink+"sink_record_active_count", "Records put and not yet committed.", float64(t.active.Load()))
	e.window(sink+"put_batch", "_time_ms", "time of a put.", &t.putTime)
}
