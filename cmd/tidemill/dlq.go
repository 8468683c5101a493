package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker"
)

// dlqCommand shows the dead letter queues of sink connectors and has letters tried again.
func (a *app) dlqCommand() *cobra.Command {
	var server string
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "Show dead letters, and put them to their connector again",
		Long: `Shows the letters in the dead letter queue of a sink connector (errors.deadletterqueue.topic.name) and has them
put to the connector again: through its own converters and transforms, with the topic, partition and offset they
first had. Other readers of that topic see nothing of it. Which letters were replayed is remembered.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&server, "url", "http://127.0.0.1:8083", "where the worker's REST interface is")
	cmd.AddCommand(a.dlqListCommand(&server), a.dlqShowCommand(&server), a.dlqReplayCommand(&server), a.dlqFollowCommand(&server), a.dlqStopCommand(&server))
	return cmd
}

// letterFlags are the flags that choose letters.
type letterFlags struct {
	query        worker.LetterQuery
	partition    int32
	from, to     int64
	since, until string
}

func (f *letterFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Int32Var(&f.partition, "partition", -1, "partition of the queue")
	flags.Int64Var(&f.from, "from", -1, "first offset in that partition")
	flags.Int64Var(&f.to, "to", -1, "last offset in that partition")
	flags.StringVar(&f.since, "since", "", "records from this time on, such as 2026-01-31T00:00:00Z, or from so long ago, such as 2h")
	flags.StringVar(&f.until, "until", "", "records before this time")
	flags.StringVar(&f.query.Topic, "topic", "", "records of this topic")
	flags.StringVar(&f.query.Stage, "stage", "", "letters of this stage, such as VALUE_CONVERTER, TRANSFORMATION or TASK_PUT")
	flags.StringVar(&f.query.Error, "error", "", "letters with this error code or class; * stands for anything")
	flags.StringVar(&f.query.State, "state", "", "pending, unsure, replayed, no_context or all (default: what was not replayed)")
	flags.IntVar(&f.query.Limit, "limit", 0, "most letters")
}

// chosen returns the query that the flags make.
func (f *letterFlags) chosen() (worker.LetterQuery, error) {
	q := f.query
	if f.partition >= 0 {
		q.Partition = &f.partition
	}
	if f.from >= 0 {
		q.From = &f.from
	}
	if f.to >= 0 {
		q.To = &f.to
	}
	if (q.From != nil || q.To != nil) && q.Partition == nil {
		return q, badInput(connect.ConfigError("--from", "offsets are those of one partition; name it with --partition"))
	}
	for _, one := range []struct {
		flag, text string
		into       **time.Time
	}{{"--since", f.since, &q.Since}, {"--until", f.until, &q.Until}} {
		if one.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, one.text)
		if ago, wrong := time.ParseDuration(one.text); err != nil && wrong == nil {
			at, err = time.Now().Add(-ago), nil
		}
		if err != nil {
			return q, badInput(connect.ConfigError(one.flag, "%q is neither a time such as 2026-01-31T00:00:00Z nor a duration such as 2h", one.text))
		}
		*one.into = &at
	}
	return q, nil
}

// values are the query as parameters.
func letterValues(q worker.LetterQuery) url.Values {
	values := url.Values{}
	set := func(name, text string) {
		if text != "" {
			values.Set(name, text)
		}
	}
	if q.Partition != nil {
		set("partition", strconv.Itoa(int(*q.Partition)))
	}
	if q.From != nil {
		set("from", strconv.FormatInt(*q.From, 10))
	}
	if q.To != nil {
		set("to", strconv.FormatInt(*q.To, 10))
	}
	if q.Since != nil {
		set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if q.Until != nil {
		set("until", q.Until.UTC().Format(time.RFC3339Nano))
	}
	if q.Limit > 0 {
		set("limit", strconv.Itoa(q.Limit))
	}
	set("topic", q.Topic)
	set("stage", q.Stage)
	set("error", q.Error)
	set("state", q.State)
	return values
}

func dlqPath(connector string) string { return "/connectors/" + url.PathEscape(connector) + "/dlq" }

func (a *app) dlqListCommand(server *string) *cobra.Command {
	var f letterFlags
	cmd := &cobra.Command{
		Use: "list CONNECTOR", Short: "List letters", Args: cobra.ExactArgs(1),
		Example: `  tidemill dlq list orders-sink
  tidemill dlq list orders-sink --error 'json.*' --since 2h
  tidemill dlq list orders-sink --state all -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := f.chosen()
			if err != nil {
				return err
			}
			var found struct {
				Topic   string          `json:"topic"`
				Letters []worker.Letter `json:"letters"`
				More    bool            `json:"more"`
			}
			path := dlqPath(args[0])
			if values := letterValues(q); len(values) > 0 {
				path += "?" + values.Encode()
			}
			if err := newClient(*server).call(cmd.Context(), http.MethodGet, path, nil, &found); err != nil {
				return dlqError(err)
			}
			if a.json {
				writeJSON(a.out, found)
				return nil
			}
			return printLetters(a.out, found.Topic, found.Letters, found.More)
		},
	}
	f.add(cmd)
	return cmd
}

func printLetters(w io.Writer, topic string, letters []worker.Letter, more bool) error {
	if len(letters) == 0 {
		fmt.Fprintf(w, "no such letters in %s\n", topic)
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LETTER\tSTATE\tRECORD\tTIME\tSTAGE\tERROR\tMESSAGE")
	for i := range letters {
		l := &letters[i]
		origin := "unknown"
		if o := l.Origin; o != nil {
			origin = fmt.Sprintf("%s-%d@%d", o.Topic, o.Partition, o.Offset)
		}
		fmt.Fprintf(t, "%d@%d\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Partition, l.Offset, l.State, origin,
			time.UnixMilli(l.Timestamp).UTC().Format(time.RFC3339), l.Stage, l.Error, firstWords(l.Message))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if more {
		fmt.Fprintln(w, "there are more; raise --limit, or go on with --partition and --from")
	}
	return nil
}

// firstWords is as much of a message as fits into a line.
func firstWords(text string) string {
	const most = 100
	text, _, _ = strings.Cut(text, "\n")
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}

func (a *app) dlqShowCommand(server *string) *cobra.Command {
	return &cobra.Command{
		Use: "show CONNECTOR PARTITION OFFSET", Short: "Show one letter whole: key, value, headers and the error", Args: cobra.ExactArgs(3),
		Example: "  tidemill dlq show orders-sink 0 17",
		RunE: func(cmd *cobra.Command, args []string) error {
			var l worker.Letter
			path := dlqPath(args[0]) + "/" + url.PathEscape(args[1]) + "/" + url.PathEscape(args[2])
			if err := newClient(*server).call(cmd.Context(), http.MethodGet, path, nil, &l); err != nil {
				return dlqError(err)
			}
			if a.json {
				writeJSON(a.out, l)
				return nil
			}
			return printLetter(a.out, &l)
		},
	}
}

func printLetter(w io.Writer, l *worker.Letter) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name string, value *string) {
		if value != nil && *value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, *value)
		}
	}
	line("state", &l.State)
	if o := l.Origin; o != nil {
		text := fmt.Sprintf("topic %s, partition %d, offset %d", o.Topic, o.Partition, o.Offset)
		line("record", &text)
	}
	at := time.UnixMilli(l.Timestamp).UTC().Format(time.RFC3339Nano)
	line("time", &at)
	line("key", l.Key)
	line("value", l.Value)
	for _, h := range l.Headers {
		text := h[0] + "=" + h[1]
		line("header", &text)
	}
	line("task", &l.Task)
	line("stage", &l.Stage)
	line("class", &l.Class)
	line("error", &l.Error)
	line("message", &l.Message)
	if err := t.Flush(); err != nil {
		return err
	}
	if l.Trace != "" {
		fmt.Fprintln(w, l.Trace)
	}
	return nil
}

func (a *app) dlqStopCommand(server *string) *cobra.Command {
	return &cobra.Command{
		Use: "stop CONNECTOR", Short: "Stop a replay that runs", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r worker.Replay
			if err := newClient(*server).call(cmd.Context(), http.MethodDelete, dlqPath(args[0])+"/replay", nil, &r); err != nil {
				return dlqError(err)
			}
			return a.printReplay(&r)
		},
	}
}

func (a *app) dlqReplayCommand(server *string) *cobra.Command {
	var f letterFlags
	var detach bool
	cmd := &cobra.Command{
		Use: "replay CONNECTOR", Short: "Put letters to their connector again", Args: cobra.ExactArgs(1),
		Long: `Puts letters to their connector again and waits for the end. Letters that fail again stay in the queue as they
are; the exit code is 4 then. A dry run reads, converts and transforms the letters and writes nothing.

The records are older than what the connector has written since: a row that was changed by a later record is
overwritten by a replayed one. Look at the letters first (tidemill dlq list), and choose.`,
		Example: `  tidemill dlq replay orders-sink --dry-run
  tidemill dlq replay orders-sink --error 'json.*'
  tidemill dlq replay orders-sink --partition 0 --from 17 --to 17`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := f.chosen()
			if err != nil {
				return err
			}
			q.DryRun, q.Batch = f.query.DryRun, f.query.Batch
			c, path := newClient(*server), dlqPath(args[0])+"/replay"
			var r worker.Replay
			if err := c.call(cmd.Context(), http.MethodPost, path, q, &r); err != nil {
				return unbegun(args[0], err)
			}
			if detach {
				return a.printReplay(&r)
			}
			return a.awaitReplay(cmd.Context(), c, path, &r)
		},
	}
	f.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.query.DryRun, "dry-run", false, "read, convert and transform the letters, and write nothing")
	flags.IntVar(&f.query.Batch, "batch", 0, "most letters in one put (default 500)")
	flags.BoolVar(&detach, "detach", false, "do not wait for the end")
	return cmd
}

func (a *app) dlqFollowCommand(server *string) *cobra.Command {
	return &cobra.Command{
		Use: "follow CONNECTOR", Short: "Wait for the end of the newest replay, and say what came of it", Args: cobra.ExactArgs(1),
		Example: "  tidemill dlq follow orders-sink",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, path := newClient(*server), dlqPath(args[0])+"/replay"
			var r worker.Replay
			if err := c.call(cmd.Context(), http.MethodGet, path, nil, &r); err != nil {
				return dlqError(err)
			}
			return a.awaitReplay(cmd.Context(), c, path, &r)
		},
	}
}

// unheard is how long a replay is followed without an answer. A group has another leader
// sooner than that, and a worker that is started anew answers.
const unheard = 30 * time.Second

// awaitReplay follows a replay to its end and prints what came of it, or what is known.
func (a *app) awaitReplay(ctx context.Context, c *client, path string, r *worker.Replay) error {
	said, heard := time.Now(), time.Now()
	err := until(ctx, "the replay to end, which goes on without this command", func() (bool, error) {
		if r.State != "running" {
			return true, nil
		}
		// What is absent in the next answer must not stay from the one before.
		var now worker.Replay
		asking, cancel := context.WithTimeout(ctx, unheard)
		defer cancel()
		switch err := c.call(asking, http.MethodGet, path, nil, &now); {
		case err != nil && ctx.Err() == nil && passing(err) && time.Since(heard) < unheard:
			return false, nil
		case err != nil:
			return false, unfollowed(r, err)
		case !now.Started.Equal(r.Started):
			return false, unfollowed(r, nil)
		}
		heard, *r = time.Now(), now
		if time.Since(said) > 2*time.Second && r.State == "running" {
			said = time.Now()
			fmt.Fprintf(a.err, "replayed %d, failed %d, %d offsets of the queue are left", r.Replayed, r.Failed, r.Left)
			if r.Waiting != "" {
				fmt.Fprintf(a.err, "; waiting: %s", firstWords(r.Waiting))
			}
			fmt.Fprintln(a.err)
		}
		return r.State != "running", nil
	})
	if told := a.printReplay(r); err == nil {
		return told
	}
	return err
}

// passing tells whether what is asked again may be answered: a worker was lost, or the
// group has no leader at the moment.
func passing(err error) bool {
	if e, ok := errors.AsType[*restError](err); ok {
		return e.status == http.StatusConflict || e.status >= http.StatusInternalServerError
	}
	return connect.AsError(err).Code != "rest.unauthorized"
}

// unbegun is the error of a replay that has not begun, or of which that is not known.
func unbegun(connector string, err error) error {
	said, answered := errors.AsType[*restError](err)
	dial, unreached := errors.AsType[*net.OpError](err)
	if answered && said.status < http.StatusInternalServerError || unreached && dial.Op == "dial" || !passing(err) {
		return dlqError(err)
	}
	return environment(&connect.Error{
		Code: "dlq.unfollowed", Place: connector, Message: "the answer was lost, and it is not known whether the replay has begun", Cause: err,
		Mend: "tidemill dlq follow " + connector + " tells; another worker (--url) answers as well",
	})
}

// unfollowed is the error of a replay of which the end is not known, why being nil when
// workers tell of another one.
func unfollowed(r *worker.Replay, why error) error {
	e := &connect.Error{
		Code: "dlq.unfollowed", Place: r.Connector, Message: "how the replay ends is not known", Cause: why,
		Mend: "it goes on by itself: tidemill dlq follow " + r.Connector + " tells; another worker (--url) answers as well",
	}
	switch {
	case r.DryRun:
		e.Message, e.Mend = "the dry run has no end: nobody goes on with it when its worker is lost", "run it again"
	case why == nil:
		e.Message, e.Mend = "another replay has begun meanwhile, and how this one ended is not known", "run it again: letters that were replayed are left out"
	}
	return environment(e)
}

// printReplay prints what came of a replay. It fails when not all is well.
func (a *app) printReplay(r *worker.Replay) error {
	if a.json {
		writeJSON(a.out, r)
	} else {
		verb := "replayed"
		if r.DryRun {
			verb = "could be replayed"
		}
		fmt.Fprintf(a.out, "%s: of %d letters in %s, %d %s, %d failed again", r.State, r.Chosen, r.Topic, r.Replayed, verb, r.Failed)
		for _, more := range []struct {
			n    int
			what string
		}{
			{r.Dropped, "left out by a transform"}, {r.Duplicates, "further letters of the same record"},
			{r.Repeated, "may have been written before"}, {r.Unsure, "may have been written or not"}, {r.Stranger, "do not say where they come from"},
		} {
			if more.n > 0 {
				fmt.Fprintf(a.out, ", %d %s", more.n, more.what)
			}
		}
		fmt.Fprintln(a.out)
		if len(r.Failures) > 0 {
			if err := printLetters(a.out, r.Topic, r.Failures, false); err != nil {
				return err
			}
		}
	}
	switch {
	case r.State == "failed":
		return no(&connect.Error{Code: "dlq.replay", Place: r.Connector, Message: "the replay ended with an error: " + r.Error})
	case r.Failed > 0:
		return no(&connect.Error{Code: "dlq.failed_again", Place: r.Connector, Message: fmt.Sprintf("%d letters failed again and stay in the queue", r.Failed), Mend: "tidemill dlq list " + r.Connector + " shows them"})
	}
	return nil
}

// dlqError gives the worker's refusals their exit code.
func dlqError(err error) error {
	if e, ok := err.(*restError); ok && e.status < http.StatusInternalServerError {
		return badInput(e)
	}
	return err
}
