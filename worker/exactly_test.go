package worker

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/connect"
)

var exact = connect.Config{"exactly.once.source.support": "enabled"}

func TestExactlyOnceByPollAndInterval(t *testing.T) {
	for _, boundary := range []string{"poll", "interval"} {
		t.Run(boundary, func(t *testing.T) {
			l := newLab(t)
			w := l.start(exact)
			w.create("c", counter("numbers", "count", "500", "transaction.boundary", boundary))
			wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":500}` })
			if got := l.values("numbers"); !same(got, numbers(1, 500)) {
				t.Fatalf("%d values", len(got))
			}
			offsets, err := w.Offsets(t.Context(), "c")
			must(t, err)
			if len(offsets) != 1 || string(offsets[0].Offset) != `{"n":500}` {
				t.Fatalf("offsets are %s", offsets)
			}
		})
	}
}

// TestExactlyOnceByTheConnectorsBoundaries has transactions of 12 over polls of 10,
// every fifth of which the connector aborts.
func TestExactlyOnceByTheConnectorsBoundaries(t *testing.T) {
	l := newLab(t)
	w := l.start(exact)
	w.create("c", counter("numbers", "count", "300", "transaction.boundary", "connector", "txn.size", "12", "abort.every", "5"))
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":300}` })
	var want []string
	for n := 1; n <= 300; n++ {
		if (n-1)/12%5 != 4 {
			want = append(want, fmt.Sprintf("0:%d", n))
		}
	}
	if got := l.values("numbers"); !same(got, want) {
		t.Fatalf("%d values, want %d", len(got), len(want))
	}
}

// TestExactlyOnceOverAbandonedWorkers starts one worker after another without stopping
// the former, as after a network cut: each start shuts out the former's producers.
func TestExactlyOnceOverAbandonedWorkers(t *testing.T) {
	l := newLab(t)
	w := l.start(exact)
	w.create("c", counter("numbers", "pace.ms", "2", "transaction.boundary", "connector", "txn.size", "7"))
	var rigs []*rig
	for range 4 {
		before := len(l.values("numbers"))
		wait(t, "more is written", func() bool { return len(l.values("numbers")) > before+50 })
		rigs = append(rigs, w)
		w.replaced.Store(true)
		w = l.start(exact)
		must(t, w.RestartTask(t.Context(), TaskID{"c", 0}))
	}
	for _, r := range rigs {
		r.stop()
	}
	must(t, w.RestartTask(t.Context(), TaskID{"c", 0}))
	before := len(l.values("numbers"))
	wait(t, "more is written", func() bool { return len(l.values("numbers")) > before+50 })
	w.stop()
	got := l.values("numbers")
	if !same(got, numbers(1, len(got))) {
		t.Fatalf("%d values are not just 1 to %d", len(got), len(got))
	}
}

func TestExactlyOnceCommitsNothingWhenARecordIsRefused(t *testing.T) {
	l := newFakeLab(t)
	w := l.start(exact)
	l.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		r := req.(*kmsg.EndTxnRequest)
		if r.TransactionalID != "workers-c-0" {
			return nil, nil, false
		}
		l.cluster.DropControl()
		resp := r.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = 47 // INVALID_PRODUCER_EPOCH
		return resp, nil, true
	})
	w.create("c", counter("numbers", "count", "100"))
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":100}` })
	if got := l.values("numbers"); !same(got, numbers(1, 100)) {
		t.Fatalf("%d values: %v", len(got), got)
	}
}

func TestFencingIsRecordedWithTheNumberOfTasks(t *testing.T) {
	l := newLab(t)
	w := l.start(exact)
	w.create("c", counter("numbers", "count", "10", "tasks.max", "3"))
	w.waitState("c", "RUNNING RUNNING RUNNING RUNNING")
	for _, tasks := range []string{"5", "1", "2"} {
		_, err := w.PatchConfig(t.Context(), "c", map[string]*string{"tasks.max": &tasks})
		must(t, err)
		wait(t, "the tasks are "+tasks, func() bool {
			s, _ := w.Status("c")
			return fmt.Sprint(len(s.Tasks)) == tasks
		})
		wait(t, "it is recorded", func() bool {
			n, ok := w.fencedTasks("c")
			return ok && fmt.Sprint(n) == tasks
		})
	}
}
