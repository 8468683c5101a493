package worker

import (
	"sync/atomic"

	"github.com/tidemill/tidemill/internal/meter"
)

// counted is a figure that is a counter.
func counted(group, attribute, help string, of func(*taskMetrics) *atomic.Int64) figure[*taskMetrics] {
	return figure[*taskMetrics]{group, attribute, help, func(t *taskMetrics) float64 { return float64(of(t).Load()) }}
}

// rated is a figure that is the rate of what a window holds.
func rated(group, attribute, help string, of func(*taskMetrics) *meter.Window) figure[*taskMetrics] {
	return figure[*taskMetrics]{group, attribute, help, func(t *taskMetrics) float64 { return of(t).Read().Rate }}
}

// taskFigures are those of every task.
func taskFigures() []figure[*taskMetrics] {
	list := []figure[*taskMetrics]{
		{groupTask, "running-ratio", "Share of its time that the task was running.", func(t *taskMetrics) float64 { return t.states.share(stateRunning) }},
		{groupTask, "pause-ratio", "Share of its time that the task was paused.", func(t *taskMetrics) float64 { return t.states.share(statePaused) }},
		{groupTask, "offset-commit-success-percentage", "Share of offset commits that went well.", func(t *taskMetrics) float64 { return percent(t.commits.Load(), t.commitFailures.Load()) }},
		{groupTask, "offset-commit-failure-percentage", "Share of offset commits that failed.", func(t *taskMetrics) float64 { return percent(t.commitFailures.Load(), t.commits.Load()) }},
		counted(groupFaults, "total-record-failures", "Records that could not be dealt with.", func(t *taskMetrics) *atomic.Int64 { return &t.failures }),
		counted(groupFaults, "total-record-errors", "Errors, repeated ones included.", func(t *taskMetrics) *atomic.Int64 { return &t.errors }),
		counted(groupFaults, "total-records-skipped", "Records left out.", func(t *taskMetrics) *atomic.Int64 { return &t.skipped }),
		counted(groupFaults, "total-retries", "Operations tried again.", func(t *taskMetrics) *atomic.Int64 { return &t.retries }),
		counted(groupFaults, "total-errors-logged", "Errors logged.", func(t *taskMetrics) *atomic.Int64 { return &t.logged }),
		counted(groupFaults, "deadletterqueue-produce-requests", "Letters sent to the dead letter queue.", func(t *taskMetrics) *atomic.Int64 { return &t.letters }),
		counted(groupFaults, "deadletterqueue-produce-failures", "Letters that could not be sent.", func(t *taskMetrics) *atomic.Int64 { return &t.letterFailures }),
		counted(groupFaults, "last-error-timestamp", "When the last error was, in milliseconds since the epoch; 0 for never.", func(t *taskMetrics) *atomic.Int64 { return &t.lastError }),
	}
	list = append(list, window(groupTask, "offset-commit", "-time-ms", "time of an offset commit.", func(t *taskMetrics) *meter.Window { return &t.commitTime })...)
	return append(list, window(groupTask, "batch-size", "", "number of records in a batch.", func(t *taskMetrics) *meter.Window { return &t.batchSize })...)
}

// sourceFigures are those of tasks of sources.
func sourceFigures() []figure[*taskMetrics] {
	list := []figure[*taskMetrics]{
		counted(groupSource, "source-record-poll-total", "Records polled.", func(t *taskMetrics) *atomic.Int64 { return &t.polled }),
		rated(groupSource, "source-record-poll-rate", "Records polled in a second.", func(t *taskMetrics) *meter.Window { return &t.batchSize }),
		counted(groupSource, "source-record-write-total", "Records written to Kafka.", func(t *taskMetrics) *atomic.Int64 { return &t.written }),
		rated(groupSource, "source-record-write-rate", "Records written to Kafka in a second.", func(t *taskMetrics) *meter.Window { return &t.writes }),
		counted(groupSource, "source-record-active-count", "Records polled and not yet written.", func(t *taskMetrics) *atomic.Int64 { return &t.active }),
		{groupSource, "transaction-size-min", "Minimum number of records in a transaction.", func(t *taskMetrics) float64 { return t.txnSize.Read().Min }},
	}
	list = append(list, window(groupSource, "source-record-active-count", "", "number of records polled and not yet written.", func(t *taskMetrics) *meter.Window { return &t.activity })...)
	list = append(list, window(groupSource, "poll-batch", "-time-ms", "time of a poll.", func(t *taskMetrics) *meter.Window { return &t.pollTime })...)
	return append(list, window(groupSource, "transaction-size", "", "number of records in a transaction.", func(t *taskMetrics) *meter.Window { return &t.txnSize })...)
}

// sinkFigures are those of tasks of sinks.
func sinkFigures() []figure[*taskMetrics] {
	list := []figure[*taskMetrics]{
		counted(groupSink, "sink-record-read-total", "Records read from Kafka.", func(t *taskMetrics) *atomic.Int64 { return &t.read }),
		rated(groupSink, "sink-record-read-rate", "Records read from Kafka in a second.", func(t *taskMetrics) *meter.Window { return &t.reads }),
		counted(groupSink, "sink-record-send-total", "Records put to the task.", func(t *taskMetrics) *atomic.Int64 { return &t.sent }),
		rated(groupSink, "sink-record-send-rate", "Records put to the task in a second.", func(t *taskMetrics) *meter.Window { return &t.batchSize }),
		counted(groupSink, "sink-record-lag-max", "Records that the partition furthest behind still has, as of the last fetch.", func(t *taskMetrics) *atomic.Int64 { return &t.lagMax }),
		counted(groupSink, "partition-count", "Partitions the task reads.", func(t *taskMetrics) *atomic.Int64 { return &t.partitions }),
		counted(groupSink, "offset-commit-seq-no", "Number of the last offset commit.", func(t *taskMetrics) *atomic.Int64 { return &t.commitSeq }),
		counted(groupSink, "offset-commit-completion-total", "Offset commits that went well.", func(t *taskMetrics) *atomic.Int64 { return &t.commits }),
		{groupSink, "offset-commit-completion-rate", "Offset commits that went well in a second.", func(t *taskMetrics) float64 { return perSecond(&t.commitTime) }},
		counted(groupSink, "offset-commit-skip-total", "Offset commits with nothing to commit.", func(t *taskMetrics) *atomic.Int64 { return &t.commitSkips }),
		rated(groupSink, "offset-commit-skip-rate", "Offset commits with nothing to commit in a second.", func(t *taskMetrics) *meter.Window { return &t.skips }),
		counted(groupSink, "sink-record-active-count", "Records put and not yet committed.", func(t *taskMetrics) *atomic.Int64 { return &t.active }),
	}
	list = append(list, window(groupSink, "sink-record-active-count", "", "number of records put and not yet committed.", func(t *taskMetrics) *meter.Window { return &t.activity })...)
	return append(list, window(groupSink, "put-batch", "-time-ms", "time of a put.", func(t *taskMetrics) *meter.Window { return &t.putTime })...)
}

// perSecond is how many measurements a window has in a second.
func perSecond(w *meter.Window) float64 {
	f := w.Read()
	if f.Sum == 0 {
		return 0
	}
	return f.Rate * float64(f.Count) / f.Sum
}

func percent(good, bad int64) float64 {
	if good+bad == 0 {
		return 0
	}
	return float64(good) / float64(good+bad)
}
