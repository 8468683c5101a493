package worker

import (
	"time"

	"github.com/tidemill/tidemill/internal/meter"
	"github.com/tidemill/tidemill/worker/fleet"
)

// workerView is a worker as figures tell of it.
type workerView struct {
	share   share
	place   fleet.State
	metrics *workerMetrics
}

// starts are the figures of attempts to start something.
func starts(kind string, of func(*workerMetrics) (attempts, failures int64)) []figure[workerView] {
	at := func(f func(attempts, failures int64) float64) func(workerView) float64 {
		return func(v workerView) float64 { return f(of(v.metrics)) }
	}
	return []figure[workerView]{
		{groupWorker, kind + "-startup-attempts-total", "Starts attempted.", at(func(n, _ int64) float64 { return float64(n) })},
		{groupWorker, kind + "-startup-success-total", "Starts that went well.", at(func(n, bad int64) float64 { return float64(n - bad) })},
		{groupWorker, kind + "-startup-failure-total", "Starts that failed.", at(func(_, bad int64) float64 { return float64(bad) })},
		{groupWorker, kind + "-startup-success-percentage", "Share of starts that went well.", at(func(n, bad int64) float64 { return percent(n-bad, bad) })},
		{groupWorker, kind + "-startup-failure-percentage", "Share of starts that failed.", at(func(n, bad int64) float64 { return percent(bad, n-bad) })},
	}
}

// workerFigures concern the whole worker.
func workerFigures() []figure[workerView] {
	list := []figure[workerView]{
		{groupWorker, "connector-count", "Connectors run by this worker.", func(v workerView) float64 { return float64(v.share.connectors) }},
		{groupWorker, "task-count", "Tasks run by this worker.", func(v workerView) float64 { return float64(v.share.tasks) }},
	}
	list = append(list, starts("connector", func(m *workerMetrics) (int64, int64) {
		return m.attempts.connector.Load(), m.failures.connector.Load()
	})...)
	return append(list, starts("task", func(m *workerMetrics) (int64, int64) {
		return m.attempts.task.Load(), m.failures.task.Load()
	})...)
}

// placeFigures concern the worker's place in its group.
func placeFigures() []figure[workerView] {
	list := []figure[workerView]{
		{groupPlace, "assigned-connectors", "Connectors assigned to this worker.", func(v workerView) float64 { return float64(v.share.connectors) }},
		{groupPlace, "assigned-tasks", "Tasks assigned to this worker.", func(v workerView) float64 { return float64(v.share.tasks) }},
		{groupRebalance, "epoch", "Generation of the group.", func(v workerView) float64 { return float64(v.place.Generation) }},
		{groupRebalance, "completed-rebalances-total", "Divisions of work.", func(v workerView) float64 { return float64(v.place.Rounds) }},
		{groupRebalance, "completed-rebalances", "Divisions of work.", func(v workerView) float64 { return float64(v.place.Rounds) }},
		{groupRebalance, "rebalancing", "Whether work is being divided anew.", func(v workerView) float64 {
			if v.metrics.dividing != nil && v.metrics.dividing() {
				return 1
			}
			return 0
		}},
		{groupRebalance, "time-since-last-rebalance-ms", "How long ago work was last divided, in milliseconds.", func(v workerView) float64 {
			if v.place.Divided.IsZero() {
				return unknown
			}
			return float64(time.Since(v.place.Divided).Milliseconds())
		}},
	}
	return append(list, window(groupRebalance, "rebalance", "-time-ms", "time of a division of work.", func(v workerView) *meter.Window { return &v.metrics.rebalanceTime })...)
}

// clientFigures concern the clients with which the worker itself speaks to the brokers.
func clientFigures() []figure[*traffic] {
	return []figure[*traffic]{
		{groupClient, "connection-count", "Connections to brokers.", func(t *traffic) float64 { return float64(t.connections.Load()) }},
		{groupClient, "connection-creation-total", "Connections made.", func(t *traffic) float64 { return float64(t.made.Load()) }},
		{groupClient, "connection-close-total", "Connections closed.", func(t *traffic) float64 { return float64(t.made.Load() - t.connections.Load()) }},
		{groupClient, "successful-authentication-rate", "Connections made in a second, authenticated where the brokers want it.", func(t *traffic) float64 { return t.making.Read().Rate }},
		{groupClient, "successful-authentication-total", "Connections made, authenticated where the brokers want it.", func(t *traffic) float64 { return float64(t.made.Load()) }},
		{groupClient, "failed-authentication-total", "Connections that the brokers refused for who asked.", func(t *traffic) float64 { return float64(t.refused.Load()) }},
		{groupClient, "failed-authentication", "Connections that the brokers refused for who asked.", func(t *traffic) float64 { return float64(t.refused.Load()) }},
		{groupClient, "incoming-byte-rate", "Bytes read in a second.", func(t *traffic) float64 { return t.reading.Read().Rate }},
		{groupClient, "incoming-byte-total", "Bytes read.", func(t *traffic) float64 { return float64(t.in.Load()) }},
		{groupClient, "outgoing-byte-rate", "Bytes sent in a second.", func(t *traffic) float64 { return t.writing.Read().Rate }},
		{groupClient, "outgoing-byte-total", "Bytes sent.", func(t *traffic) float64 { return float64(t.out.Load()) }},
		{groupClient, "request-rate", "Requests in a second.", func(t *traffic) float64 { return perSecond(&t.writing) }},
		{groupClient, "request-total", "Requests.", func(t *traffic) float64 { return float64(t.requests.Load()) }},
		{groupClient, "request-size-avg", "Mean size of a request, in bytes.", func(t *traffic) float64 { return t.writing.Read().Avg }},
		{groupClient, "request-size-max", "Maximum size of a request, in bytes.", func(t *traffic) float64 { return t.writing.Read().Max }},
		{groupClient, "response-rate", "Answers in a second.", func(t *traffic) float64 { return perSecond(&t.reading) }},
		{groupClient, "response-total", "Answers.", func(t *traffic) float64 { return float64(t.answers.Load()) }},
		{groupClient, "network-io-rate", "Requests and answers in a second.", func(t *traffic) float64 { return perSecond(&t.writing) + perSecond(&t.reading) }},
		{groupClient, "network-io-total", "Requests and answers.", func(t *traffic) float64 { return float64(t.requests.Load() + t.answers.Load()) }},
		{groupClient, "io-ratio", "Share of the time spent with reading and writing.", func(t *traffic) float64 { return t.busy.Read().Rate }},
	}
}
