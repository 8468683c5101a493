package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
)

// TestSpansAgainstAModel adds and removes offsets in any order, and compares with a map.
func TestSpansAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s spans
		model := map[int64]bool{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			at := rapid.Int64Range(0, 30).Draw(t, "at")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				s.remove(at)
				delete(model, at)
			case 1:
				if rapid.IntRange(0, 3).Draw(t, "seldom") == 0 {
					s.forget(at)
					maps.DeleteFunc(model, func(n int64, _ bool) bool { return n < at })
				}
			default:
				s.add(at)
				model[at] = true
			}
			for n := int64(-1); n < 33; n++ {
				if s.has(n) != model[n] {
					t.Fatalf("%s: has %d is %v", s, n, s.has(n))
				}
			}
			behind := int64(0)
			for n := range model {
				if n >= at {
					behind++
				}
			}
			if got := s.count(at); got != behind {
				t.Fatalf("%s: from %d on there are %d, want %d", s, at, got, behind)
			}
			first := at
			for model[first] {
				first++
			}
			if got := s.firstOutside(at); got != first {
				t.Fatalf("%s: the first outside from %d is %d, want %d", s, at, got, first)
			}
			for i := 1; i < len(s); i++ {
				if s[i].from <= s[i-1].to {
					t.Fatalf("%v: ranges touch", s)
				}
			}
			again, err := parseSpans(s.String())
			if err != nil || !slices.Equal(again, s) {
				t.Fatalf("%s read again is %s, %v", s, again, err)
			}
		}
	})
	for _, text := range []string{"x", "5-3", "1,1", "3-5,4", "-1", "1-"} {
		if s, err := parseSpans(text); err == nil {
			t.Errorf("%q is read as %v", text, s)
		}
	}
}

// dead are the settings of a dead letter queue with context.
func dead(topic string, more ...string) []string {
	return append([]string{"errors.tolerance", "all", "errors.deadletterqueue.topic.name", topic,
		"errors.deadletterqueue.topic.replication.factor", "1", "errors.deadletterqueue.context.headers.enable", "true"}, more...)
}

// letters are the letters a query finds, as "offset state error".
func (r *rig) letters(name string, q LetterQuery) (list []string) {
	r.l.t.Helper()
	_, letters, _, err := r.Letters(r.l.t.Context(), name, q)
	must(r.l.t, err)
	for _, l := range letters {
		list = append(list, fmt.Sprint(l.Offset, " ", l.State, " ", l.Error))
	}
	slices.Sort(list)
	return list
}

// replay replays and waits for the end.
func (r *rig) replay(name string, q LetterQuery) Replay {
	r.l.t.Helper()
	_, err := r.StartReplay(r.l.t.Context(), name, q)
	must(r.l.t, err)
	var p Replay
	wait(r.l.t, "the replay ends", func() bool {
		p, err = r.ReplayOf(r.l.t.Context(), name)
		must(r.l.t, err)
		return p.State != "running"
	})
	return p
}

// refuser is a sink that reports values beginning with "bad" at their conversion and
// "errant" at their put, until the lab allows them.
func refuser(topic string, more ...string) connect.Config {
	return keeper(topic, dead("dead", append([]string{"connector.class", "HoldingSink", "value.converter", "MendedConverter"}, more...)...)...)
}

// mended is the converter of text that takes what it has refused once that is allowed.
type mended struct {
	text
	l *lab
}

func (m mended) ToConnect(ctx context.Context, topic string, data []byte) (*connect.Schema, connect.Value, error) {
	if m.l.allowed("bad") {
		return connect.Of(connect.KindString), connect.StringBytes(data), nil
	}
	return m.text.ToConnect(ctx, topic, data)
}

func (l *lab) mending(o *Options) {
	o.Plugins.Converters = append(o.Plugins.Converters, connect.Plugin[connect.Converter]{
		Class: "org.example.MendedConverter", New: func() connect.Converter { return mended{l: l} },
	})
}

// TestLettersEndBehindWhatWasAborted lists and replays a queue whose end is told by no
// record: before an open transaction there is only one that was aborted.
func TestLettersEndBehindWhatWasAborted(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, "errant one")
	w := l.start(nil, l.more, l.mending)
	w.create("s", refuser("in"))
	one := []string{"0 pending test.errant"}
	wait(t, "it is a letter", func() bool { return slices.Equal(w.letters("s", LetterQuery{}), one) })
	end := devstack.TestAborted(t, []string{l.brokers}, "dead")
	if got := w.letters("s", LetterQuery{}); !slices.Equal(got, one) {
		t.Errorf("the letters are %v", got)
	}
	l.allow("errant")
	if p := w.replay("s", LetterQuery{}); p.State != "done" || p.Chosen != 1 || p.Replayed != 1 || p.Left != 0 {
		t.Errorf("%+v", p)
	}
	end()
	if got := w.letters("s", LetterQuery{State: "all"}); !slices.Equal(got, []string{"0 replayed test.errant"}) {
		t.Errorf("at last the letters are %v", got)
	}
}

func TestLettersAreListedAndReplayed(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, "one", "bad two", "errant three", "four", "errant five")
	w := l.start(nil, l.more, l.mending)
	w.create("s", refuser("in"))
	wait(t, "all are committed", func() bool { return l.groupOffset("connect-s", "in", 0) == 5 })
	all := []string{"0 pending test.convert", "1 pending test.errant", "2 pending test.errant"}
	if got := w.letters("s", LetterQuery{}); !slices.Equal(got, all) {
		t.Fatalf("the letters are %v", got)
	}
	// Filters.
	n, zero := int64(1), int32(0)
	for want, q := range map[string]LetterQuery{
		"0 pending test.convert":                      {Stage: "value_converter"},
		"1 pending test.errant":                       {Partition: &zero, From: &n, To: &n},
		"1 pending test.errant,2 pending test.errant": {Error: "*.err*"},
		"":                      {Topic: "elsewhere"},
		"2 pending test.errant": {State: "all", Partition: &zero, From: ptr(int64(2))},
		"0 pending test.convert,1 pending test.errant,2 pending test.errant": {Since: ptr(time.Now().Add(-time.Hour)), Until: ptr(time.Now().Add(time.Hour))},
	} {
		if got := strings.Join(w.letters("s", q), ","); got != want {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
	if got := w.letters("s", LetterQuery{Until: ptr(time.Now().Add(-time.Hour))}); len(got) != 0 {
		t.Errorf("of an hour ago: %v", got)
	}
	topic, letters, more, err := w.Letters(t.Context(), "s", LetterQuery{Limit: 1, Payload: true})
	must(t, err)
	first := letters[0]
	if topic != "dead" || !more || *first.Value != "bad two" || *first.Key != "1" || first.Origin.Offset != 1 || first.Origin.Topic != "in" ||
		first.Task != "0" || first.Trace == "" || !slices.Equal(first.Headers, [][2]string{{"h", "v"}}) {
		t.Errorf("the first letter is %+v (%v)", first, more)
	}
	// A dry run changes nothing and tells what would fail again.
	if p := w.replay("s", LetterQuery{DryRun: true}); p.State != "done" || p.Chosen != 3 || p.Replayed != 2 || p.Failed != 1 || p.Failures[0].Error != "test.convert" {
		t.Errorf("the dry run says %+v", p)
	}
	if got := w.letters("s", LetterQuery{}); !slices.Equal(got, all) || len(l.keptBy("s")) != 2 {
		t.Fatalf("after a dry run: %v, kept %v", got, l.keptBy("s"))
	}
	// What fails again stays.
	if p := w.replay("s", LetterQuery{}); p.State != "done" || p.Failed != 3 || p.Replayed != 0 || len(p.Failures) != 3 {
		t.Errorf("the replay in vain says %+v", p)
	}
	if got := w.letters("s", LetterQuery{}); !slices.Equal(got, all) {
		t.Errorf("what failed again is %v", got)
	}
	if n := len(l.records("dead")); n != 3 {
		t.Errorf("a replay wrote %d new letters", n-3)
	}
	// Some, then the others, each once.
	l.allow("bad")
	l.allow("errant")
	if p := w.replay("s", LetterQuery{Error: "test.errant", Limit: 1}); p.Replayed != 1 || p.Failed != 0 || p.Chosen != 1 {
		t.Errorf("the replay of one says %+v", p)
	}
	if got := w.letters("s", LetterQuery{State: "all"}); !slices.Equal(got, []string{"0 pending test.convert", "1 replayed test.errant", "2 pending test.errant"}) {
		t.Errorf("after one: %v", got)
	}
	if p := w.replay("s", LetterQuery{}); p.Replayed != 2 || p.Failed != 0 || p.Repeated != 0 {
		t.Errorf("the replay of the others says %+v", p)
	}
	if p := w.replay("s", LetterQuery{}); p.Chosen != 0 {
		t.Errorf("the replay of nothing says %+v", p)
	}
	if got := l.keptBy("s"); !same(got, []string{"one", "four", "bad two", "errant three", "errant five"}) {
		t.Errorf("kept is %v", got)
	}
	// What was replayed is remembered over a restart, and not in the consumer's group.
	w.stop()
	w = l.start(nil, l.more, l.mending)
	w.waitState("s", "RUNNING RUNNING")
	if got := w.letters("s", LetterQuery{}); len(got) != 0 {
		t.Errorf("after a restart %v are to be replayed", got)
	}
	if p, err := w.ReplayOf(t.Context(), "s"); err != nil || p.State != "done" || p.Chosen != 0 || p.Resumed != 0 {
		t.Errorf("of the last replay, after a restart: %+v, %v", p, err)
	}
}

func ptr[T any](v T) *T { return &v }

// TestReplayedRecordsAreWhatTheyWere looks at a letter on its way back: topic, partition,
// offset, time, key, value and headers of the record, and none of the queue's.
func TestReplayedRecordsAreWhatTheyWere(t *testing.T) {
	l := newLab(t)
	l.produce("in", 3, numbers(1, 20)...)
	l.produce("in", 3, "errant a")
	w := l.start(nil, l.more, l.mending)
	w.create("s", refuser("in"))
	wait(t, "there is a letter", func() bool { return len(w.letters("s", LetterQuery{})) == 1 })
	l.allow("errant")
	if p := w.replay("s", LetterQuery{}); p.Replayed != 1 {
		t.Fatalf("%+v", p)
	}
	l.mu.Lock()
	got, had := l.last["s"], l.refused["errant a"]
	l.mu.Unlock()
	if got.Topic != had.Topic || got.Offset != had.Offset || got.Partition != had.Partition || got.OriginalTopic != "in" ||
		got.OriginalPartition != had.OriginalPartition || got.Timestamp != had.Timestamp || got.Key.Str() != had.Key.Str() || len(got.Headers) != 1 || got.Headers[0].Key != "h" {
		t.Errorf("replayed was %+v, refused %+v", got, had)
	}
}

// TestReplayIsolatesWhatThePluginRefuses has a sink that fails over one of several letters:
// that one stays, the others are written.
func TestReplayIsolatesWhatThePluginRefuses(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, "errant one", "errant two", "errant three")
	w := l.start(nil, l.more, l.mending)
	w.create("s", refuser("in", "refuse", "errant two"))
	l.allow("errant two")
	wait(t, "all are letters", func() bool { return len(w.letters("s", LetterQuery{})) == 3 })
	l.mu.Lock()
	delete(l.happen, "allow errant two")
	l.happen["allow errant"] = 1
	l.mu.Unlock()
	p := w.replay("s", LetterQuery{})
	if p.State != "done" || p.Replayed != 2 || p.Failed != 1 || p.Failures[0].Error != "test.refused" || p.Failures[0].Offset != 1 {
		t.Errorf("%+v", p)
	}
	if got := w.letters("s", LetterQuery{State: "all"}); !slices.Equal(got, []string{"0 replayed test.errant", "1 pending test.errant", "2 replayed test.errant"}) {
		t.Errorf("%v", got)
	}
	if got := l.keptBy("s"); !same(got, []string{"errant one", "errant three"}) {
		t.Errorf("kept is %v", got)
	}
	w.waitState("s", "RUNNING RUNNING")
}

// TestReplayCutOffIsToldOf stops a worker while letters are being put: which of them have
// arrived is not known, and the next replay says that it repeats them.
func TestReplayCutOffIsToldOf(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, "errant one", "errant two", "errant three", "errant four")
	w := l.start(connect.Config{"task.shutdown.graceful.timeout.ms": "50"}, l.more, l.mending)
	w.create("s", refuser("in", "hold", "yes"))
	wait(t, "all are letters", func() bool { return len(w.letters("s", LetterQuery{State: "all"})) == 4 })
	l.allow("errant")
	// The sink takes letters and does not answer for them.
	p := w.replay("s", LetterQuery{Limit: 2})
	if p.State != "done" || p.Unsure != 2 || p.Replayed != 0 {
		t.Errorf("%+v", p)
	}
	unsure := []string{"0 unsure test.errant", "1 unsure test.errant", "2 pending test.errant", "3 pending test.errant"}
	if got := w.letters("s", LetterQuery{}); !slices.Equal(got, unsure) {
		t.Errorf("%v", got)
	}
	w.stop()
	w = l.start(nil, l.more, l.mending)
	w.waitState("s", "RUNNING RUNNING")
	if got := w.letters("s", LetterQuery{}); !slices.Equal(got, unsure) {
		t.Errorf("after a restart %v", got)
	}
	l.allow("hold")
	if p := w.replay("s", LetterQuery{}); p.Replayed != 4 || p.Repeated != 2 || p.Unsure != 0 {
		t.Errorf("%+v", p)
	}
	if got := w.letters("s", LetterQuery{}); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestQueueIsShared has two connectors and a stranger write to one queue, and a topic of the
// same name come in its place.
func TestQueueIsShared(t *testing.T) {
	l := newLab(t)
	l.produce("a", 1, "errant a")
	l.produce("b", 1, "errant b")
	w := l.start(nil, l.more, l.mending)
	w.create("s", refuser("a"))
	w.create("u", refuser("b"))
	wait(t, "both have a letter", func() bool { return len(w.letters("s", LetterQuery{})) == 1 && len(w.letters("u", LetterQuery{})) == 1 })
	must(t, l.client.ProduceSync(t.Context(), &kgo.Record{Topic: "dead", Value: []byte("from nowhere")}).FirstErr())
	l.allow("errant")
	if p := w.replay("s", LetterQuery{}); p.Replayed != 1 || p.Stranger != 1 || p.Chosen != 2 {
		t.Errorf("%+v", p)
	}
	if got := l.keptBy("s"); !same(got, []string{"errant a"}) {
		t.Errorf("s has kept %v", got)
	}
	if got := w.letters("u", LetterQuery{}); len(got) != 2 {
		t.Errorf("u has %v", got)
	}
	// A topic of that name which is another one: the marks of the former do not count.
	must(t, w.SetState(t.Context(), "u", Stopped))
	_, err := l.admin.DeleteTopics(t.Context(), "dead")
	must(t, err)
	wait(t, "the topic is gone", func() bool {
		topics, err := l.admin.ListTopics(t.Context(), "dead")
		return err == nil && !topics.Has("dead")
	})
	if got := w.letters("s", LetterQuery{State: "all"}); len(got) != 0 {
		t.Errorf("a queue that is not there has %v", got)
	}
	wait(t, "the topic is there again", func() bool {
		_, err := l.admin.CreateTopic(t.Context(), 1, 1, nil, "dead")
		return err == nil
	})
	said := func(name, value string) kgo.RecordHeader {
		return kgo.RecordHeader{Key: contextPrefix + name, Value: []byte(value)}
	}
	// As a Java worker writes it.
	letter := &kgo.Record{Topic: "dead", Value: []byte("errant new"), Headers: []kgo.RecordHeader{
		said("topic", "a"), said("partition", "0"), said("offset", "0"), said("connector.name", "s"), said("task.id", "0"), said("stage", "VALUE_CONVERTER"),
		said("class.name", "org.apache.kafka.connect.json.JsonConverter"), said("exception.class.name", "org.apache.kafka.connect.errors.DataException"),
		said("exception.message", "x"), said("exception.stacktrace", "y"),
	}}
	writer, err := kgo.NewClient(kgo.SeedBrokers(l.brokers))
	must(t, err)
	defer writer.Close()
	must(t, writer.ProduceSync(t.Context(), letter).FirstErr())
	if got := w.letters("s", LetterQuery{Error: "*.DataException"}); !slices.Equal(got, []string{"0 pending org.apache.kafka.connect.errors.DataException"}) {
		t.Errorf("the new queue has %v", got)
	}
	if p := w.replay("s", LetterQuery{}); p.Replayed != 1 {
		t.Errorf("%+v", p)
	}
}

func TestReplaysThatCannotBe(t *testing.T) {
	l := newLab(t)
	w := l.start(nil, l.more, l.mending)
	w.create("plain", keeper("in"))
	w.create("source", counter("numbers", "count", "1"))
	w.create("s", refuser("in"))
	w.waitState("s", "RUNNING RUNNING")
	ctx := t.Context()
	for name, code := range map[string]string{"nobody": "connector.not_found", "plain": "dlq.none", "source": "dlq.none"} {
		_, err := w.StartReplay(ctx, name, LetterQuery{})
		failing(t, err, code, "Connector "+name)
		_, _, _, err = w.Letters(ctx, name, LetterQuery{})
		failing(t, err, code, "Connector "+name)
	}
	for _, q := range []LetterQuery{{State: "lost"}, {Error: "[a"}, {From: ptr(int64(1))}, {Limit: -1}} {
		_, err := w.StartReplay(ctx, "s", q)
		failing(t, err, "request.invalid", "")
	}
	if p := w.replay("s", LetterQuery{}); p.State != "done" || p.Chosen != 0 {
		t.Errorf("of a queue that nobody has written to: %+v", p)
	}
	must(t, w.SetState(ctx, "s", Paused))
	w.waitState("s", "PAUSED PAUSED")
	_, err := w.StartReplay(ctx, "s", LetterQuery{})
	failing(t, err, "request.conflict", "Connector s is PAUSED")
}

// TestReplayWaitsAndIsStopped has a target that is away: the replay waits and says why, one
// more is refused, and it can be stopped without loss.
func TestReplayWaitsAndIsStopped(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, "errant one")
	w := l.start(nil, l.more, l.mending)
	w.create("s", refuser("in", "away", "replay"))
	wait(t, "there is a letter", func() bool { return len(w.letters("s", LetterQuery{})) == 1 })
	l.allow("errant")
	_, err := w.StartReplay(t.Context(), "s", LetterQuery{})
	must(t, err)
	wait(t, "it waits", func() bool {
		p, err := w.ReplayOf(t.Context(), "s")
		return err == nil && strings.Contains(p.Waiting, "the target is away")
	})
	_, err = w.StartReplay(t.Context(), "s", LetterQuery{})
	failing(t, err, "request.conflict", "Letters of connector s are being replayed")
	p, err := w.StopReplay(t.Context(), "s")
	must(t, err)
	if p.State != "stopped" || p.Ended == nil || p.Replayed != 0 {
		t.Errorf("%+v", p)
	}
	l.allow("target")
	if p := w.replay("s", LetterQuery{}); p.Replayed != 1 || p.Repeated != 1 {
		t.Errorf("%+v", p)
	}
}
