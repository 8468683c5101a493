package streams

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/txn/txntest"
)

// large writes a transaction that moves money many times.
func (w *accountsWorld) large(changes int) {
	w.t.Helper()
	tx := w.db.Begin()
	for i := range changes {
		from, to, amount := i%6, (i+1)%6, w.rnd.Int64N(10)
		w.balances[from] -= amount
		tx.Set("accounts", txntest.Row{ID: int64(from), Amount: w.balances[from]})
		w.balances[to] += amount
		tx.Set("accounts", txntest.Row{ID: int64(to), Amount: w.balances[to]})
	}
	for _, r := range txntest.Mix(w.rnd, tx.Commit()) {
		w.cl.Produce(w.ctx, &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}, nil)
	}
	if err := w.cl.Flush(w.ctx); err != nil {
		w.t.Fatal(err)
	}
}

// TestTransactionLargerThanMemory has a transaction that is larger than what may be in
// memory: with a directory it passes, and without one it is refused.
func TestTransactionLargerThanMemory(t *testing.T) {
	w := newAccountsWorld(t)
	app, total := w.app()
	app.Transactions.MaxBytes = 64 << 10
	dir := t.TempDir()
	e := w.start(dir, app)
	w.move(3)
	w.large(3000)
	w.move(3)
	w.waitStands(e, total)
	m, err := e.Metrics("bank")
	if err != nil {
		t.Fatal(err)
	}
	if lsn := m.Transactions.LSN.Load(); lsn != w.db.LSN() || m.Transactions.Committed.Load() == 0 {
		t.Errorf("the figures have position %d of %d", lsn, w.db.LSN())
	}
	if n := m.Transactions.Spilled.Load(); n == 0 {
		t.Error("nothing went to the disk")
	}
	e.end()
	if left, err := os.ReadDir(filepath.Join(dir, "transactions")); err != nil && !os.IsNotExist(err) || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}

}

func TestRecordCodec(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	for _, r := range []*kgo.Record{
		{Timestamp: at},
		{Timestamp: at, Key: []byte{}, Value: []byte("value")},
		{Timestamp: at, Key: []byte("key"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("b")}, {Key: "", Value: nil}}},
	} {
		b := recordCodec{}.Append(nil, r)
		back, err := recordCodec{}.Decode(b)
		if err != nil || !reflect.DeepEqual(back, r) {
			t.Errorf("%+v came back as %+v: %v", r, back, err)
		}
		for cut := range len(b) {
			// A piece may be missing without a trace, but nothing else may happen.
			_, _ = recordCodec{}.Decode(b[:cut])
		}
	}
}
