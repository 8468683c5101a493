package worker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
)

// peek returns what is shown, one text a record.
func (r *rig) peek(name, topic string, limit int) (list []string) {
	r.l.t.Helper()
	records, whole, err := r.Peek(r.l.t.Context(), name, topic, limit)
	must(r.l.t, err)
	if !whole {
		list = append(list, "not whole")
	}
	for _, p := range records {
		text := fmt.Sprintf("%s-%d@%d", p.Topic, p.Partition, p.Offset)
		switch {
		case p.Dropped:
			text += " dropped"
		case p.TooLarge > 0:
			text += fmt.Sprint(" of ", p.TooLarge)
		case p.Failure != nil:
			text += fmt.Sprint(" ", p.Failure.Stage, " ", p.Failure.Code)
		}
		for _, h := range p.Headers {
			text += fmt.Sprintf(" %s=%s", h[0], h[1])
		}
		for _, h := range p.RawHeaders {
			text += fmt.Sprintf(" %s=%s", h[0], h[1])
		}
		for _, raw := range []*string{p.RawKey, p.RawValue} {
			if raw != nil {
				text += " " + *raw
			}
		}
		list = append(list, strings.TrimSpace(text+fmt.Sprintf(" %s %s", p.Key, p.Value)))
	}
	return list
}

// What a source has written is found behind marks of transactions and what was aborted, and
// nothing else is.
func TestPeekShowsWhatIsCommitted(t *testing.T) {
	l := newLab(t)
	w := l.start(exact)
	l.produce("peek-numbers", 1)
	w.create("c", counter("peek-numbers", "count", "60", "batch", "3", "txn.size", "3", "abort.every", "4", "transaction.boundary", "connector"))
	wait(t, "all is written", func() bool { return len(l.values("peek-numbers")) == 45 })
	client, err := kgo.NewClient(kgo.SeedBrokers(l.brokers), kgo.TransactionalID("peek-other"))
	must(t, err)
	defer client.Close()
	for _, more := range []int{200, 7} {
		must(t, client.BeginTransaction())
		for i := range more {
			client.Produce(t.Context(), &kgo.Record{Topic: "peek-numbers", Value: fmt.Appendf(nil, "not there %d", i)}, nil)
		}
		must(t, client.Flush(t.Context()))
		if more == 200 {
			must(t, client.EndTransaction(t.Context(), kgo.TryAbort))
		}
	}
	var want []string
	for _, r := range l.records("peek-numbers") {
		want = append(want, fmt.Sprintf("peek-numbers-0@%d %q %q", r.Offset, r.Key, r.Value))
	}
	for _, n := range []int{1, 10, 100} {
		if got, want := w.peek("c", "", n), want[max(0, len(want)-n):]; !slices.Equal(got, want) {
			t.Errorf("the newest %d are\n%s\nnot\n%s", n, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	must(t, client.EndTransaction(t.Context(), kgo.TryAbort))
}

// hiding is a transform that hides what a field is.
func hiding(o *Options) {
	o.Plugins.Transforms = append(o.Plugins.Transforms, connect.Plugin[connect.Transform]{
		Class: "org.example.MaskField$Value", Config: connect.NewConfigDef(), New: func() connect.Transform { return &stars{} },
	})
}

type stars struct{}

func (*stars) Configure(connect.Settings) error { return nil }
func (*stars) Close() error                     { return nil }
func (*stars) Apply(r *connect.Record) (bool, error) {
	r.Value = connect.String("***")
	return true, nil
}

// A sink's records are shown as it is given them: by time over all its topics, through its
// transforms. What cannot be read is shown as it is, unless something is to be hidden.
func TestPeekShowsWhatASinkIsGiven(t *testing.T) {
	l := newLab(t)
	w := l.start(nil, hiding)
	began := time.Now().Truncate(time.Second)
	for i, r := range []struct {
		topic, value string
		partition    int32
	}{{"peek-a", "old", 0}, {"peek-a", "one", 1}, {"peek-b", "bad one", 0}, {"peek-a", "two", 0}, {"peek-b", "three", 0}, {"peek-a", "four-out", 1}} {
		_, _ = l.admin.CreateTopic(t.Context(), 2, 1, nil, r.topic)
		direct, err := kgo.NewClient(kgo.SeedBrokers(l.brokers), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		must(t, err)
		defer direct.Close()
		record := &kgo.Record{Topic: r.topic, Partition: r.partition, Key: []byte("k"), Value: []byte(r.value), Timestamp: began.Add(time.Duration(i) * time.Second), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}}
		must(t, direct.ProduceSync(t.Context(), record).FirstErr())
	}
	l.produce("peek-other", 1, "nothing of theirs")
	suffix := []string{"transforms", "s", "transforms.s.type", "Suffix", "transforms.s.suffix", "!", "transforms.s.drop", "-out"}
	w.create("list", keeper("peek-a, peek-b, peek-absent", suffix...))
	w.create("pattern", with(keeper("", suffix...), "topics.regex", "peek-[ab]|connect-configs"))
	w.create("masked", keeper("peek-b", "transforms", "m", "transforms.m.type", "MaskField$Value"))
	all := []string{
		`peek-a-1@0 "h"="v" "k" "one!"`, `peek-b-0@0 VALUE_CONVERTER test.convert h=dg== aw== YmFkIG9uZQ==`,
		`peek-a-0@1 "h"="v" "k" "two!"`, `peek-b-0@1 "h"="v" "k" "three!"`, `peek-a-1@1 dropped`,
	}
	for _, c := range []struct {
		name, topic string
		limit       int
		want        []string
	}{
		{"list", "", 5, all},
		{"pattern", "", 5, all},
		{"list", "", 2, all[3:]},
		{"list", "peek-b", 2, []string{all[1], all[3]}},
		{"list", "peek-absent", 2, nil},
		{"masked", "", 5, []string{`peek-b-0@0 VALUE_CONVERTER test.convert`, `peek-b-0@1 "h"="v" "k" "***"`}},
	} {
		if got := w.peek(c.name, c.topic, c.limit); !slices.Equal(got, c.want) {
			t.Errorf("the newest %d of %s %s are\n%s\nnot\n%s", c.limit, c.name, c.topic, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
	for _, c := range []struct {
		name, topic, code string
		limit             int
	}{
		{"nobody", "", "connector.not_found", 1}, {"list", "", "request.invalid", 0}, {"list", "peek-other", "peek.topic", 1},
		{"pattern", "peek-other", "peek.topic", 1}, {"pattern", "connect-configs", "peek.topic", 1}, {"masked", "peek-a", "peek.topic", 1},
	} {
		if _, _, err := w.Peek(t.Context(), c.name, c.topic, c.limit); err == nil || connect.AsError(err).Code != c.code {
			t.Errorf("%s %s: %v, not %s", c.name, c.topic, err, c.code)
		}
	}
}

// Before an open transaction there may be only what was aborted.
func TestPeekEndsBehindWhatWasAborted(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	l.produce("peek-aborted", 1, "one")
	w.create("c", keeper("peek-aborted"))
	defer devstack.TestAborted(t, []string{l.brokers}, "peek-aborted")()
	if got, want := w.peek("c", "", 1), []string{`peek-aborted-0@0 "h"="v" "0" "one"`}; !slices.Equal(got, want) {
		t.Errorf("the newest is %v, not %v", got, want)
	}
}

// However large records are, what is shown and what is read for it is bounded.
func TestPeekIsBounded(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	large := strings.Repeat("x", 400<<10)
	values := slices.Repeat([]string{large}, 100)
	for at := range 10 {
		l.produce("peek-large", 1, values[at*10:at*10+10]...)
	}
	l.produce("peek-large", 1, "small")
	w.create("c", keeper("peek-large"))
	var shown, left int
	records, whole, err := w.Peek(t.Context(), "c", "", 5)
	must(t, err)
	for _, p := range records {
		if shown += len(p.Value); p.TooLarge == len(large)+3 {
			left++
		}
	}
	if !whole || len(records) != 5 || left != 2 || shown > 1<<20 || string(records[4].Value) != `"small"` || records[0].Value != nil {
		t.Errorf("%d records of %d bytes are shown, %d are left out, whole is %v", len(records), shown, left, whole)
	}
	records, whole, err = w.Peek(t.Context(), "c", "", 100)
	must(t, err)
	if whole || len(records) == 0 {
		t.Errorf("40 MB are read for %d records", len(records))
	}
}

// A source's topics are those that it is known to have written to.
func TestPeekNeedsTopicsOfASource(t *testing.T) {
	l := newLab(t)
	l.produce("peek-mine", 1)
	w := l.start(connect.Config{"topic.tracking.enable": "false"})
	w.create("c", counter("peek-mine", "count", "3"))
	wait(t, "all is written", func() bool { return len(l.values("peek-mine")) == 3 })
	for _, topic := range []string{"", "peek-mine"} {
		if _, _, err := w.Peek(t.Context(), "c", topic, 1); err == nil || connect.AsError(err).Code != "request.forbidden" {
			t.Errorf("without tracking: %v", err)
		}
	}
}
