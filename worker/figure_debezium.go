package worker

import (
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/internal/emit"
	"github.com/tidemill/tidemill/internal/meter"
)

// changeSource is a source that captures the changes of a database, as figures tell of it.
type changeSource struct {
	task *taskMetrics
	lag  meter.Spread
}

// own returns a figure of the plugin's, or what it is while the plugin has not told it.
func own(name string, otherwise float64) func(changeSource) float64 {
	return func(s changeSource) float64 {
		if v, ok := s.task.own(name); ok {
			return v
		}
		return otherwise
	}
}

// sum adds figures.
func sum(of ...func(changeSource) float64) func(changeSource) float64 {
	return func(s changeSource) (v float64) {
		for _, f := range of {
			v += f(s)
		}
		return v
	}
}

// millis is a part of the lag in milliseconds.
func millis(of func(*meter.Spread) float64) func(changeSource) float64 {
	return func(s changeSource) float64 {
		if s.lag.Count == 0 {
			return unknown
		}
		return 1000 * of(&s.lag)
	}
}

// since is how long ago the time of a figure is, in milliseconds.
func since(name string) func(changeSource) float64 {
	at := own(name, 0)
	return func(s changeSource) float64 {
		if v := at(s); v > 0 {
			return max(0, float64(time.Now().UnixMicro())/1000-1000*v)
		}
		return unknown
	}
}

func scaled(by float64, of func(changeSource) float64) func(changeSource) float64 {
	return func(s changeSource) float64 { return by * of(s) }
}

// seen is how many events of the given kinds there were.
func seen(kinds ...string) func(changeSource) float64 {
	var of []func(changeSource) float64
	for _, k := range kinds {
		of = append(of, own("events_"+k+"_total", 0))
	}
	return sum(of...)
}

// skipped tells whether the source streams and has taken no snapshot.
func skipped(s changeSource) float64 {
	_, began := s.task.own("snapshot_running")
	if connected, _ := s.task.own("connected"); !began && connected == 1 {
		return 1
	}
	return 0
}

// The contexts of Debezium's figures.
const (
	contextStreaming = "streaming"
	contextSnapshot  = "snapshot"
)

// changeFigure is something that Debezium tells of a source: an attribute in a context, and
// under another name what it gives OpenTelemetry, each "" when there is none.
type changeFigure struct {
	attribute, otel string
	labels          []string // Of otel: names and values by turns.
	help            string
	read            func(changeSource) float64
}

// figuresOfEvents are those that both contexts have.
func figuresOfEvents(kinds []string, last string) []changeFigure {
	kind := []string{"debezium_event_type"}
	all := []changeFigure{
		{"TotalNumberOfEventsSeen", "", nil, "Events.", seen(kinds...)},
		{"MilliSecondsSinceLastEvent", "", nil, "How long ago the last event was, in milliseconds.", since(last)},
		{"", "debezium_event_time_since_last_seconds", nil, "How long ago the last event was.", scaled(0.001, since(last))},
	}
	for _, k := range kinds[:min(len(kinds), 3)] {
		all = append(all, changeFigure{"TotalNumberOf" + strings.ToUpper(k[:1]) + k[1:] + "EventsSeen", "debezium_event_count_total", append(kind[:1:1], k), "Events of this kind.", seen(k)})
	}
	return append(all,
		changeFigure{"NumberOfEventsFiltered", "debezium_event_filtered_count_total", nil, "Changes of tables that are not captured.", own("events_filtered_total", 0)},
		changeFigure{"NumberOfErroneousEvents", "debezium_event_erroneous_count_total", nil, "Events that could not be dealt with.", func(s changeSource) float64 { return float64(s.task.failures.Load()) }},
		changeFigure{"NumberOfUnchangedEventsSkipped", "debezium_event_skipped_count_total", nil, "Updates without a change, left out.", own("events_unchanged_total", 0)},
		changeFigure{"NumberOfEventsSkipped", "", nil, "Updates without a change, left out.", own("events_unchanged_total", 0)},
		changeFigure{"NumberOfSkippedEvents", "", nil, "Updates without a change, left out.", own("events_unchanged_total", 0)},
		changeFigure{"QueueTotalCapacity", "debezium_queue_limit", nil, "Records that may wait for the worker.", own("queue_total_capacity", unknown)},
		changeFigure{"QueueRemainingCapacity", "debezium_queue_remaining_capacity", nil, "Records that still have room to wait for the worker.", own("queue_remaining_capacity", unknown)},
		changeFigure{"MaxQueueSizeInBytes", "debezium_queue_size_limit_bytes", nil, "Bytes that may wait for the worker.", own("max_queue_size_in_bytes", unknown)},
		changeFigure{"CurrentQueueSizeInBytes", "debezium_queue_size_bytes", nil, "Bytes that wait for the worker.", own("current_queue_size_in_bytes", unknown)},
	)
}

// changeFigures are what Debezium tells of a source of PostgreSQL, by context.
func changeFigures() map[string][]changeFigure {
	quantile := func(part float64) func(changeSource) float64 {
		return millis(func(s *meter.Spread) float64 { return s.Quantile(part) })
	}
	const behind = "Time from commit to acknowledgement, in milliseconds"
	streaming := append(figuresOfEvents([]string{"create", "update", "delete", "truncate", "message"}, "last_change_timestamp_seconds"), []changeFigure{
		{"Connected", "debezium_connection_status", []string{"debezium_connection_state", "connected"}, "Whether the log is being read.", own("connected", 0)},
		{"MilliSecondsBehindSource", "", nil, behind + ": the last one.", millis(func(s *meter.Spread) float64 { return s.Last })},
		{"MilliSecondsBehindSourceMinValue", "", nil, behind + ": the shortest.", millis(func(s *meter.Spread) float64 { return s.Min })},
		{"MilliSecondsBehindSourceMaxValue", "", nil, behind + ": the longest.", millis(func(s *meter.Spread) float64 { return s.Max })},
		{"MilliSecondsBehindSourceAverageValue", "", nil, behind + ": the mean.", millis(func(s *meter.Spread) float64 { return s.Sum / float64(s.Count) })},
		{"MilliSecondsBehindSourceP50", "", nil, behind + ": the median, estimated.", quantile(0.5)},
		{"MilliSecondsBehindSourceP95", "", nil, behind + ": that of 95 in 100, estimated.", quantile(0.95)},
		{"MilliSecondsBehindSourceP99", "", nil, behind + ": that of 99 in 100, estimated.", quantile(0.99)},
		{"", "debezium_source_lag_seconds", nil, "Time from commit to acknowledgement: the last one.", scaled(0.001, millis(func(s *meter.Spread) float64 { return s.Last }))},
		{"NumberOfCommittedTransactions", "debezium_transaction_committed_count_total", nil, "Transactions read.", own("transactions_total", 0)},
	}...)
	snapshot := append(figuresOfEvents([]string{"read"}, "last_read_timestamp_seconds"), []changeFigure{
		{"TotalTableCount", "debezium_snapshot_table_count", nil, "Tables of the snapshot.", own("snapshot_tables", 0)},
		{"RemainingTableCount", "debezium_snapshot_table_remaining_count", nil, "Tables of the snapshot that are not read yet.", own("snapshot_tables_remaining", 0)},
		{"SnapshotDurationInSeconds", "debezium_snapshot_duration_seconds", nil, "How long the snapshot has taken.", own("snapshot_duration_seconds", 0)},
		{"SnapshotPausedDurationInSeconds", "debezium_snapshot_paused_duration_seconds", nil, "How long the snapshot was paused, which it never is.", func(changeSource) float64 { return 0 }},
	}...)
	for _, s := range []struct {
		name string
		read func(changeSource) float64
	}{
		{"Running", own("snapshot_running", 0)}, {"Completed", own("snapshot_completed", 0)}, {"Aborted", own("snapshot_aborted", 0)},
		{"Paused", func(changeSource) float64 { return 0 }}, {"Skipped", skipped},
	} {
		word := strings.ToLower(s.name)
		snapshot = append(snapshot, changeFigure{"Snapshot" + s.name, "debezium_snapshot_" + word, []string{"debezium_snapshot_" + word + "_state", word}, "Whether the snapshot is in this state.", s.read})
	}
	return map[string][]changeFigure{contextStreaming: streaming, contextSnapshot: snapshot}
}

// debezium tells of a source of changes under Debezium's names. Under those of JMX a topic
// prefix is one connector's: beans has those that were told of.
func (c *collector) debezium(e emit.Emitter, t *taskMetrics, prefix string, beans map[string]bool) {
	if _, ok := t.own("connected"); !ok || prefix == "" {
		return // It is not a source of that kind.
	}
	s := changeSource{task: t, lag: t.lag.Read()}
	jmx, otel := slices.Contains(c.compat, compatDebezium) && !beans[prefix], slices.Contains(c.compat, compatOtel)
	beans[prefix] = true
	for context, figures := range c.changes {
		bean := e.With("plugin", "postgres", "name", prefix, "context", context)
		meters := e.With("debezium_logical_name", prefix, "debezium_context", context, "service_name", t.id.Connector)
		for i := range figures {
			f := &figures[i]
			v := f.read(s)
			if jmx && f.attribute != "" {
				bean.Gauge("debezium_metrics_"+f.attribute, f.help, v)
			}
			if !otel || f.otel == "" {
				continue
			}
			if e := meters.With(f.labels...); strings.HasSuffix(f.otel, "_total") {
				e.Count(f.otel, f.help, int64(v))
			} else {
				e.Gauge(f.otel, f.help, v)
			}
		}
		if !jmx || context != contextSnapshot {
			continue
		}
		t.each(func(f *pluginFigure) {
			if f.name == "snapshot_rows" && len(f.labels) == 4 && f.labels[3] == "done" {
				bean.With("table", f.labels[1]).Gauge("debezium_metrics_RowsScanned", "Rows of the table that were read.", f.value())
			}
		})
	}
}
