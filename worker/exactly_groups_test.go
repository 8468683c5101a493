package worker

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// single makes a counter whose topic has one partition, so that the order of all its
// records and the ends of transactions can be seen.
func single(more ...string) connect.Config {
	return counter("numbers", append([]string{"topic.creation.default.partitions", "1", "topic.creation.default.replication.factor", "1"}, more...)...)
}

// transactionsIn returns the committed records of a topic with one partition, by
// transaction.
func (l *lab) transactionsIn(topic string) (list [][]*kgo.Record) {
	l.t.Helper()
	ctx := l.t.Context()
	ends, err := l.admin.ListCommittedOffsets(ctx, topic)
	must(l.t, err)
	end := int64(0)
	ends.Each(func(o kadm.ListedOffset) { end = max(end, o.Offset) })
	if end == 0 {
		return nil
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(l.brokers), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
	)
	must(l.t, err)
	defer client.Close()
	var open []*kgo.Record
	for at := int64(0); at < end; {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			at = r.Offset + 1
			if !r.Attrs.IsControl() {
				open = append(open, r)
				return
			}
			if len(open) > 0 {
				list = append(list, open)
			}
			open = nil
		})
	}
	return list
}

// wantOrder checks that the values of all transactions are the numbers from 1, in
// order.
func wantOrder(t *testing.T, transactions [][]*kgo.Record) (n int) {
	t.Helper()
	for _, tx := range transactions {
		for _, r := range tx {
			if n++; string(r.Value) != fmt.Sprintf("0:%d", n) {
				t.Fatalf("record %d is %s", n, r.Value)
			}
		}
	}
	return n
}

// TestBacklogIsWrittenInGroupsOfWholeTransactions has source transactions of 7 in
// polls of 100.
func TestBacklogIsWrittenInGroupsOfWholeTransactions(t *testing.T) {
	l := newLab(t)
	w := l.start(exact)
	w.create("c", single("count", "7000", "batch", "100", "txn.size", "7"))
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":7000}` })
	got := l.transactionsIn("numbers")
	if n := wantOrder(t, got); n != 7000 {
		t.Fatalf("%d records", n)
	}
	for i, tx := range got {
		if len(tx)%7 != 0 {
			t.Errorf("transaction %d has %d records", i, len(tx))
		}
		for _, r := range tx {
			if len(r.Headers) > 0 {
				t.Fatalf("a record of a whole transaction has headers: %v", r.Headers)
			}
		}
	}
	if len(got) >= 1000 {
		t.Errorf("%d transactions: none were written together", len(got))
	}
}

func TestGivenBoundariesAreTransactionsOfTheirOwn(t *testing.T) {
	l := newLab(t)
	w := l.start(exact)
	w.create("c", single("count", "700", "batch", "100", "txn.size", "7", "transaction.boundary", "connector"))
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":700}` })
	got := l.transactionsIn("numbers")
	wantOrder(t, got)
	if len(got) != 100 {
		t.Errorf("%d transactions, want 100", len(got))
	}
}

// partOf returns what the headers of a record say of its part.
func partOf(r *kgo.Record) (number string, last bool) {
	for _, h := range r.Headers {
		switch h.Key {
		case headerPart:
			number = string(h.Value)
		case headerLast:
			last = true
		}
	}
	return number, last
}

// TestLargeTransactionsAreDivided has source transactions of 100, of which 30 at most
// may be together.
func TestLargeTransactionsAreDivided(t *testing.T) {
	l := newLab(t)
	w := l.start(exact)
	w.create("c", single("count", "400", "txn.size", "100", "transaction.max.records", "30"))
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":400}` })
	checkParts(t, l.transactionsIn("numbers"), 4)
	offsets, err := w.Offsets(t.Context(), "c")
	must(t, err)
	if string(offsets[0].Offset) != `{"n":400}` {
		t.Errorf("the offset is %s", offsets[0].Offset)
	}
}

// checkParts checks source transactions of 100 in parts of 30.
func checkParts(t *testing.T, got [][]*kgo.Record, units int) {
	t.Helper()
	wantOrder(t, got)
	if len(got) != 4*units {
		t.Fatalf("%d transactions, want %d", len(got), 4*units)
	}
	for i, tx := range got {
		for j, r := range tx {
			number, last := partOf(r)
			want := fmt.Sprint(i%4 + 1)
			if i%4 == 0 && j < len(tx)-1 {
				want = ""
			}
			if number != want || last != (i%4 == 3 && j == len(tx)-1) {
				t.Errorf("record %d of transaction %d (%s) is of part %q, last %v", j, i, r.Value, number, last)
			}
		}
	}
}

// TestTaskGoesOnInsideOfADividedTransaction stops a task between the parts.
func TestTaskGoesOnInsideOfADividedTransaction(t *testing.T) {
	l := newLab(t)
	w := l.start(exact)
	w.create("c", single("count", "400", "batch", "5", "pace.ms", "1", "txn.size", "100", "transaction.max.records", "30"))
	for n := 1; n <= 5; n++ {
		wait(t, "more is written", func() bool { return len(l.values("numbers")) >= 70*n })
		must(t, w.RestartTask(t.Context(), TaskID{"c", 0}))
	}
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":400}` })
	checkParts(t, l.transactionsIn("numbers"), 4)
}

// TestPauseFinishesATransaction pauses in the middle of source transactions.
func TestPauseFinishesATransaction(t *testing.T) {
	for name, patience := range map[string]string{"finished": "5000", "divided": "20"} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			over := with(exact, "offset.flush.timeout.ms", patience)
			w := l.start(over)
			w.create("c", single("batch", "1", "pace.ms", "1", "txn.size", "100"))
			wait(t, "records are written", func() bool { return len(l.values("numbers")) > 0 })
			for range 3 {
				must(t, w.SetState(t.Context(), "c", Paused))
				w.waitState("c", "PAUSED PAUSED")
				wait(t, "no transaction is open", func() bool {
					stable, err := l.admin.ListCommittedOffsets(t.Context(), "numbers")
					must(t, err)
					ends, err := l.admin.ListEndOffsets(t.Context(), "numbers")
					must(t, err)
					return stable["numbers"][0].Offset == ends["numbers"][0].Offset
				})
				n := 0
				for _, tx := range l.transactionsIn("numbers") {
					n += len(tx)
				}
				if name == "finished" && n%100 != 0 {
					t.Errorf("%d records: a transaction was divided", n)
				}
				must(t, w.SetState(t.Context(), "c", Started))
				before := n
				wait(t, "more is written", func() bool { return len(l.values("numbers")) > before+100 })
			}
			w.stop()
			wantOrder(t, l.transactionsIn("numbers"))
		})
	}
}

// TestStalledTransactionIsDividedInTime has a source that stops in the middle of a
// transaction for longer than the brokers let one be open.
func TestStalledTransactionIsDividedInTime(t *testing.T) {
	l := newLab(t)
	w := l.start(exact)
	w.create("c", single("batch", "1", "pace.ms", "30", "count", "120", "txn.size", "100", "producer.override.transaction.timeout.ms", "1500"))
	wait(t, "a part is written", func() bool { return len(l.values("numbers")) > 0 })
	wait(t, "the first is complete", func() bool { return len(l.values("numbers")) >= 100 })
	got := l.transactionsIn("numbers")
	wantOrder(t, got)
	if number, _ := partOf(got[0][len(got[0])-1]); number != "1" || len(got) < 2 {
		t.Errorf("the first of %d parts ends with part %q", len(got), number)
	}
	if s, _ := w.Status("c"); s.Tasks[0].State != stateRunning {
		t.Errorf("the task is %s", s.Tasks[0].State)
	}
}
