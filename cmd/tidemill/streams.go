package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/reset"
)

func (a *app) streamsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "streams",
		Short: "Look after applications of the streams library",
		Long:  "Looks after applications that are made with the library github.com/tidemill/tidemill/streams.",
		Example: `  tidemill streams reset orders --brokers 127.0.0.1:9092 --dry-run
  tidemill streams reset orders --state-dir /var/lib/orders
  tidemill streams status orders --url http://127.0.0.1:8083`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.streamsResetCommand(), a.streamsStatusCommand())
	return cmd
}

// resetFlags are the flags of streams reset.
type resetFlags struct {
	reset.Options
	latest bool
	at     string
	dry    bool
}

func (a *app) streamsResetCommand() *cobra.Command {
	var f resetFlags
	cmd := &cobra.Command{
		Use:   "reset APPLICATION",
		Short: "Take an application back to before it ran",
		Long: `Takes a streams application back to before it ran, as kafka-streams-application-reset does: the offsets of its
group are removed, its changelog and repartition topics deleted, and, with --state-dir, its local state. It
reads its input from the start again then, or from where --to-latest or --to-datetime says. What it has written
to other topics stays. No process may run it; --force removes members that were killed and not missed yet.

With --dry-run it says what it would do and does nothing.`,
		Example: `  tidemill streams reset orders --dry-run
  tidemill streams reset orders --brokers kafka:9092 --state-dir /var/lib/orders
  tidemill streams reset orders --to-datetime 2026-11-01T00:00:00Z -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.App = args[0]
			return a.streamsReset(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.Brokers, "brokers", []string{"127.0.0.1:9092"}, "the first brokers to ask, host:port")
	flags.StringVar(&f.Dir, "state-dir", "", "state directory of a process of the application; empty leaves local state alone")
	flags.StringSliceVar(&f.Topics, "input-topics", nil, "topics to set offsets for; those read so far when empty")
	flags.BoolVar(&f.latest, "to-latest", false, "go on with what comes from now on")
	flags.StringVar(&f.at, "to-datetime", "", "go on from a point in time, such as 2026-11-01T00:00:00Z")
	flags.BoolVar(&f.Force, "force", false, "remove members that the group still has")
	flags.BoolVar(&f.dry, "dry-run", false, "only say what would be done")
	cmd.MarkFlagsMutuallyExclusive("to-latest", "to-datetime")
	return cmd
}

func (a *app) streamsReset(ctx context.Context, f resetFlags) error {
	if f.latest {
		f.From = reset.Latest
	}
	if f.at != "" {
		at, err := time.Parse(time.RFC3339, f.at)
		if err != nil {
			return badInput(connect.ConfigError("--to-datetime", "%q is no point in time; write it like 2026-11-01T00:00:00Z", f.at))
		}
		f.From, f.Time = reset.At, at
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	plan, err := reset.Prepare(ctx, f.Options)
	if err != nil {
		return environment(err)
	}
	if !f.dry {
		if err := plan.Run(ctx); err != nil {
			return environment(err)
		}
	}
	if a.json {
		writeJSON(a.out, struct {
			*reset.Plan
			Done bool `json:"done"`
		}{plan, !f.dry})
		return nil
	}
	fmt.Fprint(a.out, plan)
	if f.dry {
		fmt.Fprintln(a.out, "nothing was changed: --dry-run")
	}
	return nil
}
