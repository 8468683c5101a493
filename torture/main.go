// Command torture tortures tidemill: it captures a database under heavy writing while the
// database, the broker, the registry, the network and the worker fail over and over again,
// and exits with 0 if nothing was lost, torn, doubled or out of order, with 1 otherwise.
//
//	make torture DURATION=60s SEED=1 MODE=eos
//	go run ./torture sweep -point all       the worker dies, stands still and fails at each failpoint
//	go run ./torture mutants -only bug_ack  seeded bugs, each of which must be found
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/tidemill/tidemill/internal/testenv/netns"
	"github.com/tidemill/tidemill/torture/bankstorm"
	"github.com/tidemill/tidemill/torture/chaos"
	"github.com/tidemill/tidemill/torture/fleet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run is main with its surroundings handed in.
func run(ctx context.Context, args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "mutants":
			return huntMutants(ctx, args[1:])
		case "sweep":
			return sweep(ctx, args[1:])
		case "fleet": // For ourselves: see bankstorm.Options.Fleet.
			return fleet.Command(ctx, args[1:])
		}
	}
	o, show, err := options(args)
	if err != nil {
		if err != flag.ErrHelp {
			fmt.Fprintln(os.Stderr, err)
		}
		return 2
	}
	result, err := bankstorm.Run(ctx, o)
	for again := 1; again < show.repeat && err == nil && result.OK() && ctx.Err() == nil; again++ {
		fmt.Fprintln(os.Stderr, result.Line())
		result, err = bankstorm.Run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		if result.OK() {
			return 2 // Nothing was shown.
		}
	}
	fmt.Fprint(os.Stderr, result.Explain())
	if show.json {
		fmt.Println(result.JSON())
	} else {
		fmt.Println(result.Line())
	}
	if !result.OK() {
		return 1
	}
	return 0
}

// manner is what the command line asks for beside a run.
type manner struct {
	json   bool
	repeat int
}

// options reads the command line.
func options(args []string) (o bankstorm.Options, show manner, err error) {
	var faults, plan, templates, streams string
	var quiet, list, machines bool
	f := flag.NewFlagSet("torture", flag.ContinueOnError)
	f.Uint64Var(&o.Seed, "seed", 1, "what faults and choices are drawn from")
	f.DurationVar(&o.Duration, "duration", 0, "how long things go wrong (default 1m)")
	f.StringVar(&o.Mode, "mode", bankstorm.ExactlyOnce, "what the worker promises: eos or alo")
	f.DurationVar(&o.Gap, "gap", 0, "mean time from the recovery from a fault to the next one (default 500ms)")
	f.IntVar(&o.Clients, "clients", 0, "sessions that write (default 4)")
	f.Float64Var(&o.TPS, "tps", 0, "transactions a second of all of them together (default 100)")
	f.StringVar(&faults, "faults", "", "classes of faults that take part, separated by commas (default: each with even odds)")
	f.BoolVar(&o.Loud, "loud", false, "with faults that lose data: the connector must say so, and is asked for what mends it")
	f.StringVar(&streams, "streams", "off", "on: a streams application runs in three processes that fail too, and what it derives is recounted")
	f.IntVar(&o.Workers, "workers", 0, "how many workers share the work as a fleet (default 1)")
	f.BoolVar(&machines, "netns", false, "each worker is in a network namespace of its own, whose cable is pulled too; by internal/testenv/netns/run")
	f.StringVar(&plan, "plan", "", "file with the faults to do, as a bundle has it")
	f.StringVar(&templates, "templates", "", "kinds of transactions to write, separated by commas (default: all)")
	f.StringVar(&o.Points, "points", "", "what a tidemill with failpoints does at them while it starts, as TIDEMILL_FAILPOINT says it")
	f.StringVar(&o.Binary, "binary", "bin/tidemill", "the tidemill to torture")
	f.StringVar(&o.PGBin, "pg-bin", "", "folder of PostgreSQL's server programs (default: search)")
	f.StringVar(&o.Out, "out", "", "where bundles of failures are left (default torture-out)")
	f.BoolVar(&o.Keep, "keep", false, "leave a bundle in any case")
	f.IntVar(&o.Shrink, "shrink", 0, "how often to try a failing run again with fewer faults")
	f.BoolVar(&o.Copies, "copies", true, "with a sink and derived tables, which are verified too")
	f.DurationVar(&o.Patience, "patience", 0, "how long a recovery may take (default 30s)")
	f.DurationVar(&o.Recovery, "recovery", 0, "how long 99 of 100 recoveries may take, as on an idle machine (default: no limit but that of each)")
	memory := f.Int64("memory", 0, "how many MB of memory the worker may take, below 0 as many as it wants (default 400)")
	f.IntVar(&show.repeat, "repeat", 1, "make the run again until it fails, up to so many times in all: what a fault meets is not the same each time")
	f.BoolVar(&show.json, "json", false, "print the result as JSON")
	f.BoolVar(&quiet, "quiet", false, "print the result alone")
	f.BoolVar(&list, "list", false, "list the classes of faults")
	if err := f.Parse(args); err != nil {
		return o, show, err
	}
	if list {
		fmt.Println(strings.Join(chaos.Classes(), "\n"))
		return o, show, flag.ErrHelp
	}
	switch streams {
	case "on":
		o.Streams = true
	case "off":
	default:
		return o, show, fmt.Errorf("-streams is on or off, not %q", streams)
	}
	if faults != "" {
		o.Faults = strings.Split(faults, ",")
	}
	o.Memory = *memory << 20
	if templates != "" {
		o.Templates = strings.Split(templates, ",")
	}
	if !quiet {
		o.Seen = progress(os.Stderr)
	}
	if machines {
		if o.Lan, err = netns.Open(); err != nil {
			return o, show, err
		}
	}
	if plan != "" {
		text, err := os.ReadFile(plan)
		if err == nil {
			err = json.Unmarshal(text, &o.Plan)
		}
		if err != nil {
			return o, show, fmt.Errorf("reading the faults to do: %w", err)
		}
	}
	return o, show, nil
}
