package worker

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/internal/emit"
	"github.com/tidemill/tidemill/internal/meter"
)

// figure is something that is told of whatever T is, under the group and attribute that it
// has in Kafka Connect.
type figure[T any] struct {
	group, attribute, help string
	read                   func(T) float64 // NaN while it is not known.
}

// The groups of Kafka Connect's metrics.
const (
	groupWorker    = "connect-worker-metrics"
	groupRebalance = "connect-worker-rebalance-metrics"
	groupPlace     = "connect-coordinator-metrics"
	groupClient    = "connect-metrics"
	groupConnector = "connector-metrics"
	groupTask      = "connector-task-metrics"
	groupSource    = "source-task-metrics"
	groupSink      = "sink-task-metrics"
	groupFaults    = "task-error-metrics"
)

// The spellings of metrics.compat: whose names figures are told under.
const (
	compatDebezium = "debezium-jmx"
	compatOtel     = "debezium-otel"
	compatConnect  = "connect"
	compatStrimzi  = "strimzi"
	compatExamples = "debezium-examples"
)

var compatNames = []string{compatDebezium, compatOtel, compatConnect, compatStrimzi, compatExamples}

// spelling makes names of groups and attributes, as one of the widespread configurations of
// exporters does.
type spelling struct {
	// prefix returns what names of the group begin with, "" when they are not told.
	prefix func(group string) string
	// client is the label that names a client, whole the labels of what concerns the whole
	// worker.
	client string
	whole  []string
	// plain tells that a group's texts share the group's name, each as a label.
	plain bool
}

// spellings returns those of the names that follow Kafka Connect's groups.
func spellings(compat []string) (list []spelling) {
	snake := strings.NewReplacer("-", "_")
	for _, s := range []struct {
		name string
		spelling
	}{
		{compatConnect, spelling{client: "client_id", plain: true, whole: []string{"connector", "aggregate"}, prefix: func(group string) string {
			return "kafka_connect_" + snake.Replace(group) + "_"
		}}},
		{compatStrimzi, spelling{client: "client_id", prefix: func(group string) string {
			return "kafka_connect_" + snake.Replace(strings.TrimPrefix(strings.TrimSuffix(group, "metrics"), "connect-"))
		}}},
		{compatExamples, spelling{client: "client", prefix: func(group string) string {
			switch group {
			case groupWorker:
				return "kafka_connect_worker_metrics_"
			case groupClient:
				return "kafka_connect_metrics_"
			}
			return ""
		}}},
	} {
		if slices.Contains(compat, s.name) {
			list = append(list, s.spelling)
		}
	}
	return list
}

// told is a figure with its name in one spelling.
type told[T any] struct {
	figure[T]
	name  string
	count bool
}

// name makes the names of figures. One is a counter only if its name says so, as
// OpenMetrics wants it: others would be given another name there.
func name[T any](s spelling, figures []figure[T]) (list []told[T]) {
	for _, f := range figures {
		if prefix := s.prefix(f.group); prefix != "" {
			full := prefix + strings.ReplaceAll(f.attribute, "-", "_")
			list = append(list, told[T]{f, full, strings.HasSuffix(full, "_total")})
		}
	}
	return list
}

// tell sends figures of one thing.
func tell[T any](e emit.Emitter, list []told[T], of T) {
	for i := range list {
		f := &list[i]
		if v := f.read(of); f.count {
			e.Count(f.name, f.help, int64(v))
		} else {
			e.Gauge(f.name, f.help, v)
		}
	}
}

// text sends an attribute that is a text, as a label.
func (s spelling) text(e emit.Emitter, group, attribute, value string) {
	prefix, attribute := s.prefix(group), strings.ReplaceAll(attribute, "-", "_")
	if prefix == "" {
		return
	}
	const help = "A text, as a label."
	e = e.With(attribute, value)
	if s.plain {
		e.Gauge(strings.TrimSuffix(prefix, "_"), help, 1)
		e.Gauge(prefix+attribute+"_info", help, 1)
		return
	}
	e.Gauge(prefix+attribute, help, 1)
}

// unknown stands for what is not known.
var unknown = math.NaN()

// window returns a figure of each of what a window holds, under the names that Kafka's
// metrics have for them.
func window[T any](group, attribute, unit, help string, of func(T) *meter.Window) []figure[T] {
	return []figure[T]{
		{group, attribute + "-max" + unit, "Maximum " + help, func(t T) float64 { return of(t).Read().Max }},
		{group, attribute + "-avg" + unit, "Mean " + help, func(t T) float64 { return of(t).Read().Avg }},
	}
}

// checkCompat is the check of metrics.compat.
func checkCompat(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(compatNames, name) {
			return fmt.Errorf("%q is none of %s", name, strings.Join(compatNames, ", "))
		}
	}
	return nil
}
