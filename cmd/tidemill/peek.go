package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidemill/tidemill/worker"
)

// peekFlags are the flags of peek.
type peekFlags struct {
	url, topic string
	newest     int
}

func (a *app) peekCommand() *cobra.Command {
	var f peekFlags
	cmd := &cobra.Command{
		Use: "peek CONNECTOR", Short: "Show the newest records that a connector has written or reads", Args: cobra.ExactArgs(1),
		Long: `Shows the newest records of the topics that a source connector has written to or a sink connector reads, the newest
last: read by the connector's own converters, and those of a sink as its transforms make them. Records of transactions
that are open or were aborted are not shown. What cannot be converted is shown with the error and in base64.

With -o json each record is a JSON value.`,
		Example: `  tidemill peek orders
  tidemill peek orders --topic shop.public.orders -n 50
  tidemill peek orders -n 1 -o json`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.peek(cmd.Context(), f, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.url, "url", "http://127.0.0.1:8083", "where the worker's REST interface is")
	flags.IntVarP(&f.newest, "records", "n", 10, "how many records, at most 100")
	flags.StringVar(&f.topic, "topic", "", "records of this topic alone")
	return cmd
}

func (a *app) peek(ctx context.Context, f peekFlags, connector string) error {
	values := url.Values{"limit": {strconv.Itoa(f.newest)}}
	if f.topic != "" {
		values.Set("topic", f.topic)
	}
	var found struct {
		Records []worker.Peeked
		Partial bool
	}
	err := newClient(f.url).call(ctx, http.MethodGet, "/connectors/"+url.PathEscape(connector)+"/peek?"+values.Encode(), nil, &found)
	if e, ok := err.(*restError); ok && e.status < http.StatusInternalServerError {
		return badInput(e)
	}
	if err != nil {
		return err
	}
	for i := range found.Records {
		a.peeked(&found.Records[i])
	}
	if found.Partial {
		fmt.Fprintln(a.err, "not all partitions could be read to their ends; choose a topic with --topic, or fewer records with -n")
	}
	return nil
}

// peeked prints a record.
func (a *app) peeked(p *worker.Peeked) {
	if a.json {
		writeJSON(a.out, p)
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s-%d@%d", time.UnixMilli(p.Timestamp).UTC().Format("2006-01-02T15:04:05.000Z"), p.Topic, p.Partition, p.Offset)
	for _, h := range p.Headers {
		fmt.Fprintf(&b, " %s=%s", h[0], h[1])
	}
	for _, h := range p.RawHeaders {
		fmt.Fprintf(&b, " %q=base64:%s", h[0], h[1])
	}
	switch {
	case p.Dropped:
		b.WriteString(" is left out by the transforms")
	case p.TooLarge > 0:
		fmt.Fprintf(&b, " has %d bytes, for which there is no room", p.TooLarge)
	case p.Failure == nil:
		fmt.Fprintf(&b, " %s %s", p.Key, p.Value)
	default:
		for _, raw := range []*string{p.RawKey, p.RawValue} {
			if raw != nil {
				b.WriteString(" base64:" + *raw)
			}
		}
		fmt.Fprintf(&b, " %s %s: %s", p.Failure.Stage, p.Failure.Code, p.Failure.Message)
	}
	fmt.Fprintln(a.out, b.String())
}
