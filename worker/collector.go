package worker

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/internal/emit"
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
	e := emit.Emitter{Out: out}
	c.worker(e)
	for _, name := range c.h.Connectors() {
		c.connector(e, name)
	}
	m := c.h.rt.metrics
	m.mu.Lock()
	tasks := make([]*taskMetrics, 0, len(m.tasks))
	for _, t := range m.tasks.all() {
		tasks = append(tasks, t)
	}
	m.mu.Unlock()
	for _, t := range tasks {
		c.task(e, t)
	}
}

func (c *collector) worker(e emit.Emitter) {
	m := c.h.rt.metrics
	c.h.mu.Lock()
	share, place := c.h.share, c.h.place
	c.h.mu.Unlock()
	const worker = "kafka_connect_worker_"
	e.Gauge(worker+"connector_count", "Connectors run by this worker.", float64(share.connectors))
	e.Gauge(worker+"task_count", "Tasks run by this worker.", float64(share.tasks))
	e.Gauge("kafka_connect_coordinator_assigned_connectors", "Connectors assigned to this worker.", float64(share.connectors))
	e.Gauge("kafka_connect_coordinator_assigned_tasks", "Tasks assigned to this worker.", float64(share.tasks))
	for kind, n := range map[string][2]int64{
		"connector": {m.attempts.connector.Load(), m.failures.connector.Load()},
		"task":      {m.attempts.task.Load(), m.failures.task.Load()},
	} {
		attempts, failures := n[0], n[1]
		e.Count(worker+kind+"_startup_attempts_total", "Starts attempted.", attempts)
		e.Count(worker+kind+"_startup_success_total", "Starts that went well.", attempts-failures)
		e.Count(worker+kind+"_startup_failure_total", "Starts that failed.", failures)
		e.Gauge(worker+kind+"_startup_success_percentage", "Share of starts that went well.", percent(attempts-failures, failures))
		e.Gauge(worker+kind+"_startup_failure_percentage", "Share of starts that failed.", percent(failures, attempts-failures))
	}
	const rebalance = "kafka_connect_worker_rebalance_"
	e.Gauge(rebalance+"rebalancing", "Whether work is being divided anew.", 0)
	e.Gauge(rebalance+"epoch", "Generation of the group.", float64(place.Generation))
	e.Count(rebalance+"completed_rebalances_total", "Divisions of work.", place.Rounds)
	e.With("leader_name", place.LeaderURL).Gauge(rebalance+"leader_name", "URL of the group's leader, as a label.", 1)
	e.With("connect_protocol", place.Protocol).Gauge(rebalance+"connect_protocol", "Protocol of the group, as a label.", 1)
}

func (c *collector) connector(e emit.Emitter, name string) {
	status, err := c.h.Status(name)
	if err != nil {
		return
	}
	e = e.With("connector", name)
	e.With("status", strings.ToLower(status.Connector.State)).Gauge("kafka_connect_connector_status", "State of the connector, as a label.", 1)
	e.With("connector_type", status.Type).Gauge("kafka_connect_connector_connector_type", "Type of the connector, as a label.", 1)
	if d, ok := c.h.desired(name); ok {
		e.With("connector_class", d.config["connector.class"]).Gauge("kafka_connect_connector_connector_class", "Class of the connector, as a label.", 1)
	}
	e.With("connector_version", status.Connector.Version).Gauge("kafka_connect_connector_connector_version", "Version of the connector, as a label.", 1)
	counts := map[string]int{}
	for _, t := range status.Tasks {
		counts[t.State]++
		e.With("task", strconv.Itoa(t.ID), "status", strings.ToLower(t.State)).
			Gauge("kafka_connect_connector_task_status", "State of the task, as a label.", 1)
	}
	const worker = "kafka_connect_worker_connector_"
	e.Gauge(worker+"total_task_count", "Tasks of the connector.", float64(len(status.Tasks)))
	for _, state := range []string{stateRunning, statePaused, stateFailed, stateUnassigned, stateRestarting, "DESTROYED"} {
		e.Gauge(worker+strings.ToLower(state)+"_task_count", "Tasks of the connector in this state.", float64(counts[state]))
	}
}

func percent(good, bad int64) float64 {
	if good+bad == 0 {
		return 0
	}
	return float64(good) / float64(good+bad)
}
