package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidemill/tidemill/torture/bankstorm"
	"github.com/tidemill/tidemill/torture/chaos"
	"github.com/tidemill/tidemill/torture/mutants"
)

// huntMutants is the command "torture mutants": every seeded bug must be found.
func huntMutants(ctx context.Context, args []string) int {
	var o mutants.Options
	var only string
	var list, quiet bool
	f := flag.NewFlagSet("torture mutants", flag.ContinueOnError)
	f.StringVar(&only, "only", "", "mutants, or beginnings of their names, separated by commas; none is the product without a bug (default: that and all)")
	f.Uint64Var(&o.Seed, "seed", 1, "what faults and choices are drawn from")
	f.DurationVar(&o.Duration, "duration", 0, "how long things go wrong in each hunt (default 20s)")
	f.DurationVar(&o.Patience, "patience", 0, "how long a recovery may take (default 30s); more on a machine that is busy with other things")
	f.Float64Var(&o.TPS, "tps", 0, "transactions a second (default 100); fewer on such a machine")
	f.StringVar(&o.PGBin, "pg-bin", "", "folder of PostgreSQL's server programs (default: search)")
	f.StringVar(&o.Out, "out", "", "where bundles of false alarms are left (default torture-out)")
	f.BoolVar(&quiet, "quiet", false, "a line for each mutant alone")
	f.BoolVar(&list, "list", false, "list the mutants")
	if err := f.Parse(args); err != nil {
		return 2
	}
	if list {
		for _, m := range mutants.All() {
			fmt.Printf("%-26s %s\n", m.Name, m.Breaks)
		}
		return 0
	}
	if only != "" {
		o.Only = strings.Split(only, ",")
	}
	o.Say = func(line string) { fmt.Println(line) }
	if !quiet {
		o.Seen = progress(os.Stderr)
	}
	result, err := mutants.Run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return 2
	}
	fmt.Println(result.Line())
	if !result.OK() {
		return 1
	}
	return 0
}

// sweep is the command "torture sweep": the worker kills itself, stands still and fails at
// every failpoint.
func sweep(ctx context.Context, args []string) int {
	var o bankstorm.Options
	var quiet bool
	f := flag.NewFlagSet("torture sweep", flag.ContinueOnError)
	point := f.String("point", "all", "failpoints, or beginnings of their names, separated by commas; or all")
	from := f.String("from", "", "the failpoint to begin with (default: the first)")
	hold := f.Duration("hold", time.Second, "how long the worker stands still at each")
	f.Uint64Var(&o.Seed, "seed", 1, "what choices are drawn from")
	f.StringVar(&o.Mode, "mode", "", "eos or alo (default: both)")
	f.StringVar(&o.Binary, "binary", "", "a tidemill with failpoints (default: one is built)")
	f.StringVar(&o.PGBin, "pg-bin", "", "folder of PostgreSQL's server programs (default: search)")
	f.StringVar(&o.Out, "out", "", "where bundles of failures are left (default torture-out)")
	f.BoolVar(&o.Keep, "keep", false, "leave a bundle in any case")
	f.DurationVar(&o.Patience, "patience", time.Minute, "how long a recovery may take")
	f.BoolVar(&quiet, "quiet", false, "a line for each action alone")
	if err := f.Parse(args); err != nil {
		return 2
	}
	if !quiet {
		o.Seen = progress(os.Stderr)
	}
	if o.Binary == "" {
		dir, err := os.MkdirTemp("", "tidemill-sweep-")
		if err == nil {
			defer os.RemoveAll(dir)
			o.Binary, err = withPoints(ctx, dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "torture:", err)
			return 2
		}
	}
	all, err := bankstorm.Sweep(ctx, o, bankstorm.Span{Points: *point, From: *from, Hold: *hold}, func(s bankstorm.Swept) { fmt.Println(s) })
	if len(all) > 0 {
		fmt.Println(all.Line())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "torture:", err)
		return 2
	}
	if !all.OK() {
		return 1
	}
	return 0
}

// withPoints builds a tidemill with failpoints.
func withPoints(ctx context.Context, dir string) (string, error) {
	root, err := mutants.Root()
	if err != nil {
		return "", err
	}
	return mutants.Build(ctx, root, filepath.Clean(dir), "failpoint", nil)
}

// progress writes what happens to w.
func progress(w io.Writer) func(chaos.Entry) {
	return func(e chaos.Entry) { fmt.Fprintf(w, "%8.3f s  %-9s %s\n", e.At, e.Kind, e.Text) }
}
