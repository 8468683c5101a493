package worker

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update.docs", false, "write docs/metrics.md anew")

// TestMetricsDoc keeps the lists of docs/metrics.md to what the worker tells. With
// -update.docs it writes them.
func TestMetricsDoc(t *testing.T) {
	const file, begin, end = "../docs/metrics.md", "<!-- begin: written by go test ./worker -run TestMetricsDoc -update.docs -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(file)
	must(t, err)
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s lacks %q or %q", file, begin, end)
	}
	want := head + begin + metricsDoc() + end + tail
	if *update {
		must(t, os.WriteFile(file, []byte(want), 0o644))
		return
	}
	if want != string(text) {
		t.Errorf("%s is not what the worker tells: go test ./worker -run TestMetricsDoc -update.docs", file)
	}
}

func metricsDoc() string {
	var b strings.Builder
	b.WriteString("\n### The worker's own\n\n| name | labels | what it is |\n|---|---|---|\n")
	for _, f := range ownFigures() {
		fmt.Fprintf(&b, "| `%s` | connector, task | %s |\n", f.name, f.help)
	}
	for _, f := range ownOthers() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f[0], f[1], f[2])
	}
	b.WriteString("\n### Kafka Connect's\n\n| `connect` | `strimzi` | labels | what it is |\n|---|---|---|---|\n")
	s := spellings([]string{compatConnect, compatStrimzi})
	rowsOf(&b, s, workerFigures(), "connector=\"aggregate\" (`connect`)")
	rowsOf(&b, s, placeFigures(), "")
	rowsOf(&b, s, clientFigures(), "client_id")
	rowsOf(&b, s, countFigures(), "connector")
	for _, list := range [][]figure[*taskMetrics]{taskFigures(), sourceFigures(), sinkFigures()} {
		rowsOf(&b, s, list, "connector, task")
	}
	b.WriteString("\n### Debezium's\n\nLabels of `debezium-jmx`: plugin, name (the topic prefix), context. Of `debezium-otel`: debezium_logical_name, debezium_context,\nservice_name (the connector), and those that are named.\n\n| context | `debezium-jmx` | `debezium-otel` | what it is |\n|---|---|---|---|\n")
	changes := changeFigures()
	for _, context := range slices.Sorted(maps.Keys(changes)) {
		for _, f := range changes[context] {
			jmx, otel := "", ""
			if f.attribute != "" {
				jmx = "`debezium_metrics_" + f.attribute + "`"
			}
			if f.otel != "" {
				otel = "`" + f.otel + "`"
				if len(f.labels) > 0 {
					otel = fmt.Sprintf("`%s{%s=%q}`", f.otel, f.labels[0], f.labels[1])
				}
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", context, jmx, otel, f.help)
		}
	}
	fmt.Fprintf(&b, "| %s | `debezium_metrics_RowsScanned` with the label table | | Rows of the table that were read. |\n\n", contextSnapshot)
	return b.String()
}

func rowsOf[T any](b *strings.Builder, s []spelling, list []figure[T], labels string) {
	one, other := name(s[0], list), name(s[1], list)
	for i, f := range list {
		fmt.Fprintf(b, "| `%s` | `%s` | %s | %s |\n", one[i].name, other[i].name, labels, f.help)
	}
}
