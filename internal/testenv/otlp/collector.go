package otlp

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	service "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	"google.golang.org/protobuf/proto"
)

// Collector takes traces until the test ends.
type Collector struct {
	URL string // Where to send to.
	t   testing.TB

	mu      sync.Mutex // Guards what follows.
	spans   []Span
	headers http.Header
	answers []int
	asked   int
	refuse  int64
}

// Span is a span that was sent.
type Span struct {
	Name, Trace, ID, Parent, Fault string
	Kind                           int
	Began, Ended                   time.Time
	Attributes, Resource           map[string]any
	Links                          []string // As trace/span.
}

// Start starts a collector.
func Start(t testing.TB) *Collector {
	c := &Collector{t: t}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// Answer has the next requests answered with statuses other than 200.
func (c *Collector) Answer(statuses ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = append(c.answers, statuses...)
}

// Refuse has each request answered as one of which so many spans were refused.
func (c *Collector) Refuse(spans int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = spans
}

// Asked returns how many requests came, and the headers of the last.
func (c *Collector) Asked() (int, http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, c.headers
}

// Spans returns what has come, in order.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// ServeHTTP implements http.Handler.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	c.headers = r.Header
	body, err := io.ReadAll(r.Body)
	var m service.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &m)
	}
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.t.Errorf("the request is not OTLP: %s %s %s: %v", r.Method, r.URL, r.Header.Get("Content-Type"), err)
	}
	if len(c.answers) > 0 {
		w.WriteHeader(c.answers[0])
		c.answers = c.answers[1:]
		return
	}
	for _, of := range m.ResourceSpans {
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				span := Span{
					Name: s.Name, Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
					Fault: s.Status.GetMessage(), Kind: int(s.Kind), Began: time.Unix(0, int64(s.StartTimeUnixNano)), Ended: time.Unix(0, int64(s.EndTimeUnixNano)),
					Attributes: values(s.Attributes), Resource: values(of.Resource.GetAttributes()),
				}
				for _, l := range s.Links {
					span.Links = append(span.Links, hex.EncodeToString(l.TraceId)+"/"+hex.EncodeToString(l.SpanId))
				}
				c.spans = append(c.spans, span)
			}
		}
	}
	answer := &service.ExportTraceServiceResponse{}
	if c.refuse > 0 {
		answer.PartialSuccess = &service.ExportTracePartialSuccess{RejectedSpans: c.refuse}
	}
	text, err := proto.Marshal(answer)
	if err != nil {
		c.t.Error(err)
	}
	_, _ = w.Write(text) // Who has gone away needs no answer.
}

func values(list []*common.KeyValue) map[string]any {
	m := map[string]any{}
	for _, a := range list {
		switch v := a.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			m[a.Key] = v.StringValue
		case *common.AnyValue_BoolValue:
			m[a.Key] = v.BoolValue
		case *common.AnyValue_IntValue:
			m[a.Key] = v.IntValue
		case *common.AnyValue_DoubleValue:
			m[a.Key] = v.DoubleValue
		}
	}
	return m
}
