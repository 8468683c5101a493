package worker

import "github.com/tidemill/tidemill/internal/emit"

// ownFigure is a figure of a task that Kafka Connect has not.
type ownFigure struct {
	name, help string
	tell       func(emit.Emitter, *taskMetrics)
}

// gaugeOf and countOf are figures of their kind.
func gaugeOf(name, help string, read func(*taskMetrics) float64) ownFigure {
	return ownFigure{name, help, func(e emit.Emitter, t *taskMetrics) { e.Gauge(name, help, read(t)) }}
}

func countOf(name, help string, read func(*taskMetrics) int64) ownFigure {
	return ownFigure{name, help, func(e emit.Emitter, t *taskMetrics) { e.Count(name, help, read(t)) }}
}

// ownFigures are those of every task, in base units.
func ownFigures() []ownFigure {
	return []ownFigure{
		gaugeOf("tidemill_task_memory_bytes", "Bytes of records the task holds.", func(t *taskMetrics) float64 { return float64(t.holds.bytes()) }),
		gaugeOf("tidemill_task_memory_max_bytes", "Bytes of records the task may hold: its part of memory.max.bytes.", func(t *taskMetrics) float64 { return float64(t.memoryMost.Load()) }),
	}
}

// What is told besides.
const (
	lagName     = "tidemill_source_lag_seconds"
	lagHelp     = "Time from the commit of a transaction in the source to Kafka's acknowledgement, of the last one of each batch: a histogram."
	strayName   = "tidemill_task_abandoned"
	strayHelp   = "Former runs of the task that did not stop in time and still run."
	restartName = "tidemill_task_restarts_total"
	restartHelp = "Restarts after a failure, by its class: retriable, fatal, record or config."
	healthName  = "tidemill_connector_health"
	healthHelp  = "1 for what the connector is: healthy, degraded (some of its tasks do not run), failed, paused or stopped; 0 for what it is not."
	buildName   = "tidemill_build_info"
	buildHelp   = "What the worker was built from, as labels."
	spansName   = "tidemill_trace_spans_total"
	spansHelp   = "Spans of traces: sent to the collector, dropped because too many waited, or failed because the collector did not take them. Only with tracing.endpoint."
)

// ownOthers are their names, labels and meanings.
func ownOthers() [][3]string {
	return [][3]string{
		{lagName, "connector, task (sources)", lagHelp}, {strayName, "connector, task", strayHelp}, {restartName, "connector, task, reason", restartHelp},
		{healthName, "connector, health", healthHelp}, {buildName, "version, commit, goversion", buildHelp}, {spansName, "outcome", spansHelp},
	}
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// healthOf returns how a connector does. One that runs with tasks that do not is not
// healthy.
func healthOf(s ConnectorStatus) string {
	switch s.Connector.State {
	case stateStopped:
		return "stopped"
	case stateFailed:
		return "failed"
	}
	running, paused := 0, 0
	for _, t := range s.Tasks {
		switch t.State {
		case stateRunning:
			running++
		case statePaused:
			paused++
		}
	}
	switch {
	case s.Connector.State == statePaused && paused == len(s.Tasks):
		return "paused"
	case s.Connector.State == stateRunning && running == len(s.Tasks) && running > 0:
		return "healthy"
	case running == 0 && paused == 0 && allFailed(s.Tasks):
		return "failed"
	}
	return "degraded"
}

func allFailed(tasks []TaskStatus) bool {
	for _, t := range tasks {
		if t.State != stateFailed {
			return false
		}
	}
	return len(tasks) > 0
}
