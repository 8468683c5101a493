package worker

import (
	"math"
	"strconv"

	"github.com/tidemill/tidemill/internal/emit"
)

func (c *collector) task(e emit.Emitter, t *taskMetrics) {
	e = e.With("connector", t.id.Connector, "task", strconv.Itoa(t.id.Task))
	const task = "kafka_connect_connector_task_"
	commits, failed := t.commits.Load(), t.commitFailures.Load()
	e.Gauge(task+"offset_commit_success_percentage", "Share of offset commits that went well.", percent(commits, failed))
	e.Gauge(task+"offset_commit_failure_percentage", "Share of offset commits that failed.", percent(failed, commits))
	e.Window(task+"offset_commit", "_time_ms", "time of an offset commit.", &t.commitTime)
	e.Window(task+"batch_size", "", "number of records in a batch.", &t.batchSize)
	if t.source {
		c.source(e, t)
	} else {
		c.sink(e, t)
	}
	const faults = "kafka_connect_task_error_"
	e.Count(faults+"total_record_failures", "Records that could not be dealt with.", t.failures.Load())
	e.Count(faults+"total_record_errors", "Errors, repeated ones included.", t.errors.Load())
	e.Count(faults+"total_records_skipped", "Records left out.", t.skipped.Load())
	e.Count(faults+"total_retries", "Operations tried again.", t.retries.Load())
	e.Count(faults+"total_errors_logged", "Errors logged.", t.logged.Load())
	e.Count(faults+"deadletterqueue_produce_requests", "Letters sent to the dead letter queue.", t.letters.Load())
	e.Count(faults+"deadletterqueue_produce_failures", "Letters that could not be sent.", t.letterFailures.Load())
	e.Gauge(faults+"last_error_timestamp", "When the last error was, in milliseconds since the epoch.", float64(t.lastError.Load()))
	e.Count("tidemill_task_restarts_total", "Restarts after a failure.", t.restarts.Load())
	e.Gauge("tidemill_task_memory_bytes", "Bytes of records the task holds.", float64(t.holds.bytes()))
	e.Gauge("tidemill_task_memory_max_bytes", "Bytes of records the task may hold: its part of memory.max.bytes.", float64(t.memoryMost.Load()))
	e.Gauge("tidemill_task_abandoned", "Former runs of the task that did not stop in time and still run.", float64(c.h.rt.strays.of(t.id)))
	t.plugin.Range(func(name, value any) bool {
		f := value.(*pluginFigure)
		if f.isGauge {
			e.Gauge("tidemill_"+name.(string), "A figure of the plugin.", math.Float64frombits(f.gauge.Load()))
		} else {
			e.Count("tidemill_"+name.(string), "A figure of the plugin.", f.counter.Load())
		}
		return true
	})
}

func (c *collector) source(e emit.Emitter, t *taskMetrics) {
	const source = "kafka_connect_source_task_"
	e.Count(source+"source_record_poll_total", "Records polled.", t.polled.Load())
	e.Count(source+"source_record_write_total", "Records written to Kafka.", t.written.Load())
	e.Gauge(source+"source_record_poll_rate", "Records polled in a second.", t.batchSize.Read().Rate)
	e.Gauge(source+"source_record_active_count", "Records polled and not yet written.", float64(t.active.Load()))
	e.Window(source+"poll_batch", "_time_ms", "time of a poll.", &t.pollTime)
	e.Window(source+"transaction_size", "", "number of records in a transaction.", &t.txnSize)
}

func (c *collector) sink(e emit.Emitter, t *taskMetrics) {
	const sink = "kafka_connect_sink_task_"
	e.Count(sink+"sink_record_read_total", "Records read from Kafka.", t.read.Load())
	e.Count(sink+"sink_record_send_total", "Records put to the task.", t.sent.Load())
	e.Gauge(sink+"sink_record_send_rate", "Records put to the task in a second.", t.batchSize.Read().Rate)
	e.Gauge(sink+"partition_count", "Partitions the task reads.", float64(t.partitions.Load()))
	e.Gauge(sink+"offset_commit_seq_no", "Number of the last offset commit.", float64(t.commitSeq.Load()))
	e.Count(sink+"offset_commit_completion_total", "Offset commits that went well.", t.commits.Load())
	e.Count(sink+"offset_commit_skip_total", "Offset commits with nothing to commit.", t.commitSkips.Load())
	e.Gauge(sink+"sink_record_active_count", "Records put and not yet committed.", float64(t.active.Load()))
	e.Window(sink+"put_batch", "_time_ms", "time of a put.", &t.putTime)
}
