// Command bench measures tidemill as a user meets it, whole processes over TCP, and
// prints each figure as a ratio to a limit or a peer measured in the same run:
//
//	go run ./bench                     everything
//	go run ./bench --only stream       one part
//	go run ./bench --json              one JSON array
//
// Machines differ and so do two runs on one machine; the ratios differ less. Parts:
//
//	stream    changes per second from a replication slot to the last record in Kafka,
//	          as Avro with a registry, at least once, for transactions of 1, 2, 1000
//	          and all rows, against pg_recvlogical (pgoutput, TCP, output thrown away)
//	          on the same WAL
//	eos       the same with exactly-once delivery, for transactions of 100 and 1000
//	          rows, against at least once
//	snapshot  rows per second of a snapshot over two connections until the last record
//	          is in Kafka, against psql COPY … TO STDOUT (FORMAT binary) on one
//	latency   time from commit to a consumer at a thousand transactions a second
//	giant     memory while one transaction of five million rows is streamed
//	idle      time until the worker is ready, and its memory with nothing to do
//	demo      time of `tidemill demo --once`
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
)

// figure is one measured figure, and the limit of the same run it is held against.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Limit names what Value is compared with, whose figure is LimitValue; Ratio is
	// the median of the rounds' own ratios.
	Limit      string  `json:"limit,omitempty"`
	LimitValue float64 `json:"limit_value,omitempty"`
	Ratio      float64 `json:"ratio,omitempty"`
	// CPU is the processor time of the worker in seconds for a million changes or rows,
	// ServerCPU that of the server's process that sends them, LimitCPU that of the same
	// process while it serves the limit.
	CPU       float64 `json:"cpu_s,omitempty"`
	ServerCPU float64 `json:"server_cpu_s,omitempty"`
	LimitCPU  float64 `json:"limit_server_cpu_s,omitempty"`
	RSS       float64 `json:"rss_mb,omitempty"` // The worker's peak so far.
	Bound     string  `json:"bound,omitempty"`
	Met       *bool   `json:"met,omitempty"`
}

// part is one measurement.
type part struct {
	name string
	run  func(ctx context.Context, o options) ([]figure, error)
}

var parts = []part{
	{"stream", benchStream}, {"eos", benchExactlyOnce}, {"snapshot", benchSnapshot}, {"latency", benchLatency}, {"giant", benchGiant},
	{"idle", benchIdle}, {"demo", benchDemo},
}

type options struct {
	binary string
	rows   int
	rounds int
	sizes  []string // Of the transactions to stream.
	show   func(figure)
}

func main() {
	var o options
	only := flag.String("only", "", "the parts to run, separated by commas")
	asJSON := flag.Bool("json", false, "print one JSON array")
	flag.StringVar(&o.binary, "binary", "bin/tidemill", "the binary to measure")
	flag.IntVar(&o.rows, "rows", 1_000_000, "changes to stream and rows to snapshot")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each measurement; medians are printed")
	sizes := flag.String("tx", "1000,all,1,2", "sizes of the transactions to stream, in rows")
	flag.Parse()
	o.sizes = strings.Split(*sizes, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, *only, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, only string, asJSON bool) error {
	var all []figure
	if o.show = func(figure) {}; !asJSON {
		o.show = printFigure
	}
	for _, p := range parts {
		if only != "" && !slices.Contains(strings.Split(only, ","), p.name) {
			continue
		}
		figures, err := p.run(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		all = append(all, figures...)
	}
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(all)
	}
	return nil
}

func printFigure(f figure) {
	line := fmt.Sprintf("%-26s %12.2f %-10s", f.Name, f.Value, f.Unit)
	if f.Limit != "" {
		line += fmt.Sprintf(" %5.2f × %s (%.0f)", f.Ratio, f.Limit, f.LimitValue)
	}
	if f.CPU > 0 {
		line += fmt.Sprintf("  cpu %.2f s/M", f.CPU)
	}
	if f.ServerCPU > 0 {
		line += fmt.Sprintf(", server %.2f (limit's %.2f)", f.ServerCPU, f.LimitCPU)
	}
	if f.RSS > 0 {
		line += fmt.Sprintf("  peak %.0f MB", f.RSS)
	}
	if f.Met != nil {
		line += "  " + f.Bound + " " + map[bool]string{true: "met", false: "MISSED"}[*f.Met]
	}
	fmt.Println(line)
}

// held returns f with its bound: the ratio, or the value when there is none, at least
// or at most limit.
func (f figure) held(atLeast bool, limit float64) figure {
	value, what := f.Value, f.Unit
	if f.Limit != "" {
		value, what = f.Ratio, "×"
	}
	met := value >= limit
	f.Bound = fmt.Sprintf("≥ %g %s", limit, what)
	if !atLeast {
		met, f.Bound = value <= limit, fmt.Sprintf("≤ %g %s", limit, what)
	}
	f.Met = &met
	return f
}

func median(of []float64) float64 {
	of = slices.Clone(of)
	slices.Sort(of)
	return of[len(of)/2]
}
