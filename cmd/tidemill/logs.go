package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/rest"
)

// logsFlags are the flags of logs.
type logsFlags struct {
	url, level string
	newest     int
	task       int
	follow     bool
}

func (a *app) logsCommand() *cobra.Command {
	var f logsFlags
	cmd := &cobra.Command{
		Use: "logs CONNECTOR", Short: "Show the log of a connector and its tasks", Args: cobra.ExactArgs(1),
		Long: `Shows the newest lines of the log that are about a connector or its tasks, whichever workers run them. Each worker
keeps up to a thousand lines of a connector in memory; what was before stands in the worker's own log alone.

With -o json each line is a JSON value.`,
		Example: `  tidemill logs orders
  tidemill logs orders -f --level warn
  tidemill logs orders -n 50 --task 0 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.logs(cmd.Context(), f, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.url, "url", "http://127.0.0.1:8083", "where the worker's REST interface is")
	flags.IntVarP(&f.newest, "lines", "n", 200, "how many lines")
	flags.StringVar(&f.level, "level", "", "lines of this level and above: debug, info, warn or error")
	flags.IntVar(&f.task, "task", -1, "lines of this task alone")
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with the lines that come")
	return cmd
}

func (a *app) logs(ctx context.Context, f logsFlags, connector string) error {
	values := url.Values{"n": {strconv.Itoa(f.newest)}, "follow": {strconv.FormatBool(f.follow)}}
	if f.level != "" {
		values.Set("level", f.level)
	}
	if f.task >= 0 {
		values.Set("task", strconv.Itoa(f.task))
	}
	resp, err := newClient(f.url).send(ctx, http.MethodGet, "/connectors/"+url.PathEscape(connector)+"/logs?"+values.Encode(), nil)
	if err != nil {
		if e, ok := err.(*restError); ok && e.status < http.StatusInternalServerError {
			return badInput(e)
		}
		return err
	}
	defer resp.Body.Close()
	if warning := resp.Header.Get("Warning"); warning != "" {
		fmt.Fprintln(a.err, warning)
	}
	dec := json.NewDecoder(resp.Body)
	if !f.follow {
		var all struct{ Lines []rest.LogLine }
		if err := dec.Decode(&all); err != nil {
			return fmt.Errorf("reading the lines: %w", err)
		}
		for _, line := range all.Lines {
			a.logLine(line)
		}
		return nil
	}
	for {
		var line rest.LogLine
		switch err := dec.Decode(&line); {
		case ctx.Err() != nil, errors.Is(err, io.EOF):
			return nil // Somebody has seen enough, or the connector or the worker has ended.
		case err != nil:
			return fmt.Errorf("reading the lines: %w", err)
		}
		a.logLine(line)
	}
}

// logLine prints a line.
func (a *app) logLine(l rest.LogLine) {
	if a.json {
		writeJSON(a.out, l)
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-5s", l.Time.Format("2006-01-02T15:04:05.000Z"), l.Level)
	if l.Worker != "" {
		fmt.Fprintf(&b, " %s", l.Worker)
	}
	if l.Task != nil {
		fmt.Fprintf(&b, " task %d", *l.Task)
	}
	fmt.Fprintf(&b, " %s", l.Message)
	for _, name := range slices.Sorted(maps.Keys(l.Fields)) {
		text := fmt.Sprint(l.Fields[name])
		if strings.ContainsAny(text, " \n\t\"") {
			text = strconv.Quote(text)
		}
		fmt.Fprintf(&b, " %s=%s", name, text)
	}
	fmt.Fprintln(a.out, b.String())
}
