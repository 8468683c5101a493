package worker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ofTask tells whether a request is of the task's own producer.
func ofTask(req kmsg.Request) bool {
	const id = "workers-c-0"
	switch r := req.(type) {
	case *kmsg.EndTxnRequest:
		return r.TransactionalID == id
	case *kmsg.InitProducerIDRequest:
		return r.TransactionalID != nil && *r.TransactionalID == id
	case *kmsg.ProduceRequest:
		return r.TransactionID != nil && *r.TransactionID == id
	}
	return false
}

// TestUnknownOutcomesOfCommitsAreFoundOut loses the answer to the end of a transaction,
// after the brokers have ended it, or the request itself.
func TestUnknownOutcomesOfCommitsAreFoundOut(t *testing.T) {
	for _, done := range []bool{true, false} {
		t.Run(map[bool]string{true: "answer lost", false: "request lost"}[done], func(t *testing.T) {
			l := newFakeLab(t)
			other, err := kgo.NewClient(kgo.SeedBrokers(l.brokers))
			must(t, err)
			defer other.Close()
			seen := 0
			l.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
				l.cluster.KeepControl()
				if !ofTask(req) {
					return nil, nil, false
				}
				if seen++; seen%5 != 3 || seen > 20 {
					return nil, nil, false
				}
				if done {
					again := *req.(*kmsg.EndTxnRequest)
					l.cluster.SleepControl(func() { _, _ = other.Request(context.Background(), &again) })
				}
				return nil, errors.New("the connection is cut"), true
			})
			w := l.start(exact)
			w.create("c", counter("numbers", "count", "301", "txn.size", "7", "batch", "11", "pace.ms", "2"))
			wait(t, "all is safe", func() bool { return strings.HasSuffix(l.lastSafe("c"), `{"n":301}`) || len(l.values("numbers")) == 301 })
			if got := l.values("numbers"); !same(got, numbers(1, 301)) {
				t.Fatalf("%d values", len(got))
			}
		})
	}
}

// TestProducersThatBrokersForgetStartAgain has brokers that crash answer as they do
// afterwards.
func TestProducersThatBrokersForgetStartAgain(t *testing.T) {
	for _, f := range []kfake.Fault{
		{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.UnknownProducerID},
		{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.OutOfOrderSequenceNumber},
		{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidTxnState},
		{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidProducerIDMapping},
		{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.InvalidTxnState, TopLevel: true},
		{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError, TopLevel: true},
		{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.InvalidProducerIDMapping, TopLevel: true},
		{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.CoordinatorNotAvailable, TopLevel: true, Count: 3},
	} {
		t.Run(f.Keys[0].Name()+" "+f.Err.Message, func(t *testing.T) {
			t.Parallel()
			l := newFakeLab(t)
			seen := 0
			f.When = func(req kmsg.Request) bool {
				if !ofTask(req) {
					return false
				}
				seen++
				return seen == 3 || f.Count == 3
			}
			faults := l.cluster.Fault(f)
			w := l.start(exact)
			w.create("c", counter("numbers", "count", "203", "txn.size", "7", "batch", "11", "pace.ms", "1"))
			wait(t, "all is written", func() bool { return len(l.values("numbers")) >= 203 })
			if got := l.values("numbers"); !same(got, numbers(1, 203)) {
				t.Fatalf("%d values", len(got))
			}
			if faults.Hits() == 0 {
				t.Fatal("nothing went wrong")
			}
		})
	}
}

// TestTaskThatIsShutOutStaysOut holds a task while another takes over its identity, as
// when a machine is suspended.
func TestTaskThatIsShutOutStaysOut(t *testing.T) {
	l := newLab(t)
	old := l.start(exact)
	old.create("c", counter("numbers", "pace.ms", "10", "txn.size", "5", "trouble", "block", "fail.at", "50"))
	wait(t, "the task is held", func() bool { return len(l.values("numbers")) == 50 })
	old.replaced.Store(true)
	young := l.start(exact)
	wait(t, "the new one writes", func() bool { return len(l.values("numbers")) > 100 })
	l.letGo()
	wait(t, "the old one has stopped", func() bool { return l.noted("task stop c-0") == 1 })
	before := len(l.values("numbers"))
	wait(t, "the new one writes on", func() bool { return len(l.values("numbers")) > before+100 })
	if n := l.noted("task start c-0"); n != 2 {
		t.Errorf("%d tasks have started, want 2", n)
	}
	young.stop()
	old.stop()
	got := l.values("numbers")
	if !same(got, numbers(1, len(got))) {
		t.Errorf("%d values are not just 1 to %d", len(got), len(got))
	}
}

// TestTransactionThatTheBrokersAbortedIsWrittenAgain has a task that is held for
// longer than a transaction may last.
func TestTransactionThatTheBrokersAbortedIsWrittenAgain(t *testing.T) {
	l := newFakeLab(t)
	w := l.start(exact)
	held := time.Now()
	seen := 0
	l.cluster.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		if ofTask(req) {
			if seen++; seen == 2 {
				held = time.Now()
				l.cluster.SleepControl(func() { <-time.After(700 * time.Millisecond) })
			}
		}
		return nil, nil, false
	})
	w.create("c", counter("numbers", "count", "203", "txn.size", "7", "pace.ms", "1", "producer.override.transaction.timeout.ms", "300"))
	wait(t, "all is written", func() bool { return len(l.values("numbers")) >= 203 })
	if got := l.values("numbers"); !same(got, numbers(1, 203)) {
		t.Fatalf("%d values", len(got))
	}
	if time.Since(held) < 700*time.Millisecond {
		t.Fatal("nothing was held")
	}
}

// TestShuttingOutIsTriedAgain has brokers refuse once to shut out a former producer, of a
// connector that is not to be restarted by itself: it has not failed.
func TestShuttingOutIsTriedAgain(t *testing.T) {
	l := newFakeLab(t)
	seen := 0
	faults := l.cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.TransactionalIDAuthorizationFailed, TopLevel: true,
		When: func(req kmsg.Request) bool {
			if id := req.(*kmsg.InitProducerIDRequest).TransactionalID; id == nil || *id != "workers-c-1" {
				return false
			}
			seen++
			return seen == 2 // The first is that of the task itself.
		},
	})
	w := l.start(exact)
	config := counter("numbers", "tasks.max", "2", "errors.restart.policy", "never")
	w.create("c", config)
	w.waitState("c", "RUNNING RUNNING RUNNING")
	_, _, err := w.PutConfig(t.Context(), "c", with(config, "tasks.max", "1"))
	must(t, err)
	w.waitState("c", "RUNNING RUNNING")
	wait(t, "the task that is left runs again", func() bool { return l.noted("task start c-0") == 2 })
	if faults.Hits() != 1 {
		t.Errorf("%d requests were refused", faults.Hits())
	}
}
