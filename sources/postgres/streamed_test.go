package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// newStreamingDB is a database whose server sends a transaction while it is in progress
// as soon as it takes 64 kB.
func newStreamingDB(tb testing.TB) *testDB {
	tb.Helper()
	return newTestDB(tb).streamingTables()
}

func (d *testDB) streamingTables() *testDB {
	d.streamEarly()
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text); ALTER TABLE b REPLICA IDENTITY FULL`)
	d.exec(`CREATE TABLE c (id int PRIMARY KEY, v text)`)
	return d
}

// streamEarly makes the server send a transaction while it is in progress as soon as it
// takes 64 kB.
func (d *testDB) streamEarly() {
	d.tb.Helper()
	d.exec(`ALTER DATABASE ` + strings.TrimPrefix(d.url.Path, "/") + ` SET logical_decoding_work_mem = '64kB'`)
}

// on runs statements on a session.
func (d *testDB) on(c *pgx.Conn, statements ...string) {
	d.tb.Helper()
	for _, sql := range statements {
		if _, err := c.Exec(context.Background(), sql); err != nil {
			d.tb.Fatalf("%s: %v", sql, err)
		}
	}
}

// bulk writes n rows that take about 300 bytes each.
func bulk(table string, from, n int, v string) string {
	return fmt.Sprintf("INSERT INTO %s SELECT g, '%s ' || repeat('x', 250) FROM generate_series(%d, %d) g", table, v, from, from+n-1)
}

// disturb has large transactions that lie across each other, with subtransactions that
// are rolled back, changes of the schema, truncates, messages and a rollback.
func (d *testDB) disturb() {
	one, two := d.session(), d.session()
	d.on(one, "BEGIN", bulk("a", 1, 500, "one"))
	d.on(two, "BEGIN", "SAVEPOINT s", bulk("b", 1, 400, "undone"), "ROLLBACK TO s", bulk("b", 1, 400, "two"))
	d.on(one, "SAVEPOINT s", "ALTER TABLE a ADD COLUMN w int DEFAULT 7", bulk("a", 501, 300, "undone"), "ROLLBACK TO s", bulk("a", 501, 400, "one"))
	d.on(two, "SELECT pg_logical_emit_message(true, 'p', 'within')", "SELECT pg_logical_emit_message(false, 'p', 'outside')")
	d.on(two, "UPDATE b SET v = 'short' WHERE id < 300", "UPDATE b SET id = id + 10000 WHERE id BETWEEN 10 AND 20", "UPDATE b SET v = v WHERE id BETWEEN 300 AND 350", "DELETE FROM b WHERE id > 390 AND id < 400")
	d.exec("INSERT INTO c VALUES (1, 'between')")
	d.on(one, "SAVEPOINT t", bulk("a", 2000, 200, "one"), "RELEASE t", "UPDATE a SET v = 'x' WHERE id < 100")
	d.on(two, "COMMIT")
	d.on(one, "ALTER TABLE c ADD COLUMN x text DEFAULT 'new'", "INSERT INTO c SELECT g, repeat('y', 200), g::text FROM generate_series(5000, 5500) g", "COMMIT")
	d.on(two, "BEGIN", strings.Replace(bulk("c", 1000, 700, "undone"), "INTO c", "INTO c (id, v)", 1), "ROLLBACK")
	d.on(one, "BEGIN", bulk("b", 1000, 700, "kept"), "TRUNCATE b, c", bulk("b", 1, 300, "after"), "COMMIT")
	d.exec("INSERT INTO c VALUES (-1, 'end')")
}

// tellAll is everything an event says but the clock and the slot.
func tellAll(r *connect.SourceRecord) string {
	offset := string(r.SourceOffset.AppendJSON(nil))
	offset, _, _ = strings.Cut(offset, `,"slot"`)
	text := fmt.Sprintf("%s %s %s %d ", r.Topic, r.Key, offset, r.Boundary)
	switch {
	case r.Value.IsNull():
	case r.ValueSchema.Index("before") >= 0:
		text += brief(r)
	case r.ValueSchema.Index("message") >= 0:
		text += r.Value.Struct().Get("message").String()
	default:
		text += r.Value.String()
	}
	if !r.Value.IsNull() && r.ValueSchema.Index("source") >= 0 {
		for _, field := range []string{"sequence", "txId", "lsn", "origin"} {
			text += " " + source(r, field).String()
		}
		text += r.Value.Struct().Get("transaction").String()
	}
	return text
}

// untilEnd takes the records up to that of the row with id -1 and of its transaction's
// end.
func untilEnd(tb testing.TB, run *connecttest.SourceRun) (records []connect.SourceRecord) {
	tb.Helper()
	over := false
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		for _, r := range run.Poll(time.Second) {
			if r.Topic == "" {
				continue
			}
			records = append(records, r)
			over = over || r.Key.String() == `{"id":-1}`
			if over && r.Boundary == connect.BoundaryCommit {
				return records
			}
		}
	}
	tb.Fatalf("the end did not come; %d records did", len(records))
	return nil
}

// twoSlots makes a publication and two slots that begin at the same place.
func (d *testDB) twoSlots() (first, second string) {
	d.tb.Helper()
	d.exec(`CREATE PUBLICATION dbz_publication FOR TABLE a, b, c`)
	first, second = d.slot+"_1", d.slot+"_2"
	d.get(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')::text`, first)
	d.get(`SELECT pg_copy_logical_replication_slot($1, $2)::text`, first, second)
	return first, second
}

// TestStreamedEqualsOrdinary reads the same log with and without transactions in
// progress: the records are the same, with their positions, boundaries and places in
// their transactions.
func TestStreamedEqualsOrdinary(t *testing.T) {
	t.Run("15", func(t *testing.T) { t.Parallel(); streamedEqualsOrdinary(t, newStreamingDB(t)) })
	t.Run("18", func(t *testing.T) {
		t.Parallel()
		streamedEqualsOrdinary(t, openTestDB(t, devstack.TestPostgresVersion(t, 18)).streamingTables())
	})
}

func streamedEqualsOrdinary(t *testing.T, d *testDB) {
	t.Helper()
	ordinary, streamed := d.twoSlots()
	d.disturb()
	settings := []string{"snapshot.mode", "no_data", "provide.transaction.metadata", "true", "skipped.operations", "none", "skip.messages.without.change", "true", "max.batch.size", "97"}
	read := func(slot, streaming string) ([]connect.SourceRecord, *connecttest.SourceRun) {
		run := d.start(&connecttest.Offsets{}, append(settings, "slot.name", slot, "transaction.streaming", streaming)...)
		return untilEnd(t, run), run
	}
	want, _ := read(ordinary, "false")
	got, run := read(streamed, "true")
	if n := run.Metrics.Counter("transactions_streamed_total"); n != 3 {
		t.Errorf("%d transactions came while they were in progress", n)
	}
	for i := range want {
		if i >= len(got) {
			break
		}
		if a, b := tellAll(&got[i]), tellAll(&want[i]); a != b {
			t.Fatalf("record %d of %d\n got %s\nwant %s", i, len(want), a, b)
		}
	}
	if len(got) != len(want) || len(want) < 3000 {
		t.Errorf("%d records came, want %d", len(got), len(want))
	}
	run.Stop()
	for i := 50; i < len(want); i += len(want) / 5 {
		resumeAt(t, d, want, i, append(settings, "slot.name", streamed))
	}
}

// resumeAt starts behind a record: exactly the rest comes. The server sends transactions
// in another way than when the record was read.
func resumeAt(t *testing.T, d *testDB, all []connect.SourceRecord, i int, settings []string) {
	t.Helper()
	var offsets connecttest.Offsets
	offsets.Put(all[i].SourcePartition, all[i].SourceOffset.AppendJSON(nil))
	run := d.start(&offsets, settings...)
	defer run.Stop()
	rest := untilEnd(t, run)
	for j := range rest {
		a, b := tellAll(&rest[j]), tellAll(&all[min(i+1+j, len(all)-1)])
		if j == 0 {
			// The position behind the transaction before is not stored in the middle of one.
			a, b = brief(&rest[j]), brief(&all[i+1+j])
		}
		if a != b {
			t.Fatalf("resumed at %d, record %d:\n got %s\nwant %s", i, j, a, b)
		}
	}
	if len(rest) != len(all)-i-1 {
		t.Errorf("resumed at %d: %d records, want %d", i, len(rest), len(all)-i-1)
	}
}

// TestServerThatCannotStream has a transaction on which the server fails as long as it is
// to send it in progress: a table changed in a subtransaction that was rolled back, and
// again after that. The server is then asked to wait for the commit.
func TestServerThatCannotStream(t *testing.T) {
	t.Parallel()
	d := newStreamingDB(t)
	slot, _ := d.twoSlots()
	d.on(d.conn, "BEGIN", bulk("a", 1, 500, "one"), "SAVEPOINT s", "ALTER TABLE a ADD COLUMN w int", bulk("a", 501, 300, "undone"), "ROLLBACK TO s",
		bulk("a", 501, 400, "one"), "ALTER TABLE a ADD COLUMN x text", "COMMIT", "INSERT INTO c VALUES (-1, 'end')")
	run := d.start(&connecttest.Offsets{}, "snapshot.mode", "no_data", "slot.name", slot)
	for i, r := range untilEnd(t, run)[:900] {
		if id := after(&r, "id").Int(); id != int64(i+1) {
			t.Fatalf("record %d is %s", i, r.Key)
		}
	}
}

// TestLargeTransactionInBoundedMemory has a transaction that takes many times the memory
// it may.
func TestLargeTransactionInBoundedMemory(t *testing.T) {
	d := newStreamingDB(t)
	run := d.begun("max.queue.size.in.bytes", "1000000", "max.batch.size", "500")
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := heap(), uint64(0)
	const rows = 50000
	d.exec(`INSERT INTO a SELECT g, repeat('x', 1500) FROM generate_series(1, $1) g`, rows)
	for taken := 0; taken < rows; {
		for _, r := range run.Poll(10 * time.Second) {
			if r.Topic == "" {
				continue
			}
			if taken++; after(&r, "id").Int() != int64(taken) {
				t.Fatalf("record %d is %s", taken, r.Key)
			}
			if taken%5000 == 0 {
				most = max(most, heap())
			}
		}
	}
	if n := run.Metrics.Counter("transactions_spilled_total"); n != 1 {
		t.Errorf("%d transactions were written to disk", n)
	}
	if used := most - min(before, most); used > 20<<20 {
		t.Errorf("75 MB of rows took %d MB", used>>20)
	}
}

// TestNotKept has transactions in progress that cannot be kept, because they take more
// room than they may or because there is no place for them, in the middle of others: the
// server keeps them, and nothing is lost or doubled. What a killed process has left goes.
func TestNotKept(t *testing.T) {
	t.Parallel()
	full, nowhere := t.TempDir(), filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(nowhere, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, most := range map[string]string{full: "600000", nowhere: "1000000000"} {
		t.Run(most, func(t *testing.T) {
			t.Parallel()
			d := newStreamingDB(t)
			set := testSettings(t, append([]string{"transaction.spill.dir", dir}, pairsOf(d.config())...)...)
			left := spillDir(set, &connect.SourceTaskEnv{Connector: "conformance"})
			if dir == full {
				if err := errors.Join(os.MkdirAll(left, 0o700), os.WriteFile(filepath.Join(left, "tx-1-1.spill"), make([]byte, 1000), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			run := d.begun("transaction.spill.max.bytes", most, "transaction.spill.dir", dir)
			notKept(t, d, run)
			if _, err := os.Stat(left); err == nil {
				t.Errorf("%s is left", left)
			}
		})
	}
}

func pairsOf(c connect.Config) (pairs []string) {
	for name, value := range c {
		pairs = append(pairs, name, value)
	}
	return pairs
}

func notKept(t *testing.T, d *testDB, run *connecttest.SourceRun) {
	t.Helper()
	d.on(d.conn, bulk("b", 1, 1200, "small"), "BEGIN", bulk("a", 1, 2000, "one"))
	d.on(d.session(), bulk("b", 10001, 1200, "small"))
	d.on(d.conn, bulk("a", 2001, 2000, "one"), "COMMIT")
	d.exec(`INSERT INTO c VALUES (-1, 'end')`)
	counts := map[string]int{}
	for _, r := range untilEnd(t, run) {
		counts[r.Topic+r.Key.String()]++
	}
	for what, n := range counts {
		if n != 1 {
			t.Fatalf("%s came %d times", what, n)
		}
	}
	if len(counts) != 6401 {
		t.Errorf("%d rows came", len(counts))
	}
	if n := run.Metrics.Counter("transaction_spill_failures_total"); n != 1 {
		t.Errorf("%d times a transaction could not be kept", n)
	}
	run.Stop()
}

// TestProgressIsShown looks at a transaction in progress, and at nothing after its end.
func TestProgressIsShown(t *testing.T) {
	t.Parallel()
	d := newStreamingDB(t)
	run := d.begun()
	d.on(d.conn, "BEGIN", bulk("a", 1, 1000, "one"))
	var shown struct {
		Transactions []struct {
			XID, Changes, Bytes int64
			State               string
		}
	}
	d.on(d.session(), "SELECT pg_switch_wal()") // Which brings what was written so far to the disk.
	eventually(t, "the transaction is shown", func() bool {
		run.Poll(0)
		document := run.Shown("transactions")
		return document != nil && json.Unmarshal(document, &shown) == nil
	})
	if x := shown.Transactions[0]; x.State != "in progress" || x.Changes < 100 || x.Bytes < 20000 || fmt.Sprint(x.XID) != d.get("SELECT pg_current_xact_id()::text") {
		t.Errorf("%+v", shown)
	}
	d.exec("ROLLBACK")
	eventually(t, "nothing is shown", func() bool { run.Poll(0); return run.Shown("transactions") == nil })
	if n := run.Metrics.Counter("transactions_streamed_aborted_total"); n != 1 {
		t.Errorf("%d transactions in progress were rolled back", n)
	}
}

// TestMessagesRolledBackInPart rolls back to a savepoint after a message that has come
// already: the server says of it only which whole transaction it belongs to.
func TestMessagesRolledBackInPart(t *testing.T) {
	t.Parallel()
	d := newStreamingDB(t)
	run := d.begun()
	d.on(d.conn, "BEGIN", "SELECT pg_logical_emit_message(true, 'p', 'kept')", "SAVEPOINT s", "SELECT pg_logical_emit_message(true, 'p', 'never')", bulk("a", 1, 1000, "one"))
	d.on(d.session(), "SELECT pg_switch_wal()")
	var shown struct{ Transactions []struct{ Changes int64 } }
	eventually(t, "the message has come", func() bool {
		run.Poll(0)
		document := run.Shown("transactions")
		return document != nil && json.Unmarshal(document, &shown) == nil && shown.Transactions[0].Changes > 2
	})
	d.on(d.conn, "ROLLBACK TO s", "INSERT INTO a VALUES (0, 'after')", "COMMIT")
	d.exec(`INSERT INTO c VALUES (-1, 'end')`)
	var got []string
	for _, r := range untilEnd(t, run) {
		text := r.Topic
		if strings.HasSuffix(text, ".message") {
			text += " " + string(r.Value.Struct().Get("message").Struct().Get("content").Bytes())
		}
		got = append(got, text)
	}
	if want := []string{"shop.message kept", "shop.public.a", "shop.public.c"}; !slices.Equal(got, want) {
		t.Errorf("%v came, want %v", got, want)
	}
	if n := run.Metrics.Counter("reconnects_total"); n != 1 {
		t.Errorf("%d times the transaction was asked for again", n)
	}
}

// TestCutWhileStreaming loses the connection again and again while transactions come in
// progress and while they are replayed: every row comes once.
func TestCutWhileStreaming(t *testing.T) {
	t.Parallel()
	d := newStreamingDB(t)
	limits := []int64{30_000, 80_000, 150_000, 400_000, 500_000, 650_000, 700_000, 900_000}
	c, port := newCutter(t, d, limits...)
	run := d.begun("database.port", port, "max.batch.size", "50", "retriable.restart.connector.wait.ms", "50")
	d.on(d.conn, "BEGIN", bulk("a", 1, 1500, "one"))
	d.on(d.session(), bulk("b", 1, 1200, "two"))
	d.on(d.conn, bulk("a", 1501, 500, "one"), "COMMIT")
	d.exec(`INSERT INTO c VALUES (-1, 'end')`)
	rows := untilEnd(t, run)
	for i, r := range rows[:3200] {
		if want := int64(1 + i - 1200*min(1, i/1200)); after(&r, "id").Int() != want {
			t.Fatalf("row %d is %s", i, r.Key)
		}
	}
	if c.cuts.Load() != int64(len(limits)) || len(rows) != 3201 {
		t.Errorf("%d cuts, %d rows", c.cuts.Load(), len(rows))
	}
}

// FuzzStreamed sends any messages, each led by its length in a byte: with transactions in
// progress and replayed ones, there are errors, never a panic, and a record that was made
// fits its schema.
func FuzzStreamed(f *testing.F) {
	_, _, insert, _ := benchStream(f)
	xid := func(m []byte) []byte { return append([]byte{m[0], 0, 0, 0, 5}, m[1:]...) }
	list := func(messages ...[]byte) (all []byte) {
		for _, m := range messages {
			all = append(append(all, byte(len(m))), m...)
		}
		return all
	}
	short := new(wireBuilder).u8('I').u32(7).u8('N').tuple("=1", "n", "n", "n", "n", "n", "n", "n", "n", "n").b
	start, stop := new(wireBuilder).u8('S').u32(5).u8(1).b, []byte{'E'}
	commit := new(wireBuilder).u8('c').u32(5).u8(0).u64(1000).u64(1010).u64(1).b
	f.Add(list(start, xid(short), stop, commit))
	f.Add(list(start, xid(insert[:200]), stop, new(wireBuilder).u8('A').u32(5).u32(6).b, commit))
	f.Add(list(start, xid([]byte("M\x01\x00\x00\x00\x00\x00\x00\x00\x05p\x00\x00\x00\x00\x01x")), []byte("O\x00\x00\x00\x00\x00\x00\x00\x05far\x00"), stop, commit))
	f.Fuzz(func(t *testing.T, all []byte) {
		s, _, _, _ := benchStream(t)
		for len(all) > 1 {
			n := min(int(all[0]), len(all)-1)
			m := all[1 : 1+n]
			all = all[1+n:]
			if n == 0 || m[0] == 'R' {
				continue // Which asks the catalogue.
			}
			if err := s.copyData(context.Background(), wireMessage(m)); err != nil {
				break
			}
		}
		for _, r := range s.em.batch.records {
			if r.ValueSchema != nil {
				if err := r.ValueSchema.Check(r.Value); err != nil {
					t.Error(err)
				}
			}
		}
		if err := s.spill.close(); err != nil {
			t.Error(err)
		}
	})
}
