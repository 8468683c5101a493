package fleet

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
)

// Command runs a process of the application as the command "fleet" with these arguments
// says it, and returns the exit code of the program: 0 when ctx is done, 1 after an error,
// 2 for arguments that make no sense.
func Command(ctx context.Context, args []string) int {
	var o Options
	f := flag.NewFlagSet("fleet", flag.ContinueOnError)
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
	if err := Run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		return 1
	}
	return 0
}
