package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"

	"github.com/tidemill/tidemill/torture/fleet"
)

// runFleet is the command "torture fleet": one process of the streams application that is
// tortured.
func runFleet(ctx context.Context, args []string) int {
	var o fleet.Options
	f := flag.NewFlagSet("torture fleet", flag.ContinueOnError)
	f.StringVar(&o.Broker, "broker", "", "the broker, as it names itself")
	f.StringVar(&o.Via, "via", "", "where connections to it go instead")
	f.StringVar(&o.Registry, "registry", "", "address of the schema registry")
	f.StringVar(&o.Prefix, "prefix", "storm", "of the topics of changes")
	f.StringVar(&o.Dir, "dir", "", "where the state is kept")
	f.StringVar(&o.Instance, "instance", "", "name of the process")
	if err := f.Parse(args); err != nil {
		return 2
	}
	o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if err := fleet.Run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "torture fleet:", err)
		return 1
	}
	return 0
}
