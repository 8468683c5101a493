package worker

import (
	"math"
	"strconv"
)

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
