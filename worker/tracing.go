package worker

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker/otel"
)

const (
	tracingEndpoint = "tracing.endpoint"
	tracingHeaders  = "tracing.headers"
)

// tracingKeys are the settings of OpenTelemetry's traces.
func tracingKeys() []connect.ConfigKey {
	return []connect.ConfigKey{
		key(tracingEndpoint, connect.TypeString, "", "Where spans are sent to, as OTLP over HTTP, such as http://localhost:4318; /v1/traces follows unless there is a path. No traces without."),
		key(tracingHeaders, connect.TypePassword, "", "Headers of the requests to tracing.endpoint, as name=value, separated by commas."),
		key("tracing.service.name", connect.TypeString, "tidemill", "The service.name of the spans."),
		checked(key("tracing.sample.ratio", connect.TypeDouble, "1", "Which part of the batches of records is traced, from 0 to 1. A sink also traces those with records whose traceparent says that their trace is sampled."), connect.CheckText(checkRatio)),
		key("tracing.record.headers", connect.TypeBoolean, "false", "Whether the records of traced batches of sources have the header traceparent (W3C Trace Context), by which those who read them find the trace. One that a record has already stays."),
	}
}

func checkRatio(text string) error {
	if f, err := strconv.ParseFloat(text, 64); err == nil && !(f >= 0 && f <= 1) {
		return errors.New("Value must be between 0 and 1")
	}
	return nil
}

// newTracer returns what the settings, with their secrets, ask for: nil for no traces.
func newTracer(o Options, raw connect.Config, instance string) (*otel.Tracer, connect.Errors) {
	text := strings.TrimSpace(raw[tracingEndpoint])
	if text == "" {
		return nil, nil
	}
	var faults connect.Errors
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		faults = append(faults, connect.ConfigError(tracingEndpoint, "it is no URL of an OTLP receiver → write http://host:4318 or https://host"))
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		faults = append(faults, connect.ConfigError(tracingEndpoint, "only host, port and path may stand here → say who you are in %s", tracingHeaders))
	case strings.Trim(u.Path, "/") == "":
		u.Path = "/v1/traces"
	}
	headers := http.Header{}
	for part := range strings.SplitSeq(raw[tracingHeaders], ",") {
		name, value, ok := strings.Cut(part, "=")
		if name = strings.TrimSpace(name); ok && name != "" && !strings.ContainsAny(name, " \t\r\n:") && !strings.ContainsAny(value, "\r\n") {
			headers.Set(name, strings.TrimSpace(value))
		} else if strings.TrimSpace(part) != "" {
			faults = append(faults, connect.ConfigError(tracingHeaders, "a header is not of the form name=value → separate headers by commas; a value may hold none"))
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return otel.New(otel.Options{
		Endpoint: u.String(), Headers: headers, Ratio: o.Config.Float("tracing.sample.ratio"), Log: o.Log,
		Service: o.Config.String("tracing.service.name"), Instance: instance, Version: o.Version,
	}), nil
}

// tracing makes the spans of a task. Its methods do nothing for a nil one, which a task has
// that is not traced.
type tracing struct {
	*otel.Tracer
	about []otel.Attribute
	watch *stopwatch
	chain *chain

	mu sync.Mutex // Guards what follows.
	// arrived are the newest batches that are written, and behind which no offset is stored yet.
	arrived []writtenBatch
}

type writtenBatch struct {
	otel.Context
	at time.Time
}

func newTracing(t taskSetup, c *chain) *tracing {
	if t.rt.tracer == nil {
		return nil
	}
	return &tracing{Tracer: t.rt.tracer, chain: c, watch: newStopwatch(c), about: []otel.Attribute{
		{Name: "tidemill.connector", Value: t.id.Connector}, {Name: "tidemill.task", Value: int64(t.id.Task)},
	}}
}

// now is the time, for those who are traced.
func (g *tracing) now() (now time.Time) {
	if g != nil {
		now = time.Now()
	}
	return now
}

// plugins tells of the time that the plugins of the chain took, as two spans drawn one behind
// the other: the records went through both in turn. It returns where the second ends.
func (g *tracing) plugins(s *otel.Span, began time.Time, transformFirst bool) time.Time {
	g.watch.stop(g.chain)
	stages := []struct {
		name string
		took time.Duration
	}{{"transform", g.watch.transform}, {"convert", g.watch.convert}}
	if !transformFirst {
		stages[0], stages[1] = stages[1], stages[0]
	}
	for _, stage := range stages {
		if stage.name == "transform" && len(g.watch.plain.steps) == 0 {
			continue
		}
		c := s.Child(stage.name, otel.Internal, began)
		began = began.Add(stage.took)
		c.End(began, "")
	}
	return began
}

// wrote takes note of a batch that is written.
func (g *tracing) wrote(c otel.Context, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.arrived) > otel.MaxLinks { // The newest of all is no link.
		g.arrived = g.arrived[1:]
	}
	g.arrived = append(g.arrived, writtenBatch{c, at})
}

// committed tells of a commit that counts for what was written until then, in the trace of
// the newest batch and linked to those before it.
func (g *tracing) committed(began, until time.Time) {
	if g == nil {
		return
	}
	g.mu.Lock()
	n := 0
	for n < len(g.arrived) && !g.arrived[n].at.After(until) {
		n++
	}
	batches := g.arrived[:n]
	g.arrived = slices.Clone(g.arrived[n:])
	g.mu.Unlock()
	if n == 0 {
		return
	}
	s := g.Under(batches[n-1].Context, "commit", otel.Internal, began)
	s.Set(g.about...)
	for _, b := range batches[:n-1] {
		s.Link(b.Context)
	}
	s.End(time.Now(), "")
}

// faultOf returns the code of an error.
func faultOf(err error) string {
	if err == nil {
		return ""
	}
	return connect.AsError(err).Code
}
