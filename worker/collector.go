package worker

import (
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/internal/emit"
)

// collector gives Prometheus the worker's figures: under the names that exporters have
// made common for Kafka Connect and Debezium, so that existing dashboards and alerts work,
// and those of its own and of plugins under tidemill_.
//
// Figures are read when somebody scrapes: a task costs nothing to watch otherwise.
type collector struct {
	h       *Herder
	known   *emit.Known
	compat  []string
	tables  []table
	changes map[string][]changeFigure
	own     []ownFigure
	started time.Time
}

// table is what is told in one spelling.
type table struct {
	spelling
	worker, place         []told[workerView]
	clients               []told[*traffic]
	counts                []told[map[string]int]
	tasks, sources, sinks []told[*taskMetrics]
}

func newCollector(h *Herder) *collector {
	c := &collector{h: h, known: &emit.Known{}, changes: changeFigures(), own: ownFigures(), started: time.Now()}
	for _, s := range h.rt.settings.List("metrics.compat") {
		c.compat = append(c.compat, strings.TrimSpace(s))
	}
	for _, s := range spellings(c.compat) {
		c.tables = append(c.tables, table{
			spelling: s, worker: name(s, workerFigures()), place: name(s, placeFigures()), clients: name(s, clientFigures()),
			counts: name(s, countFigures()), tasks: name(s, taskFigures()), sources: name(s, sourceFigures()), sinks: name(s, sinkFigures()),
		})
	}
	return c
}

// Describe implements prometheus.Collector. Names follow from what runs, so none are
// declared beforehand.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	e := emit.Emitter{Out: out, Known: c.known}
	c.h.mu.Lock()
	v := workerView{share: c.h.share, place: c.h.place, metrics: c.h.rt.metrics}
	c.h.mu.Unlock()
	c.worker(e, v)
	for _, name := range c.h.Connectors() {
		if v.share.owns(name) { // Otherwise another worker tells of it.
			c.connector(e, name)
		}
	}
	beans := map[string]bool{}
	for _, t := range v.metrics.all() {
		c.task(e.With("connector", t.id.Connector, "task", strconv.Itoa(t.id.Task)), t)
		if d, ok := c.h.desired(t.id.Connector); ok && t.source {
			c.debezium(e, t, d.config["topic.prefix"], beans)
		}
	}
}

func (c *collector) worker(e emit.Emitter, v workerView) {
	info := c.h.Info()
	client := c.h.rt.settings.String("client.id")
	if client == "" {
		client = "connect-" + c.h.rt.statuses.workerID
	}
	for _, t := range c.tables {
		tell(e.With(t.whole...), t.worker, v)
		tell(e, t.place, v)
		if v.place.Protocol != "" {
			t.text(e, groupRebalance, "leader-name", v.place.LeaderURL)
			t.text(e, groupRebalance, "connect-protocol", v.place.Protocol)
		}
		tell(e.With(t.client, client), t.clients, v.metrics.traffic[adminClient])
	}
	e.With("version", info.Version, "commit", info.Commit, "goversion", goruntime.Version()).Gauge(buildName, buildHelp, 1)
	if tracer := c.h.rt.tracer; tracer != nil {
		sent, dropped, failed := tracer.Counts()
		for outcome, n := range map[string]int64{"sent": sent, "dropped": dropped, "failed": failed} {
			e.With("outcome", outcome).Count(spansName, spansHelp, n)
		}
	}
	const app = "Which worker this is, as labels."
	if slices.Contains(c.compat, compatConnect) {
		for _, name := range []string{"kafka_connect_app", "kafka_connect_app_info"} {
			for _, label := range [][2]string{{"version", info.Version}, {"commit_id", info.Commit}, {"start_time_ms", strconv.FormatInt(c.started.UnixMilli(), 10)}} {
				e.With("client_id", client, label[0], label[1]).Gauge(name, app, 1)
			}
		}
	}
	if slices.Contains(c.compat, compatStrimzi) {
		e.With("client_id", client, "version", info.Version).Gauge("kafka_connect_version_info", app, 1)
		e.With("client_id", client).Gauge("kafka_connect_start_time_seconds", "When the worker was started, in seconds since the epoch.", float64(c.started.UnixMilli())/1000)
	}
	for kind, prefix := range map[clientKind]string{producerClient: "kafka_producer_", consumerClient: "kafka_consumer_"} {
		if slices.Contains(c.compat, compatStrimzi) {
			t := v.metrics.traffic[kind]
			e.Gauge(prefix+"connection_count", "Connections of the tasks' clients to brokers.", float64(t.connections.Load()))
			e.Count(prefix+"incoming_byte_total", "Bytes that the tasks' clients have read.", t.in.Load())
			e.Count(prefix+"outgoing_byte_total", "Bytes that the tasks' clients have sent.", t.out.Load())
		}
	}
}

// countFigures concern the tasks of a connector: how many are in which state, and under ""
// how many there are.
func countFigures() (list []figure[map[string]int]) {
	for _, state := range []string{"", stateRunning, statePaused, stateFailed, stateUnassigned, stateRestarting, "DESTROYED"} {
		attribute, help := "connector-"+strings.ToLower(state)+"-task-count", "Tasks of the connector in this state."
		if state == "" {
			attribute, help = "connector-total-task-count", "Tasks of the connector."
		}
		list = append(list, figure[map[string]int]{groupWorker, attribute, help, func(n map[string]int) float64 { return float64(n[state]) }})
	}
	return list
}

func (c *collector) connector(e emit.Emitter, name string) {
	status, err := c.h.Status(name)
	if err != nil {
		return
	}
	d, _ := c.h.desired(name)
	e = e.With("connector", name)
	counts := map[string]int{"": len(status.Tasks)}
	for _, t := range status.Tasks {
		counts[t.State]++
	}
	for _, health := range []string{"healthy", "degraded", "failed", "paused", "stopped"} {
		e.With("health", health).Gauge(healthName, healthHelp, truth(health == healthOf(status)))
	}
	for _, t := range c.tables {
		tell(e, t.counts, counts)
		t.text(e, groupConnector, "status", strings.ToLower(status.Connector.State))
		t.text(e, groupConnector, "connector-type", status.Type)
		t.text(e, groupConnector, "connector-class", d.config["connector.class"])
		t.text(e, groupConnector, "connector-version", status.Connector.Version)
		for _, task := range status.Tasks {
			t.text(e.With("task", strconv.Itoa(task.ID)), groupTask, "status", strings.ToLower(task.State))
		}
	}
}

func (c *collector) task(e emit.Emitter, t *taskMetrics) {
	for _, s := range c.tables {
		tell(e, s.tasks, t)
		if t.source {
			tell(e, s.sources, t)
		} else {
			tell(e, s.sinks, t)
		}
	}
	for _, f := range c.own {
		f.tell(e, t)
	}
	if t.source {
		e.Histogram(lagName, lagHelp, &t.lag)
	}
	for class, reason := range classNames {
		e.With("reason", reason).Count(restartName, restartHelp, t.restarts[class].Load())
	}
	e.Gauge(strayName, strayHelp, float64(c.h.rt.strays.of(t.id)))
	t.each(func(f *pluginFigure) {
		e := e.With(f.labels...)
		if f.isGauge {
			e.Gauge("tidemill_"+f.name, "A figure of the plugin.", f.value())
		} else {
			e.Count("tidemill_"+f.name, "A figure of the plugin.", f.counter.Load())
		}
	})
}
