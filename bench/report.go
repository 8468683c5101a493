package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// defaultRuns are the files a report is made of unless others are named; all but the
// first may be missing.
var defaultRuns = []string{"bench/out/bench.json", "bench/out/debezium.json", "bench/out/kstreams.json"}

// writeReport writes a page of Markdown about earlier runs to out, and its plots to the
// folder of the same name, with the runs' own files.
func writeReport(files []string, out string) error {
	if out == "" {
		out = "docs/performance.md"
	}
	optional := len(files) == 0
	if optional {
		files = defaultRuns
	}
	dir := strings.TrimSuffix(out, ".md")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	p := &page{dir: dir}
	for i, file := range files {
		text, err := os.ReadFile(file)
		if optional && i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading a run, which `make bench` or `make bench-debezium` writes: %w", err)
		}
		var r run
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("%s is no run of the benchmark: %w", file, err)
		}
		p.runs = append(p.runs, r)
		p.files = append(p.files, savedFile{filepath.Base(file), text})
	}
	p.write()
	if err := os.WriteFile(out, []byte(p.text.String()), 0o644); err != nil {
		return err
	}
	for _, f := range p.files {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.text, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("wrote %s and %d files in %s\n", out, len(p.files), dir)
	return nil
}

// savedFile goes beside the page.
type savedFile struct {
	name string
	text []byte
}

// page is the report while it is written.
type page struct {
	dir   string
	runs  []run
	text  strings.Builder
	files []savedFile
}

func (p *page) say(format string, args ...any) { fmt.Fprintf(&p.text, format+"\n", args...) }

// figures returns those whose name starts with a prefix, of all runs.
func (p *page) figures(prefixes ...string) (all []figure) {
	for _, r := range p.runs {
		for _, f := range r.Figures {
			if slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(f.Name, prefix) }) {
				all = append(all, f)
			}
		}
	}
	return all
}

// draw saves a plot and shows it on the page.
func (p *page) draw(name string, pl plot) {
	if len(pl.rows) == 0 {
		return
	}
	p.files = append(p.files, savedFile{name + ".svg", []byte(pl.svg())})
	p.say("![%s](%s/%s.svg)\n", pl.title, filepath.Base(p.dir), name)
}

func (p *page) write() {
	p.say(`# Performance

This page and its plots are written by %s from the runs whose figures stand beside it, in [%[2]s](%[2]s). Every
figure stands beside a limit that was measured in the same run, in turn with it. Machines differ, and so do two runs on one
machine; the ratios differ less. %s repeats all of it, %s and %s
the comparisons with Debezium and with Kafka Streams.
[How to read it, and what exactly is measured](../bench/README.md).
`, "`make bench-report`", filepath.Base(p.dir), "`make bench`", "`make bench-debezium`", "`make bench-kstreams`")
	for _, r := range p.runs {
		p.machine(r)
	}
	if all := p.figures("source.", "worker.", "demo."); len(all) > 0 {
		p.own(all)
	}
	if all := p.figures("connectors.", "fleet."); len(all) > 0 {
		p.say("## Many connectors, and a fleet of workers\n")
		p.small(all)
	}
	if all := p.figures("streams."); len(all) > 0 {
		p.streams(all)
	}
	if all := p.figures("debezium."); len(all) > 0 {
		p.debezium(all)
	}
	if all := p.figures("kstreams."); len(all) > 0 {
		p.kstreams(all)
	}
}

// machine says where a run was made and with what.
func (p *page) machine(r run) {
	title := "The run"
	switch {
	case r.Machine.Debezium != "":
		title = "The run with Debezium"
	case r.Machine.KafkaStreams != "":
		title = "The run with Kafka Streams"
	}
	m := r.Machine
	p.say("## %s\n\n| | |\n|---|---|", title)
	for _, line := range [][2]string{
		{"date", m.Date}, {"machine", fmt.Sprintf("%d cores, %s, %.0f GB, shared by PostgreSQL, the broker and the worker", m.Cores, m.Processor, m.MemoryGB)},
		{"system", m.System}, {"load before", m.Load}, {"tidemill", m.Tidemill}, {"PostgreSQL", m.Postgres}, {"broker", m.Broker},
		{"Debezium", m.Debezium}, {"Kafka Connect", m.Connect}, {"Kafka Streams", m.KafkaStreams}, {"Java", m.Java},
	} {
		if line[1] != "" {
			p.say("| %s | %s |", line[0], line[1])
		}
	}
	names := make([]string, 0, len(r.Settings))
	for name := range r.Settings {
		if m.Postgres != "" || !strings.HasPrefix(name, "postgres.") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		p.say("| %s | %s |", name, r.Settings[name])
	}
	p.say("")
}

// own writes what tidemill does beside its limits.
func (p *page) own(all []figure) {
	p.say("## Streaming and snapshots\n")
	p.say("Records are Avro with a registry and full envelopes, in Kafka, at least once unless it is said otherwise; %s\n",
		"`pg_recvlogical` and `psql` throw away what they read. A line over a bar goes from the slowest round to the fastest.")
	rates := plot{title: "Changes or rows a second, beside the limit of the same run", unit: "a second", series: []string{"tidemill", "its limit"}}
	processor := plot{title: "Processor time for a million changes or rows", unit: "seconds", series: []string{"worker", "PostgreSQL", "broker"}, stacked: true}
	peaks := plot{title: "Peak memory of the worker", unit: "MB", series: []string{"tidemill"}}
	var moving, rest []figure
	for _, f := range all {
		label := strings.TrimPrefix(f.Name, "source.")
		if !strings.HasSuffix(f.Unit, "/s") {
			rest = append(rest, f)
			continue
		}
		if moving = append(moving, f); strings.HasSuffix(f.Name, ".tables1000") {
			continue // The making of a thousand topics would dwarf all else.
		}
		rates.rows = append(rates.rows, plotRow{label: label, values: []float64{f.Value, f.LimitValue}, low: f.Min, high: f.Max})
		processor.rows = append(processor.rows, plotRow{label: label, values: []float64{f.CPU, f.ServerCPU, f.BrokerCPU}})
		peaks.rows = append(peaks.rows, plotRow{label: label, values: []float64{f.RSS}})
	}
	p.draw("rates", rates)
	p.rates(moving)
	p.draw("processor", processor)
	p.draw("memory", peaks)
	p.say("## Latency, and a worker with nothing to do\n")
	p.small(rest)
}

// rates is the table of figures that have a rate.
func (p *page) rates(all []figure) {
	p.say("| | what | measured | limit | ratio | worker CPU | server CPU | allocations | peak | wanted |")
	p.say("|---|---|---|---|---|---|---|---|---|---|")
	for _, f := range all {
		limits, ratios := "", ""
		if f.Limit != "" {
			limits, ratios = fmt.Sprintf("%s: %s", f.Limit, number(f.LimitValue)), number(f.Ratio)
		}
		if f.Also != nil {
			limits += fmt.Sprintf("; %s: %s", f.Also.Name, number(f.Also.Value))
			ratios += "; " + number(f.Also.Ratio)
		}
		p.say("| %s | %s | %s %s (%s–%s) | %s | %s | %s µs | %s µs%s | %s, %s B | %s MB | %s |", strings.TrimPrefix(f.Name, "source."), f.What,
			number(f.Value), f.Unit, number(f.Min), number(f.Max), limits, ratios, number(f.CPU), number(f.ServerCPU), beside(f.LimitServerCPU),
			number(f.Allocations), number(f.AllocatedBytes), number(f.RSS), verdict(f))
	}
	p.say("\nProcessor time, allocations and bytes are for one change or row; in brackets, the server's while it serves the limit.\n")
}

func beside(v float64) string {
	if v == 0 {
		return ""
	}
	return " (" + number(v) + ")"
}

func verdict(f figure) string {
	if f.Met == nil {
		return ""
	}
	return f.Bound + map[bool]string{true: ": met", false: ": **missed**"}[*f.Met]
}

// small is the table of all other figures.
func (p *page) small(all []figure) {
	p.say("| | what | measured | limit | wanted |\n|---|---|---|---|---|")
	for _, f := range all {
		limits, cpu := "", ""
		if f.Limit != "" {
			limits = fmt.Sprintf("%s: %s %s", f.Limit, number(f.LimitValue), f.Unit)
		}
		if f.CPU > 0 {
			cpu = fmt.Sprintf(", processor %s s", number(f.CPU))
		}
		p.say("| %s | %s | %s %s%s | %s | %s |", f.Name, f.What, number(f.Value), f.Unit, cpu, limits, verdict(f))
	}
	p.say("")
}

// debezium writes the comparison.
func (p *page) debezium(all []figure) {
	p.say("## Beside Debezium\n")
	p.say("Both sides read the same log and the same tables of one server into one broker, in turn, with the same converters. The first round of\n" +
		"each warms it up and does not count. Rates run from the first record to the last; the time until the first is a figure of its own.\n")
	series := []string{"tidemill", "Debezium"}
	rates := plot{title: "Records a second", unit: "a second", series: series}
	processor := plot{title: "Processor time of the worker for a million records", unit: "seconds", series: series}
	peaks := plot{title: "Peak memory of the worker", unit: "MB", series: series}
	late := plot{title: "From commit to a consumer", unit: "ms", series: series}
	for _, f := range all {
		row := plotRow{label: strings.TrimPrefix(f.Name, "debezium."), values: []float64{f.Value, f.LimitValue}}
		switch {
		case strings.HasSuffix(f.Unit, "/s"):
			row.low, row.high = f.Min, f.Max
			rates.rows = append(rates.rows, row)
			processor.rows = append(processor.rows, plotRow{label: row.label, values: []float64{f.CPU, f.LimitCPU}})
			peaks.rows = append(peaks.rows, plotRow{label: row.label, values: []float64{f.RSS, f.LimitRSS}})
		case f.Unit == "ms":
			late.rows = append(late.rows, row)
		}
	}
	p.draw("debezium-rates", rates)
	p.draw("debezium-processor", processor)
	p.draw("debezium-memory", peaks)
	p.draw("debezium-latency", late)
	p.say("| | what | tidemill | Debezium | ratio | CPU | server CPU | broker CPU | peak |\n|---|---|---|---|---|---|---|---|---|")
	for _, f := range all {
		p.say("| %s | %s | %s %s | %s | %s | %s | %s | %s | %s |", strings.TrimPrefix(f.Name, "debezium."), f.What, number(f.Value), f.Unit, number(f.LimitValue), number(f.Ratio),
			pair(f.CPU, f.LimitCPU, "s"), pair(f.ServerCPU, f.LimitServerCPU, "s"), pair(f.BrokerCPU, f.LimitBrokerCPU, "s"), pair(f.RSS, f.LimitRSS, "MB"))
	}
	p.say("\nProcessor time is in seconds for a million records, for `idle.connected` for a minute: tidemill's, then Debezium's.\n")
}

func pair(ours, theirs float64, unit string) string {
	if ours == 0 && theirs == 0 {
		return ""
	}
	return fmt.Sprintf("%s / %s %s", number(ours), number(theirs), unit)
}
