package worker

import (
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
)

func TestSourceWritesAndStoresItsOffsets(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("c", counter("numbers", "count", "1000"))
	w.waitState("c", "RUNNING RUNNING")
	wait(t, "the source is told that 1000 is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":1000}` })
	if got := l.values("numbers"); !same(got, numbers(1, 1000)) {
		t.Fatalf("got %d values", len(got))
	}
	offsets, err := w.Offsets(t.Context(), "c")
	must(t, err)
	if len(offsets) != 1 || string(offsets[0].Partition) != `{"part":"0"}` || string(offsets[0].Offset) != `{"n":1000}` {
		t.Fatalf("offsets are %s", offsets)
	}
	if topics, err := w.Topics("c"); err != nil || !slices.Equal(topics, []string{"numbers"}) {
		t.Fatalf("topics are %v, %v", topics, err)
	}
}

func TestSourceGoesOnAfterRestart(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("c", counter("numbers", "count", "-1", "pace.ms", "1"))
	wait(t, "something is safe", func() bool { return l.lastSafe("c") != "" })
	w.stop()
	first := len(l.values("numbers"))
	w = l.start(nil)
	w.waitState("c", "RUNNING RUNNING")
	wait(t, "more was written", func() bool { return len(l.values("numbers")) > first+100 })
	w.stop()
	// An orderly stop waits for what is on its way, so nothing is repeated.
	got := l.values("numbers")
	if want := numbers(1, len(got)); !same(got, want) {
		t.Fatalf("%d values are not just 1 to %d", len(got), len(got))
	}
	if n := l.noted("task start c-0 at 1"); n < 1 {
		t.Fatal("the task never started at 1")
	}
}

func TestKeysKeepTheirOrder(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("c", counter("numbers", "count", "500", "topic.creation.default.partitions", "4", "topic.creation.default.replication.factor", "1"))
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":500}` })
	records := l.records("numbers")
	last := map[string]int64{}
	partitions := map[int32]bool{}
	for _, r := range records {
		partitions[r.Partition] = true
		if r.Offset < last[string(r.Key)] {
			t.Fatalf("key %s was overtaken", r.Key)
		}
		last[string(r.Key)] = r.Offset
	}
	if len(partitions) < 3 {
		t.Fatalf("only %d partitions were written to", len(partitions))
	}
}

func TestPositionMarksAndDroppedRecordsMoveTheOffset(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("c", counter("numbers", "count", "100", "mark.every", "10",
		"transforms", "s", "transforms.s.type", "Suffix", "transforms.s.suffix", "!", "transforms.s.drop", "9"))
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":100}` })
	got := l.values("numbers")
	// 10 marks; 9, 19, … 99 are dropped.
	if len(got) != 80 || !slices.Contains(got, "0:11!") || slices.Contains(got, "0:19!") || slices.Contains(got, "0:20!") {
		t.Fatalf("%d values: %v", len(got), got)
	}
}

func TestSourceErrorsAreToleratedWhenAskedFor(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("strict", counter("a", "count", "100", "bad.every", "25"))
	w.create("lax", counter("b", "count", "100", "bad.every", "25", "errors.tolerance", "all"))
	w.waitState("strict", "RUNNING FAILED")
	s, err := w.Status("strict")
	must(t, err)
	if first, want := firstLine(s.Tasks[0].Trace), "test.convert: topic='a', source partition={\"part\":\"0\"}, source offset={\"n\":25}: Tolerance exceeded in error handler, stage VALUE_CONVERTER with class org.example.TextConverter: test.convert: cannot be written → errors.tolerance=all leaves out what cannot be converted"; first != want {
		t.Errorf("the trace begins with\n%s\nwant\n%s", first, want)
	}
	wait(t, "all is safe", func() bool { return l.lastSafe("lax") == `{"part":"0"}{"n":100}` })
	if got := l.values("b"); len(got) != 96 {
		t.Errorf("%d values, want 96", len(got))
	}
}

func TestTroubleInOneTaskStaysThere(t *testing.T) {
	l := newLab(t)
	w := l.start(connect.Config{"task.shutdown.graceful.timeout.ms": "300"})
	w.create("panics", counter("p", "fail.at", "20", "trouble", "panic"))
	w.create("blocks", counter("b", "fail.at", "20", "trouble", "block"))
	w.create("starts", counter("s", "connector.trouble", "block"))
	w.create("waits", counter("r", "count", "100", "fail.at", "20", "trouble", "retriable"))
	w.create("good", counter("g", "count", "100"))
	wait(t, "all is safe", func() bool { return l.lastSafe("good") == `{"part":"0"}{"n":100}` })
	wait(t, "poll is called again", func() bool { return l.lastSafe("waits") == `{"part":"0"}{"n":100}` })
	w.waitState("panics", "RUNNING FAILED")
	s, err := w.Status("panics")
	must(t, err)
	if got := firstLine(s.Tasks[0].Trace); got != "task.panic: poll: poll trouble: the plugin's code panicked → this is a fault of the plugin; report it with the trace" {
		t.Error(got)
	}
	w.remove("blocks")
	w.remove("starts")
	if got := w.Connectors(); !slices.Equal(got, []string{"good", "panics", "waits"}) {
		t.Errorf("left are %v", got)
	}
	must(t, w.RestartTask(t.Context(), TaskID{"panics", 0}))
	w.waitState("panics", "RUNNING RUNNING")
}

func TestStopDoesNotWaitForABlockedStart(t *testing.T) {
	l := newLab(t)
	w := l.start(connect.Config{"task.shutdown.graceful.timeout.ms": "10000"})
	w.create("c", counter("numbers", "trouble", "start"))
	wait(t, "the task waits in start", func() bool { return l.noted("task waits in start") == 1 })
	began := time.Now()
	w.remove("c")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if l.noted("task stop c-0") != 1 {
		t.Error("Stop was not called after the Start that failed")
	}
}

func firstLine(text string) string {
	for i, c := range text {
		if c == '\n' {
			return text[:i]
		}
	}
	return text
}
