package otel_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/testenv/otlp"
	"github.com/tidemill/tidemill/worker/otel"
)

func newTracer(endpoint string) *otel.Tracer {
	return otel.New(otel.Options{
		Endpoint: endpoint + "/v1/traces", Headers: http.Header{"X-Key": {"k"}}, Ratio: 1,
		Service: "mill", Instance: "a:1", Version: "2", Log: slog.New(slog.DiscardHandler),
	})
}

// flush has a tracer send what it has, and stop.
func flush(t *testing.T, tracer *otel.Tracer) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tracer.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

func counts(t *testing.T, tracer *otel.Tracer, sent, dropped, failed int64) {
	t.Helper()
	if s, d, f := tracer.Counts(); s != sent || d != dropped || f != failed {
		t.Errorf("sent %d, dropped %d, failed %d; want %d, %d, %d", s, d, f, sent, dropped, failed)
	}
}

func TestContext(t *testing.T) {
	const text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	c, ok := otel.Parse([]byte(text))
	if !ok || c.String() != text || !c.Sampled {
		t.Errorf("%s is read as %s, %v", text, c, ok)
	}
	for text, want := range map[string]bool{
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00":    true,
		"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-ab": true,
		"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01ab":  false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-ab": false,
		"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01":    false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01":    false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01":    false,
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01":    false,
		"00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01":    false,
		"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01":    false,
		"": false,
	} {
		if _, ok := otel.Parse([]byte(text)); ok != want {
			t.Errorf("%q is read: %v", text, ok)
		}
	}
}

func TestSpansArriveWhole(t *testing.T) {
	to := otlp.Start(t)
	tracer := newTracer(to.URL)
	began := time.Unix(1000, 5)
	root := tracer.Span("root", otel.Internal, began)
	root.Set(otel.Attribute{Name: "s", Value: "text"}, otel.Attribute{Name: "n", Value: int64(7)}, otel.Attribute{Name: "f", Value: 0.5}, otel.Attribute{Name: "b", Value: true})
	child := root.Child("child", otel.Producer, began)
	child.From(began.Add(time.Second))
	other := tracer.Span("other", otel.Consumer, began)
	for range 2 {
		child.Link(other.Context)
	}
	child.End(began.Add(2*time.Second), "some.code")
	root.End(began.Add(3*time.Second), "")
	flush(t, tracer)
	counts(t, tracer, 2, 0, 0)
	got := to.Spans()
	if len(got) != 2 {
		t.Fatalf("%d spans have come: %+v", len(got), got)
	}
	c, r := got[0], got[1]
	if c.Name != "child" || c.Parent != r.ID || c.Trace != r.Trace || c.Fault != "some.code" || c.Kind != 4 || !c.Began.Equal(began.Add(time.Second)) || !c.Ended.Equal(began.Add(2*time.Second)) {
		t.Errorf("the child is %+v", c)
	}
	if len(c.Links) != 1 || !strings.Contains(other.Context.String(), strings.ReplaceAll(c.Links[0], "/", "-")) {
		t.Errorf("the child links to %v, want %s", c.Links, other.Context)
	}
	if r.Parent != "" || r.Fault != "" || r.Attributes["s"] != "text" || r.Attributes["n"] != int64(7) || r.Attributes["f"] != 0.5 || r.Attributes["b"] != true {
		t.Errorf("the root is %+v", r)
	}
	if r.Resource["service.name"] != "mill" || r.Resource["service.instance.id"] != "a:1" || r.Resource["service.version"] != "2" {
		t.Errorf("they are of %v", r.Resource)
	}
	if _, h := to.Asked(); h.Get("X-Key") != "k" {
		t.Errorf("headers are %v", h)
	}
}

// TestTroubleIsCounted has spans that find no room, a collector that has none for a while,
// one that does not want them, one that refuses a part, and none.
func TestTroubleIsCounted(t *testing.T) {
	end := func(tracer *otel.Tracer, n int) {
		for range n {
			tracer.Span("s", otel.Internal, time.Now()).End(time.Now(), "")
		}
	}
	t.Run("no room", func(t *testing.T) {
		tracer := newTracer(otlp.Start(t).URL)
		end(tracer, 5000)
		flush(t, tracer)
		counts(t, tracer, 4096, 5000-4096, 0)
	})
	t.Run("later", func(t *testing.T) {
		to := otlp.Start(t)
		to.Answer(http.StatusServiceUnavailable, http.StatusTooManyRequests)
		tracer := newTracer(to.URL)
		end(tracer, 3)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tracer.Run(ctx) }()
		for len(to.Spans()) == 0 && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		counts(t, tracer, 3, 0, 0)
		if n, _ := to.Asked(); n != 3 {
			t.Errorf("%d requests were made", n)
		}
	})
	t.Run("never", func(t *testing.T) {
		to := otlp.Start(t)
		to.Answer(http.StatusBadRequest)
		tracer := newTracer(to.URL)
		end(tracer, 3)
		flush(t, tracer)
		counts(t, tracer, 0, 0, 3)
		if n, _ := to.Asked(); n != 1 {
			t.Errorf("%d requests were made", n)
		}
	})
	t.Run("in part", func(t *testing.T) {
		to := otlp.Start(t)
		to.Refuse(2)
		tracer := newTracer(to.URL)
		end(tracer, 3)
		flush(t, tracer)
		counts(t, tracer, 1, 0, 2)
	})
	t.Run("nobody", func(t *testing.T) {
		tracer := newTracer("http://127.0.0.1:1")
		end(tracer, 3)
		flush(t, tracer)
		counts(t, tracer, 0, 0, 3)
	})
}

func TestLinksAreBounded(t *testing.T) {
	to := otlp.Start(t)
	tracer := newTracer(to.URL)
	s := tracer.Span("s", otel.Internal, time.Now())
	for range otel.MaxLinks + 9 {
		s.Link(tracer.Span("other", otel.Internal, time.Now()).Context)
	}
	s.End(time.Now(), "")
	flush(t, tracer)
	if got := to.Spans(); len(got) != 1 || len(got[0].Links) != otel.MaxLinks {
		t.Errorf("spans are %+v", got)
	}
}

func TestSample(t *testing.T) {
	none, some := otel.New(otel.Options{}), otel.New(otel.Options{Ratio: 0.5})
	n := 0
	for range 10_000 {
		if none.Sample() {
			t.Fatal("one is traced of none")
		}
		if some.Sample() {
			n++
		}
	}
	if n < 4_500 || n > 5_500 {
		t.Errorf("of 10000, %d are traced, want half", n)
	}
}

// TestStopIsBounded has a collector that never answers.
func TestStopIsBounded(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer server.Close()
	defer close(hang)
	tracer := newTracer(server.URL)
	tracer.Span("s", otel.Internal, time.Now()).End(time.Now(), "")
	flush(t, tracer)
	counts(t, tracer, 0, 0, 1)
}
