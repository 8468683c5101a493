package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

func (l *lab) groupOffset(group, topic string, partition int32) int64 {
	offsets, err := l.admin.FetchOffsets(l.t.Context(), group)
	if err != nil {
		return -1
	}
	if o, ok := offsets.Lookup(topic, partition); ok && o.Err == nil {
		return o.At
	}
	return -1
}

func TestSinkPutsAndCommits(t *testing.T) {
	l := newLab(t)
	l.produce("in", 3, numbers(1, 300)...)
	w := l.start(nil)
	w.create("s", keeper("in", "tasks.max", "2"))
	w.waitState("s", "RUNNING RUNNING RUNNING")
	wait(t, "all is kept", func() bool { return len(l.keptBy("s")) >= 300 })
	wait(t, "all is committed", func() bool {
		return l.groupOffset("connect-s", "in", 0)+l.groupOffset("connect-s", "in", 1)+l.groupOffset("connect-s", "in", 2) == 300
	})
	if got := l.keptBy("s"); !same(got, numbers(1, 300)) {
		t.Fatalf("kept %d values", len(got))
	}
	offsets, err := w.Offsets(t.Context(), "s")
	must(t, err)
	if len(offsets) != 3 || string(offsets[0].Partition) != `{"kafka_topic":"in","kafka_partition":0}` {
		t.Fatalf("offsets are %s", offsets)
	}
	// A restarted worker goes on where the group is.
	w.stop()
	l.produce("in", 3, numbers(301, 400)...)
	w = l.start(nil)
	wait(t, "the rest is kept", func() bool { return len(l.keptBy("s")) >= 400 })
	w.stop()
	if got := l.keptBy("s"); !same(got, numbers(1, 400)) {
		t.Fatalf("kept %d values, want 400 and none twice", len(got))
	}
	if opened, closed := l.noted("open"), l.noted("close"); opened == 0 || opened > closed+4 {
		t.Fatalf("opened %d times, closed %d times", opened, closed)
	}
}

func TestSinkReadsTopicsByPattern(t *testing.T) {
	l := newLab(t)
	l.produce("in-1", 1, "a")
	l.produce("in-2", 1, "b")
	l.produce("other-in-3", 1, "c")
	w := l.start(nil)
	config := keeper("", "topics.regex", "in-.*")
	delete(config, "topics")
	w.create("s", config)
	wait(t, "both are kept", func() bool { return same(l.keptBy("s"), []string{"a", "b"}) })
}

func TestPutIsTriedAgainWithTheSameRecords(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, numbers(1, 50)...)
	w := l.start(nil)
	w.create("s", keeper("in", "trouble", "retriable"))
	wait(t, "all is kept", func() bool { return same(l.keptBy("s"), numbers(1, 50)) })
	w.waitState("s", "RUNNING RUNNING")
}

func TestFatalPutFailsTheTaskAndCommitsNothingOfIt(t *testing.T) {
	for _, trouble := range []string{"fatal", "panic"} {
		t.Run(trouble, func(t *testing.T) {
			l := newLab(t)
			l.produce("in", 1, numbers(1, 50)...)
			w := l.start(nil)
			w.create("s", keeper("in", "trouble", trouble))
			w.waitState("s", "RUNNING FAILED")
			if at := l.groupOffset("connect-s", "in", 0); at > 0 {
				t.Fatalf("%d is committed", at)
			}
			must(t, w.RestartTask(t.Context(), TaskID{"s", 0}))
			wait(t, "all is kept", func() bool { return same(l.keptBy("s"), numbers(1, 50)) })
		})
	}
}

func TestSinkSeeks(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, numbers(1, 50)...)
	w := l.start(nil)
	w.create("s", keeper("in", "trouble", "seek"))
	wait(t, "all is kept twice", func() bool { return same(l.keptBy("s"), append(numbers(1, 50), numbers(1, 50)...)) })
}

func TestPauseResumeStop(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, numbers(1, 10)...)
	w := l.start(nil)
	w.create("s", keeper("in"))
	w.create("c", counter("numbers", "pace.ms", "5", "batch", "1"))
	wait(t, "the first are kept", func() bool { return len(l.keptBy("s")) == 10 })
	w.waitState("c", "RUNNING RUNNING") // One that is paused before it has tasks gets none.
	for _, name := range []string{"s", "c"} {
		must(t, w.SetState(t.Context(), name, Paused))
		w.waitState(name, "PAUSED PAUSED")
	}
	l.produce("in", 1, numbers(11, 20)...)
	before := len(l.values("numbers"))
	time.Sleep(100 * time.Millisecond) // Long enough for what must not happen to happen.
	if n := len(l.values("numbers")); n > before {
		t.Errorf("a paused source wrote %d records", n-before)
	}
	if n := len(l.keptBy("s")); n != 10 {
		t.Errorf("a paused sink was given %d records", n-10)
	}
	for _, name := range []string{"s", "c"} {
		must(t, w.SetState(t.Context(), name, Started))
		w.waitState(name, "RUNNING RUNNING")
	}
	wait(t, "the rest is kept", func() bool { return same(l.keptBy("s"), numbers(1, 20)) })
	wait(t, "the source goes on", func() bool { return len(l.values("numbers")) > before })
	for _, name := range []string{"s", "c"} {
		must(t, w.SetState(t.Context(), name, Stopped))
		w.waitState(name, "STOPPED")
		if tasks, err := w.TaskConfigs(name); err != nil || len(tasks) != 0 {
			t.Errorf("a stopped connector has tasks %v, %v", tasks, err)
		}
	}
	// What is stopped stays stopped over a restart, and goes on without gap or repeat.
	w.stop()
	w = l.start(nil)
	w.waitState("c", "STOPPED")
	must(t, w.SetState(t.Context(), "c", Started))
	written := len(l.values("numbers"))
	wait(t, "the source goes on", func() bool { return len(l.values("numbers")) > written })
	w.stop()
	if got := l.values("numbers"); !same(got, numbers(1, len(got))) {
		t.Errorf("%d values are not just 1 to %d: %v; %v", len(got), len(got), got, l.notes)
	}
}

func TestDeadLetters(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, "one", "bad two", "errant three", "four")
	w := l.start(nil)
	w.create("s", keeper("in", "errors.tolerance", "all",
		"errors.deadletterqueue.topic.name", "dead", "errors.deadletterqueue.topic.replication.factor", "1",
		"errors.deadletterqueue.context.headers.enable", "true"))
	wait(t, "the good ones are kept", func() bool { return same(l.keptBy("s"), []string{"one", "four"}) })
	wait(t, "all are committed", func() bool { return l.groupOffset("connect-s", "in", 0) == 4 })
	letters := l.records("dead")
	if len(letters) != 2 || string(letters[0].Value) != "bad two" || string(letters[1].Value) != "errant three" {
		t.Fatalf("letters are %v", letters)
	}
	want := map[string]string{
		"h": "v", "__connect.errors.topic": "in", "__connect.errors.partition": "0", "__connect.errors.offset": "1",
		"__connect.errors.connector.name": "s", "__connect.errors.task.id": "0", "__connect.errors.stage": "VALUE_CONVERTER",
		"__connect.errors.class.name":           "org.example.TextConverter",
		"__connect.errors.exception.class.name": "test.convert",
		"__connect.errors.exception.message":    "test.convert: cannot be read",
	}
	got := headers(letters[0])
	for k, v := range want {
		if got[k] != v {
			t.Errorf("header %s is %q, want %q", k, got[k], v)
		}
	}
	if stage := headers(letters[1])["__connect.errors.stage"]; stage != "TASK_PUT" {
		t.Errorf("the errant record's stage is %s", stage)
	}
	if string(letters[0].Key) != "1" {
		t.Errorf("the letter's key is %s", letters[0].Key)
	}
}

func headers(r *kgo.Record) map[string]string {
	m := map[string]string{}
	for _, h := range r.Headers {
		m[h.Key] = string(h.Value)
	}
	return m
}

func TestUnreadableRecordFailsAStrictSink(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, "one", "bad two", "three")
	w := l.start(nil)
	w.create("s", keeper("in"))
	w.waitState("s", "RUNNING FAILED")
	s, err := w.Status("s")
	must(t, err)
	if got := firstLine(s.Tasks[0].Trace); !strings.HasPrefix(got, "test.convert: topic='in', partition=0, offset=1: Tolerance exceeded in error handler, stage VALUE_CONVERTER") {
		t.Errorf("the trace begins with %s", got)
	}
}

func TestSinkTransformsKnowPredicates(t *testing.T) {
	l := newLab(t)
	l.produce("a", 1, "x")
	l.produce("b", 1, "y")
	w := l.start(nil)
	w.create("s", keeper("a,b", "transforms", "s", "transforms.s.type", "org.example.Suffix", "transforms.s.suffix", "!",
		"transforms.s.predicate", "p", "transforms.s.negate", "true", "predicates", "p", "predicates.p.type", "OnTopic", "predicates.p.topic", "b"))
	wait(t, "both are kept", func() bool { return same(l.keptBy("s"), []string{"x!", "y"}) })
}

func TestOffsetsAreAlteredAndReset(t *testing.T) {
	l := newLab(t)
	l.produce("in", 1, numbers(1, 20)...)
	w := l.start(nil)
	w.create("s", keeper("in"))
	w.create("c", counter("numbers", "count", "20"))
	wait(t, "all is kept", func() bool { return len(l.keptBy("s")) == 20 })
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":20}` })
	entry := func(p, o string) []OffsetEntry {
		return []OffsetEntry{{Partition: []byte(p), Offset: []byte(o)}}
	}
	_, err := w.AlterOffsets(t.Context(), "c", entry(`{"part":"0"}`, `{"n":10}`))
	if e := connect.AsError(err); e == nil || e.Code != "request.invalid" || !strings.HasPrefix(e.Message, "Connectors must be in the STOPPED state") {
		t.Fatalf("altering a running connector: %v", err)
	}
	for _, name := range []string{"s", "c"} {
		must(t, w.SetState(t.Context(), name, Stopped))
		w.waitState(name, "STOPPED")
	}
	change := func(name string, entries []OffsetEntry) string {
		t.Helper()
		var message string
		wait(t, "the offsets of "+name+" change", func() (ok bool) {
			if entries == nil {
				message, err = w.ResetOffsets(t.Context(), name)
			} else {
				message, err = w.AlterOffsets(t.Context(), name, entries)
			}
			return err == nil
		})
		return message
	}
	if got := change("c", entry(`{ "part" : "0" }`, `{"n": 10}`)); !strings.HasPrefix(got, "The Connect framework-managed offsets for this connector have been altered successfully.") {
		t.Error(got)
	}
	change("s", entry(`{"kafka_topic":"in","kafka_partition":"0"}`, `{"kafka_offset":"15"}`))
	for _, name := range []string{"s", "c"} {
		must(t, w.SetState(t.Context(), name, Started))
	}
	wait(t, "five are kept again", func() bool { return same(l.keptBy("s"), append(numbers(1, 20), numbers(16, 20)...)) })
	wait(t, "ten are written again", func() bool { return same(l.values("numbers"), append(numbers(1, 20), numbers(11, 20)...)) })
	for _, name := range []string{"s", "c"} {
		must(t, w.SetState(t.Context(), name, Stopped))
		w.waitState(name, "STOPPED")
		for range 2 {
			change(name, nil)
			if offsets, err := w.Offsets(t.Context(), name); err != nil || len(offsets) != 0 {
				t.Errorf("%s has offsets %s after a reset, %v", name, offsets, err)
			}
		}
	}
}

func TestMalformedOffsetsOfSinks(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	must2 := func(err error) { t.Helper(); must(t, err) }
	_, err := w.Create(t.Context(), CreateRequest{Name: "s", Config: keeper("in"), InitialState: Stopped})
	must2(err)
	w.waitState("s", "STOPPED")
	for _, tt := range []struct{ partition, offset, want string }{
		{"null", "{}", "The partition for a sink connector offset cannot be null or missing"},
		{`{"kafka_topic":"t"}`, "{}", "The partition for a sink connector offset must contain the keys 'kafka_topic' and 'kafka_partition'"},
		{`{"kafka_topic":null,"kafka_partition":1}`, "{}", "Kafka topic names must be valid strings and may not be null"},
		{`{"kafka_topic":"t","kafka_partition":"x"}`, "{}", "Failed to parse the following Kafka partition value in the provided offsets: 'x'. Partition values for sink connectors need to be integers."},
		{`{"kafka_topic":"t","kafka_partition":1}`, `{"o":1}`, "The offset for a sink connector should either be null or contain the key 'kafka_offset'"},
		{`{"kafka_topic":"t","kafka_partition":1}`, `{"kafka_offset":"x"}`, "Failed to parse the following Kafka offset value in the provided offsets: 'x'. Offset values for sink connectors need to be integers."},
	} {
		_, err := w.AlterOffsets(t.Context(), "s", []OffsetEntry{{[]byte(tt.partition), []byte(tt.offset)}})
		if e := connect.AsError(err); e == nil || e.Code != "request.invalid" || e.Message != tt.want {
			t.Errorf("%s %s: %v", tt.partition, tt.offset, err)
		}
	}
	if _, err := w.AlterOffsets(t.Context(), "s", nil); err == nil || !strings.Contains(err.Error(), "Partitions / offsets need to be provided for an alter offsets request") {
		t.Error(err)
	}
}

func TestRebalanceNeitherLosesNorRepeats(t *testing.T) {
	l := newLab(t)
	l.produce("in", 6, numbers(1, 600)...)
	w := l.start(nil)
	w.create("s", keeper("in", "tasks.max", "1"))
	for i, tasks := range []string{"4", "2", "3"} {
		_, err := w.PatchConfig(t.Context(), "s", map[string]*string{"tasks.max": &tasks})
		must(t, err)
		from := 601 + 100*i
		l.produce("in", 6, numbers(from, from+99)...)
		wait(t, "all is kept", func() bool { return len(l.keptBy("s")) >= from+99 })
	}
	w.waitState("s", "RUNNING RUNNING RUNNING RUNNING")
	if got := l.keptBy("s"); !same(got, numbers(1, 900)) {
		count := map[string]int{}
		for _, v := range got {
			count[v]++
		}
		var twice []string
		for v, n := range count {
			if n > 1 {
				twice = append(twice, fmt.Sprint(v, "×", n))
			}
		}
		t.Fatalf("kept %d values, twice: %v", len(got), twice)
	}
}
