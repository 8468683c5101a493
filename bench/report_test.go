package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReport writes a page from two runs and reads all of it again: plots are well
// formed and named, figures are where they belong.
func TestReport(t *testing.T) {
	missed := false
	own := run{Machine: machine{Tidemill: "1.2.3", Cores: 2}, Settings: map[string]string{"rows": "10"}, Figures: []figure{
		{Name: "source.stream.tx1000", What: "some rows", Unit: "changes/s", Value: 123_456, Min: 100_000, Max: 150_000, Limit: "pg_recvlogical", LimitValue: 200_000,
			Ratio: 0.61, CPU: 2.5, ServerCPU: 5, RSS: 120, Also: &limit{producerName, 1e6, 0.12}, Bound: "≥ 0.8 ×", Met: &missed},
		{Name: "worker.idle", Unit: "MB", Value: 38},
		{Name: "streams.window", Unit: "records/s", Value: 250_000, Limit: loopName, LimitValue: 1e6, Ratio: 0.25, CPU: 4, LimitCPU: 1, RSS: 70},
		{Name: "streams.query.p99_ms", Unit: "ms", Value: 1.5},
	}}
	other := run{Machine: machine{Debezium: "9.9"}, Figures: []figure{
		{Name: "debezium.tx1000.defaults", Unit: "records/s", Value: 90_000, Limit: "Debezium", LimitValue: 30_000, Ratio: 3, CPU: 4, LimitCPU: 20, RSS: 80, LimitRSS: 900},
		{Name: "debezium.latency.defaults.p50_ms", Unit: "ms", Value: 6, LimitValue: 250},
	}}
	streams := run{Machine: machine{KafkaStreams: "4.1"}, Settings: map[string]string{"postgres.x": "y"}, Figures: []figure{
		figure{Name: "kstreams.window.eos", Unit: "records/s", Value: 200_000, LimitValue: 100_000, Ratio: 2, CPU: 4, LimitCPU: 8, RSS: 70, LimitRSS: 700}.besideKStreams(),
	}}
	dir := t.TempDir()
	var files []string
	for name, r := range map[string]run{"bench.json": own, "debezium.json": other, "kstreams.json": streams} {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(dir, name))
		if err := os.WriteFile(files[len(files)-1], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "docs", "performance.md")
	if err := writeReport(files, out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"123,456 changes/s (100,000–150,000) | pg_recvlogical: 200,000; a bare producer: 1,000,000 | 0.61; 0.12 | 2.50 µs", "≥ 0.8 ×: **missed**", "| worker.idle |  | 38.0 MB |",
		"| tx1000.defaults |  | 90,000 records/s | 30,000 | 3.00 | 4.00 / 20.0 s |  |  | 80.0 / 900 MB |", "| Debezium | 9.9 |", "| rows | 10 |",
		"| window |  | 250,000 | 250,000 records/s (0.00–0.00) | a bare consumer and producer: 1,000,000 | 0.25 | 4.00 / 1.00 µs |", "| streams.query.p99_ms |  | 1.50 ms |",
		"| window.eos |  | 200,000 records/s | 100,000 | 2.00 | 4.00 / 8.00 s | 2.00 |", "70.0 / 700 MB | ≥ 1.5 × for each processor second (2.00 ×), ≤ 0.25 × the memory (0.10 ×): met |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	plots, _ := filepath.Glob(filepath.Join(dir, "docs", "performance", "*.svg"))
	if len(plots) != 10 {
		t.Error(plots)
	}
	for _, file := range plots {
		if !strings.Contains(string(text), "(performance/"+filepath.Base(file)+")") {
			t.Errorf("the page does not show %s", file)
		}
		wellFormed(t, file)
	}
	if strings.Contains(string(text), "postgres.x") {
		t.Error("a run without a database speaks of its settings")
	}
	if err := writeReport([]string{filepath.Join(dir, "nothing.json")}, out); err == nil {
		t.Error("a run that is not there")
	}
}

func wellFormed(t *testing.T, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := xml.NewDecoder(f)
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
}

func TestNiceStep(t *testing.T) {
	for most, want := range map[float64]float64{0: 1, 1: 0.2, 29: 5, 31: 10, 1_200_000: 200_000} {
		if got := niceStep(most); got != want {
			t.Errorf("up to %v in steps of %v, not %v", most, got, want)
		}
	}
}
