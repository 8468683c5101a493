package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/testenv/otlp"
	"github.com/tidemill/tidemill/worker/otel"
)

// spanList is what a collector got.
type spanList []otlp.Span

func (s spanList) named(name string) (found spanList) {
	for _, span := range s {
		if span.Name == name {
			found = append(found, span)
		}
	}
	return found
}

// under returns the names of the spans within one, in order.
func (s spanList) under(parent otlp.Span) (names []string) {
	for _, span := range s {
		if span.Parent == parent.ID && span.Trace == parent.Trace {
			names = append(names, span.Name)
		}
	}
	slices.Sort(names)
	return names
}

// tracedPair runs a source and a sink behind it until the source is told that its records are
// safe and the sink has committed, and returns the spans and the records.
func tracedPair(t *testing.T, name string, over connect.Config, more ...string) (spanList, []*kgo.Record) {
	t.Helper()
	l, to := newLab(t), otlp.Start(t)
	over = with(over, "tracing.endpoint", to.URL, "tracing.record.headers", "true")
	r := l.start(over)
	more = append(more, "count", "20", "batch", "10", "transforms", "s", "transforms.s.type", "Suffix", "transforms.s.suffix", "!")
	r.create(name, counter(name, more...))
	r.create(name+"-sink", keeper(name))
	wait(t, "all records are kept", func() bool { return len(l.keptBy(name+"-sink")) == 20 })
	wait(t, "all records are safe", func() bool { return strings.HasSuffix(l.lastSafe(name), `{"n":20}`) })
	wait(t, "the sink has committed", func() bool {
		tasks := r.w.rt.metrics.all()
		return slices.ContainsFunc(tasks, func(m *taskMetrics) bool { return !m.source && m.commits.Load() > 0 && m.active.Load() == 0 })
	})
	r.stop()
	if sent, dropped, failed := r.w.rt.tracer.Counts(); sent == 0 || dropped+failed > 0 {
		t.Errorf("%d spans were sent, %d dropped, %d failed", sent, dropped, failed)
	}
	return to.Spans(), l.records(name)
}

// checkPair checks the traces of a source of 20 records and of the sink behind it.
func checkPair(t *testing.T, got spanList, records []*kgo.Record, name string) {
	t.Helper()
	produced := map[string]otlp.Span{}
	all := int64(0)
	for _, root := range got.named("source batch") {
		n, _ := root.Attributes["tidemill.records"].(int64)
		all += n
		if root.Attributes["tidemill.connector"] != name || root.Attributes["tidemill.task"] != int64(0) || root.Parent != "" {
			t.Errorf("a batch is %+v", root)
		}
		if names := slices.DeleteFunc(got.under(root), func(s string) bool { return s == "commit" }); !slices.Equal(names, []string{"convert", "poll", "produce", "transform"}) {
			t.Errorf("within a batch of the source are %v", names)
		}
	}
	if all != 20 {
		t.Errorf("batches of the source have %d records", all)
	}
	if p := got.named("poll"); len(p) == 0 || p[0].Attributes["tidemill.offset.first"] != `{"n":1}` || p[0].Attributes["tidemill.offset.last"] != `{"n":10}` {
		t.Errorf("polls are %+v", p)
	}
	for _, p := range got.named("produce") {
		produced[p.Trace+"/"+p.ID] = p
	}
	for _, r := range records {
		if len(r.Headers) != 1 || r.Headers[0].Key != otel.Header {
			t.Fatalf("headers are %v", r.Headers)
		}
		if c, ok := otel.Parse(r.Headers[0].Value); !ok || produced[link(c)].Name == "" {
			t.Errorf("a record belongs to %s, which is none of %v", r.Headers[0].Value, produced)
		}
	}
	read := int64(0)
	for _, root := range got.named("sink batch") {
		n, _ := root.Attributes["tidemill.records"].(int64)
		read += n
		if names := slices.DeleteFunc(got.under(root), func(s string) bool { return s == "commit" }); !slices.Equal(names, []string{"convert", "poll", "put"}) {
			t.Errorf("within a batch of the sink are %v", names)
		}
		if len(root.Links) == 0 || produced[root.Links[0]].Name == "" {
			t.Errorf("a batch of the sink is linked to %v, none of %v", root.Links, produced)
		}
	}
	if read != 20 {
		t.Errorf("batches of the sink have %d records", read)
	}
	for _, connector := range []string{name, name + "-sink"} {
		if !slices.ContainsFunc(got.named("commit"), func(s otlp.Span) bool { return s.Attributes["tidemill.connector"] == connector }) {
			t.Errorf("there is no commit of %s", connector)
		}
	}
	for _, s := range got {
		if s.Fault != "" || s.Ended.Before(s.Began) || s.Resource["service.name"] != "tidemill" {
			t.Errorf("a span is %+v", s)
		}
	}
}

func link(c otel.Context) string { return fmt.Sprintf("%x/%x", c.Trace, c.Span) }

func TestTracesOfRecords(t *testing.T) {
	got, records := tracedPair(t, "traced", connect.Config{})
	checkPair(t, got, records, "traced")
}

func TestTracesOfTransactions(t *testing.T) {
	got, records := tracedPair(t, "traced-once", connect.Config{"exactly.once.source.support": "enabled"}, "txn.size", "5")
	checkPair(t, got, records, "traced-once")
}

// TestSinkFollowsTraces has a sink that traces nothing of its own accord read a record of a
// trace.
func TestSinkFollowsTraces(t *testing.T) {
	l, to := newLab(t), otlp.Start(t)
	r := l.start(connect.Config{"tracing.endpoint": to.URL, "tracing.sample.ratio": "0"})
	const topic = "trace-followed"
	l.produce(topic, 1, "early")
	r.create("follower", keeper(topic))
	wait(t, "the first record is kept", func() bool { return len(l.keptBy("follower")) == 1 })
	sampled, not := otel.Context{Trace: [16]byte{1}, Span: [8]byte{2}, Sampled: true}, otel.Context{Trace: [16]byte{3}, Span: [8]byte{4}}
	for i, c := range []otel.Context{not, sampled} {
		must(t, l.client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("late"), Headers: []kgo.RecordHeader{{Key: otel.Header, Value: []byte(c.String())}}}).FirstErr())
		wait(t, "the next record is kept", func() bool { return len(l.keptBy("follower")) == 2+i })
	}
	r.stop()
	if got := spanList(to.Spans()).named("sink batch"); len(got) != 1 || !slices.Equal(got[0].Links, []string{link(sampled)}) {
		t.Errorf("batches are %+v", got)
	}
}

// TestNobodyWaitsForTraces has a worker whose collector is not there.
func TestNobodyWaitsForTraces(t *testing.T) {
	l, figures := newLab(t), prometheus.NewRegistry()
	r := l.start(connect.Config{"tracing.endpoint": "http://127.0.0.1:1"}, func(o *Options) { o.Metrics = figures })
	r.create("untold", counter("untold", "count", "50"))
	wait(t, "all records are safe", func() bool { return strings.HasSuffix(l.lastSafe("untold"), `{"n":50}`) })
	if got := l.values("untold"); len(got) != 50 {
		t.Errorf("%d records were written", len(got))
	}
	r.stop()
	found := map[string]float64{}
	families, err := figures.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == spansName {
			for _, m := range f.GetMetric() {
				found[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if found["failed"] < 20 || found["sent"] != 0 || len(found) != 3 {
		t.Errorf("spans are %v", found)
	}
}

// TestOwnContextStays has a record that belongs to a trace already.
func TestOwnContextStays(t *testing.T) {
	tracer := otel.New(otel.Options{Ratio: 1})
	own := tracer.Span("own", otel.Internal, time.Now())
	b := &tracedBatch{produce: tracer.Span("produce", otel.Producer, time.Now()), header: []byte("ours")}
	h := &recordHooks{headers: true}
	with := &kgo.Record{Context: &inflight{batch: b}, Headers: []kgo.RecordHeader{{Key: otel.Header, Value: []byte(own.Context.String())}}}
	without := &kgo.Record{Context: &inflight{batch: b}}
	for _, r := range []*kgo.Record{with, without, {Context: context.Background()}, {Context: &inflight{}}} {
		h.OnProduceRecordBuffered(r)
	}
	if len(with.Headers) != 1 || string(with.Headers[0].Value) != own.Context.String() {
		t.Errorf("its headers are %v", with.Headers)
	}
	if len(without.Headers) != 1 || string(without.Headers[0].Value) != "ours" {
		t.Errorf("the other's are %v", without.Headers)
	}
	if n := b.left.Load(); n != 2 {
		t.Errorf("%d records are on their way", n)
	}
}

func TestTracingSettings(t *testing.T) {
	l := emptyLab()
	for setting, values := range map[string][]string{
		tracingEndpoint: {"localhost:4318", "grpc://localhost:4317", "http://", "http://me:secret@localhost", "http://localhost?key=secret"},
		tracingHeaders:  {"secret", "=secret", "a b=secret"},
	} {
		for _, value := range values {
			props := with(l.props(), "bootstrap.servers", "localhost:1", tracingEndpoint, "http://localhost:4318", setting, value)
			settings, err := ConfigDef().Parse(props)
			must(t, err)
			_, err = New(Options{Config: settings, Raw: props, Plugins: l.plugins()})
			list, ok := errors.AsType[connect.Errors](err)
			if !ok || len(list) != 1 || list[0].Place != setting || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s=%s: %v", setting, value, err)
			}
		}
	}
	for _, ratio := range []string{"-0.1", "1.1", "NaN", "half"} {
		if _, err := ConfigDef().Parse(with(l.props(), "tracing.sample.ratio", ratio)); err == nil || !strings.Contains(err.Error(), "tracing.sample.ratio") {
			t.Errorf("%s: %v", ratio, err)
		}
	}
}

// TestNoTracesCostNothing takes a task that is not traced.
func TestNoTracesCostNothing(t *testing.T) {
	task := &sourceTask{}
	if opts := task.hooks(nil); len(opts) != 0 {
		t.Error("the producer has hooks")
	}
	rt := &runtime{}
	if newTracing(taskSetup{rt: rt}, &chain{}) != nil {
		t.Error("there is something to trace with")
	}
	records := make([]connect.SourceRecord, 10)
	fetches := kgo.Fetches{{Topics: []kgo.FetchTopic{{Partitions: []kgo.FetchPartition{{Records: []*kgo.Record{{}}}}}}}}
	task.parcels.life = t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		var g *tracing
		task.parcels.batch = g.polled(time.Time{}, records)
		task.parcels.batch.expect(nil)
		task.converted(nil)
		b := g.read(g.now(), fetches)
		b.converted(nil).put(nil)
		g.committed(time.Time{}, time.Time{})
	}); n != 0 {
		t.Errorf("a batch allocates %v times", n)
	}
}
