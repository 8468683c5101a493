// Command bench measures tidemill as a user meets it, whole processes over TCP, and
// prints each figure as a ratio to a limit or a peer measured in the same run:
//
//	go run ./bench                 everything
//	go run ./bench --only stream   one part
//	go run ./bench --json          one JSON object
//
// Machines differ and so do two runs on one machine; the ratios differ less. Parts:
//
//	stream   changes per second from a replication slot to the last record in Kafka,
//	         as Avro with a registry, against pg_recvlogical (pgoutput, TCP, output
//	         thrown away) on the same WAL
//	idle     time until the worker is ready, and its memory with nothing to do
//	demo     time of `tidemill demo --once`
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
)

// figure is one measured figure and the bound it is held against.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Note  string  `json:"note,omitempty"`
	Bound string  `json:"bound,omitempty"`
	Met   *bool   `json:"met,omitempty"`
}

// part is one measurement.
type part struct {
	name string
	run  func(ctx context.Context, o options) ([]figure, error)
}

var parts = []part{{"stream", benchStream}, {"idle", benchIdle}, {"demo", benchDemo}}

type options struct {
	binary string
	rows   int
	rounds int
}

func main() {
	var o options
	only := flag.String("only", "", "the parts to run, separated by commas")
	asJSON := flag.Bool("json", false, "print one JSON object")
	flag.StringVar(&o.binary, "binary", "bin/tidemill", "the binary to measure")
	flag.IntVar(&o.rows, "rows", 500_000, "changes to stream")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each measurement; medians are printed")
	flag.Parse()
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
	for _, p := range parts {
		if only != "" && !strings.Contains(","+only+",", ","+p.name+",") {
			continue
		}
		figures, err := p.run(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		all = append(all, figures...)
		if !asJSON {
			printFigures(figures)
		}
	}
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"figures": all})
	}
	return nil
}

func printFigures(figures []figure) {
	for _, f := range figures {
		met := ""
		if f.Met != nil {
			met = map[bool]string{true: "met", false: "MISSED"}[*f.Met]
		}
		fmt.Printf("%-34s %12.2f %-10s %-12s %-7s %s\n", f.Name, f.Value, f.Unit, f.Bound, met, f.Note)
	}
}

// held returns f with its bound: at least, or at most, limit.
func (f figure) held(atLeast bool, limit float64) figure {
	met := f.Value >= limit
	f.Bound = fmt.Sprintf("≥ %g", limit)
	if !atLeast {
		met, f.Bound = f.Value <= limit, fmt.Sprintf("≤ %g", limit)
	}
	f.Met = &met
	return f
}
