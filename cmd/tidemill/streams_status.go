package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/status"
)

// envStreamsSecret is where the secret of streams applications is looked for: on a command
// line others would see it.
const envStreamsSecret = "TIDEMILL_STREAMS_SECRET"

// statusFlags are the flags of streams status.
type statusFlags struct {
	url, drawn string
}

func (a *app) streamsStatusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status [APPLICATION]",
		Short: "Tell how streams applications are doing",
		Long: `Tells how the streams applications of one process are doing: all of them in short, or one with its tasks, the lag
of each partition, restorations, the sizes of stores and the copies it keeps of those of other processes.

The process is a worker whose queries are streams applications, by the address of its REST interface, or one
made with the library, by the address at which it answers other instances. Where those sign what they ask each
other, the secret is taken from the environment, as ` + envStreamsSecret + `.`,
		Example: `  tidemill streams status
  tidemill streams status orders --url http://127.0.0.1:8083
  tidemill streams status orders --topology dot | dot -Tsvg > orders.svg
  tidemill streams status -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.streamsStatus(cmd.Context(), f, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.url, "url", "http://127.0.0.1:8083", "where the process answers")
	flags.StringVar(&f.drawn, "topology", "", "draw the application's topology instead: text or dot")
	return cmd
}

func (a *app) streamsStatus(ctx context.Context, f statusFlags, args []string) error {
	path := status.Path
	if len(args) > 0 {
		path += "/" + url.PathEscape(args[0])
	}
	switch {
	case f.drawn == "":
	case len(args) == 0 || f.drawn != "text" && f.drawn != "dot":
		return badInput(connect.ConfigError("--topology", "name an application, and text or dot as the form"))
	default:
		path += "/topology?format=" + f.drawn
	}
	body, err := askStreams(ctx, strings.TrimSuffix(f.url, "/")+path)
	if err != nil {
		return err
	}
	if a.json || f.drawn != "" {
		fmt.Fprintln(a.out, strings.TrimSuffix(string(body), "\n"))
		return nil
	}
	if len(args) == 0 {
		var all []status.Summary
		if err := json.Unmarshal(body, &all); err != nil {
			return environment(fmt.Errorf("reading the answer: %w", err))
		}
		return printSummaries(a.out, all)
	}
	var one status.Application
	if err := json.Unmarshal(body, &one); err != nil {
		return environment(fmt.Errorf("reading the answer: %w", err))
	}
	return printApplication(a.out, &one)
}

// askStreams asks a process about its applications.
func askStreams(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, badInput(err)
	}
	(&query.Remote{Secret: os.Getenv(envStreamsSecret)}).Sign(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, environment(&connect.Error{
			Code: "rest.unreachable", Place: address, Message: "the process cannot be reached", Cause: err,
			Mend: "is it running there? --url names another address",
		})
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, environment(err)
	}
	if resp.StatusCode != http.StatusOK {
		var said status.Error
		if json.Unmarshal(body, &said) != nil || said.Message == "" {
			said = status.Error{Code: "streams.status", Message: fmt.Sprintf("the process answered %d: %s", resp.StatusCode, strings.TrimSpace(string(body)))}
		}
		e := &connect.Error{Code: said.Code, Place: said.Place, Message: said.Message, Mend: said.Mend}
		if resp.StatusCode == http.StatusNotFound {
			return nil, badInput(e)
		}
		return nil, environment(e)
	}
	return body, nil
}

func printSummaries(w io.Writer, all []status.Summary) error {
	if len(all) == 0 {
		fmt.Fprintln(w, "no applications run here")
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "APPLICATION\tSTATE\tTASKS\tLAG\tERROR")
	for _, s := range all {
		why := ""
		if s.Error != nil {
			why = s.Error.Code
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\n", s.ID, s.State, s.Tasks, s.Lag, why)
	}
	return t.Flush()
}

func printApplication(w io.Writer, one *status.Application) error {
	fmt.Fprintf(w, "application %s  %s  %s  instance %s\n", one.ID, one.State, one.Guarantee, one.Instance)
	if e := one.Error; e != nil {
		fmt.Fprintf(w, "  %s   %s\n    %s\n", e.Code, e.Place, e.Message)
		if e.Mend != "" {
			fmt.Fprintf(w, "    → %s\n", e.Mend)
		}
	}
	fmt.Fprintf(w, "  %d records processed, %d written, %d dropped, %d commits, lag %d\n",
		one.Thread.Processed, one.Thread.Produced, one.Thread.Dropped, one.Thread.Commits, one.Lag())
	if d := one.Disk; d != nil {
		room := ""
		if d.Full {
			room = ", the disk is full"
		}
		if d.Failing {
			room = ", the disk fails"
		}
		fmt.Fprintf(w, "  state in %s, %d bytes, repaired %d times%s\n", d.Dir, d.Bytes, d.Repairs, room)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TASK\tSTATE\tWHAT\tLAG\tBYTES\tRESTORE")
	for _, k := range one.Tasks {
		for _, p := range k.Partitions {
			fmt.Fprintf(t, "%s\t%s\ttopic %s [%d]\t%d\t\t\n", k.ID, k.State, p.Topic, p.Partition, p.Lag)
		}
		for _, s := range k.Stores {
			fmt.Fprintf(t, "%s\t%s\tstore %s\t\t%d\t%s\n", k.ID, k.State, s.Name, s.DiskBytes, restored(s.Restore))
		}
	}
	for _, s := range one.Standbys {
		for _, st := range s.Stores {
			fmt.Fprintf(t, "%s\tSTANDBY\tstore %s\t%d\t%d\t\n", s.Task, st.Name, s.Lag, st.DiskBytes)
		}
	}
	return t.Flush()
}

func restored(r *status.Restore) string {
	switch {
	case r == nil:
		return ""
	case r.Left == 0:
		return fmt.Sprintf("%d records", r.Done)
	case r.ETA == nil:
		return fmt.Sprintf("%d of %d records", r.Done, r.Done+r.Left)
	}
	return fmt.Sprintf("%d of %d records, %.0f/s, %s left", r.Done, r.Done+r.Left, r.Rate, time.Duration(*r.ETA*float64(time.Second)).Round(time.Second))
}
