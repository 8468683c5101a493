package otel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	otlp "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// encode makes the body of a request.
func (t *Tracer) encode(batch []*Span) ([]byte, error) {
	spans := make([]*otlp.Span, len(batch))
	for i, s := range batch {
		spans[i] = s.message()
	}
	who := attributes([]Attribute{{"service.name", t.o.Service}, {"service.instance.id", t.o.Instance}, {"service.version", t.o.Version}})
	return proto.Marshal(&collector.ExportTraceServiceRequest{ResourceSpans: []*otlp.ResourceSpans{{
		Resource: &resource.Resource{Attributes: who},
		ScopeSpans: []*otlp.ScopeSpans{{
			Scope: &common.InstrumentationScope{Name: "github.com/tidemill/tidemill", Version: t.o.Version}, Spans: spans,
		}},
	}}})
}

// flagSampled is W3C's flag, which spans and links carry as well.
const flagSampled = 1

func (s *Span) message() *otlp.Span {
	m := &otlp.Span{
		TraceId: s.Trace[:], SpanId: s.Context.Span[:], Name: s.name, Kind: otlp.Span_SpanKind(s.kind), Flags: flagSampled,
		StartTimeUnixNano: nanos(s.began), EndTimeUnixNano: nanos(s.ended), Attributes: attributes(s.attributes), DroppedLinksCount: uint32(s.lost),
	}
	if s.parent != [8]byte{} {
		m.ParentSpanId = s.parent[:]
	}
	for _, c := range s.links {
		link := &otlp.Span_Link{TraceId: c.Trace[:], SpanId: c.Span[:]}
		if c.Sampled {
			link.Flags = flagSampled
		}
		m.Links = append(m.Links, link)
	}
	if s.fault != "" {
		m.Status = &otlp.Status{Code: otlp.Status_STATUS_CODE_ERROR, Message: s.fault}
	}
	return m
}

func nanos(t time.Time) uint64 { return uint64(t.UnixNano()) }

func attributes(list []Attribute) []*common.KeyValue {
	out := make([]*common.KeyValue, len(list))
	for i, a := range list {
		v := &common.AnyValue{}
		switch value := a.Value.(type) {
		case string:
			v.Value = &common.AnyValue_StringValue{StringValue: value}
		case bool:
			v.Value = &common.AnyValue_BoolValue{BoolValue: value}
		case int64:
			v.Value = &common.AnyValue_IntValue{IntValue: value}
		case float64:
			v.Value = &common.AnyValue_DoubleValue{DoubleValue: value}
		}
		out[i] = &common.KeyValue{Key: a.Name, Value: v}
	}
	return out
}

// post makes one attempt. It returns how many spans the collector refused, and with an error
// whether another attempt may help: as OTLP has it, after the statuses that say so, and when
// there was no answer.
func (t *Tracer) post(ctx context.Context, body []byte) (refused int64, again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.o.Endpoint, bytes.NewReader(body))
	if err != nil {
		return 0, false, err
	}
	maps.Copy(r.Header, t.o.Headers)
	r.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := t.client.Do(r)
	if err != nil {
		return 0, true, err
	}
	defer resp.Body.Close()
	const enough = 1 << 20
	answer, err := io.ReadAll(io.LimitReader(resp.Body, enough))
	switch {
	case resp.StatusCode/100 != 2:
		switch resp.StatusCode {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			again = true
		}
		return 0, again, fmt.Errorf("%s answered %s", t.o.Endpoint, resp.Status)
	case err != nil:
		return 0, false, nil // It was taken; only the answer is not known.
	}
	var m collector.ExportTraceServiceResponse
	if err := proto.Unmarshal(answer, &m); err != nil {
		return 0, false, errors.New(t.o.Endpoint + " does not answer as a collector does")
	}
	return m.GetPartialSuccess().GetRejectedSpans(), false, nil
}
