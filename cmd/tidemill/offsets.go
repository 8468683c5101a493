package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker"
)

// offsetsCommand shows the earlier offsets of connectors, and goes back to them.
func (a *app) offsetsCommand() *cobra.Command {
	var server string
	cmd := &cobra.Command{
		Use:   "offsets",
		Short: "Show earlier offsets of a connector, and go back to them",
		Long: `Whenever offsets of a connector are changed or reset by the REST interface, the worker keeps those that were before,
the newest 20 of each connector. A stopped connector can be put back to them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&server, "url", "http://127.0.0.1:8083", "where the worker's REST interface is")
	cmd.AddCommand(a.offsetsHistoryCommand(&server), a.offsetsRewindCommand(&server))
	return cmd
}

func offsetsPath(connector, what string) string {
	return "/connectors/" + url.PathEscape(connector) + "/offsets/" + what
}

// offsetsError gives the worker's refusals their exit code.
func offsetsError(err error) error {
	if e, ok := err.(*restError); ok && e.status < http.StatusInternalServerError {
		return badInput(e)
	}
	return err
}

func (a *app) offsetsHistoryCommand(server *string) *cobra.Command {
	return &cobra.Command{
		Use: "history CONNECTOR", Short: "List the offsets before each change that was asked for", Args: cobra.ExactArgs(1),
		Example: `  tidemill offsets history orders
  tidemill offsets history orders -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var found struct {
				History []worker.PastOffsets `json:"history"`
			}
			if err := newClient(*server).call(cmd.Context(), http.MethodGet, offsetsPath(args[0], "history"), nil, &found); err != nil {
				return offsetsError(err)
			}
			if a.json {
				writeJSON(a.out, found)
				return nil
			}
			return printHistory(a.out, found.History)
		},
	}
}

func printHistory(w io.Writer, history []worker.PastOffsets) error {
	if len(history) == 0 {
		fmt.Fprintln(w, "nobody has changed the offsets")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ENTRY\tUNTIL\tTHEN\tPARTITION\tOFFSET")
	for _, past := range history {
		head := fmt.Sprintf("%d\t%s\t%s", past.ID, past.Time.Format(time.RFC3339), past.Change)
		if len(past.Offsets) == 0 {
			fmt.Fprintf(t, "%s\tnone\t\n", head)
		}
		for _, e := range past.Offsets {
			fmt.Fprintf(t, "%s\t%s\t%s\n", head, e.Partition, e.Offset)
			head = "\t\t"
		}
	}
	return t.Flush()
}

func (a *app) offsetsRewindCommand(server *string) *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use: "rewind CONNECTOR ENTRY", Short: "Put a stopped connector back to the offsets of an entry of the history", Args: cobra.ExactArgs(2),
		Long: `Puts a stopped connector back to the offsets of an entry of its history. What is there now becomes an entry itself, so
that this can be undone as well. A source says no when it cannot go on from there: a replication slot, for one, has
only what it was not told to forget.`,
		Example: `  tidemill offsets rewind orders 3 --dry-run
  tidemill offsets rewind orders 3`,
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil {
				return badInput(connect.ConfigError("ENTRY", "%q is not the number of an entry", args[1]))
			}
			var done struct {
				Message string                `json:"message"`
				Changes []worker.OffsetChange `json:"changes"`
			}
			body := map[string]any{"to": to, "dry_run": dry}
			if err := newClient(*server).call(cmd.Context(), http.MethodPost, offsetsPath(args[0], "rewind"), body, &done); err != nil {
				return offsetsError(err)
			}
			if a.json {
				writeJSON(a.out, done)
				return nil
			}
			for _, c := range done.Changes {
				fmt.Fprintf(a.out, "%s: %s → %s\n", c.Partition, c.From, c.To)
			}
			fmt.Fprintln(a.out, done.Message)
			return nil
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "show what would change, and change nothing")
	return cmd
}
