package postgres

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// TestResumeBehindEveryRecord has prepared transactions whose commit records follow
// each other in the log without a gap, messages in and outside transactions, a COPY,
// and transactions across each other. Restarted behind any record, also a mark,
// exactly the records behind it come.
func TestResumeBehindEveryRecord(t *testing.T) {
	t.Parallel()
	pg := devstack.NewTestPostgres(t, devstack.PostgresOptions{Settings: map[string]string{"max_prepared_transactions": "5"}})
	d := openTestDB(t, pg.DSN("postgres"))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	first := d.begun()
	d.exec(`SELECT pg_copy_logical_replication_slot($1, 'witness')`, d.slot)
	d.preparedBackToBack(t)
	d.exec(`INSERT INTO a VALUES (1000, 'end')`)
	if n := d.touching("witness"); n < 2 {
		t.Fatalf("%d commit records stand where the one before ends", n)
	}
	all := upToEnd(t, first)
	first.Stop()
	for i := range all {
		var offsets connecttest.Offsets
		offsets.Put(all[i].SourcePartition, all[i].SourceOffset.AppendJSON(nil))
		run := d.start(&offsets)
		rest := upToEnd(t, run)
		run.Stop()
		want, got := briefs(all[i+1:]), briefs(rest)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("behind %s came\n%q, want\n%q", all[i].SourceOffset.AppendJSON(nil), got, want)
		}
	}
}

// preparedBackToBack writes what is read in this test.
func (d *testDB) preparedBackToBack(t *testing.T) {
	t.Helper()
	one := d.session()
	on := func(sql string) {
		t.Helper()
		if _, err := one.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		on(fmt.Sprintf(`BEGIN; INSERT INTO a VALUES (%d, 'prepared'), (%d, 'prepared'); PREPARE TRANSACTION 'p%d'`, 10*i, 10*i+1, i))
	}
	on(`BEGIN`)
	on(`INSERT INTO a VALUES (50, 'long')`)
	d.exec(`SELECT pg_logical_emit_message(false, 'note', 'in between')`)
	for i := range 3 {
		d.exec(fmt.Sprintf(`COMMIT PREPARED 'p%d'`, i))
	}
	on(`SELECT pg_logical_emit_message(true, 'note', 'inside'); INSERT INTO a VALUES (51, 'long'); COMMIT`)
	d.exec(`COMMIT PREPARED 'p3'`)
	d.exec(`SELECT pg_logical_emit_message(false, 'note', 'one'), pg_logical_emit_message(false, 'note', 'two')`)
	if _, err := one.CopyFrom(context.Background(), pgx.Identifier{"a"}, []string{"id", "v"}, pgx.CopyFromRows([][]any{{60, "copy"}, {61, "copy"}, {62, "copy"}})); err != nil {
		t.Fatal(err)
	}
	on(`BEGIN; SELECT pg_logical_emit_message(false, 'note', 'of nothing'); ROLLBACK`)
}

// touching counts the transactions whose commit record begins where the commit record
// before it ends.
func (d *testDB) touching(slot string) (n int) {
	d.tb.Helper()
	rows, err := d.conn.Query(context.Background(), `SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', 'dbz_publication')`, slot)
	if err != nil {
		d.tb.Fatal(err)
	}
	var end uint64
	var data []byte
	if _, err := pgx.ForEachRow(rows, []any{&data}, func() error {
		switch data[0] {
		case 'B':
			if m, err := decodeBegin(data[1:]); err == nil && m.commit == end {
				n++
			}
		case 'C':
			if m, err := decodeCommit(data[1:]); err == nil {
				end = m.end
			}
		}
		return nil
	}); err != nil {
		d.tb.Fatal(err)
	}
	return n
}

// upToEnd takes records until that of row 1000.
func upToEnd(t *testing.T, run *connecttest.SourceRun) (all []connect.SourceRecord) {
	t.Helper()
	for {
		r := run.Take(1)[0]
		if op(&r) == "c" && r.Key.Struct().Get("id").Int() == 1000 {
			return all
		}
		all = append(all, r)
	}
}

// briefs writes records without what the clock says.
func briefs(records []connect.SourceRecord) []string {
	list := make([]string, len(records))
	for i := range records {
		if r := &records[i]; op(r) == "m" {
			list[i] = "m " + string(r.Value.Struct().Get("message").Struct().Get("content").Bytes())
		} else {
			list[i] = brief(r)
		}
	}
	return list
}

// TestKilledRepeatsWhatWasNotStored ends tasks without a word at any point of the
// stream, as kill -9 does: of the records that had been taken, those behind the last
// stored offset come again, all others once, and what is confirmed to the server is
// never more than what is stored.
func TestKilledRepeatsWhatWasNotStored(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text)`)
	var offsets connecttest.Offsets
	const batch, rows = 10, 400
	settings := []string{"snapshot.mode", "no_data", "max.batch.size", fmt.Sprint(batch)}
	run := d.start(&offsets, settings...)
	d.streaming()
	d.exec(`INSERT INTO a VALUES (0, 'first')`)
	run.Take(1)
	run.Commit()
	for i := 1; i <= rows; i += 25 {
		d.exec(`INSERT INTO a SELECT g, 'v' FROM generate_series($1::int, $1::int + 24) g`, i)
	}
	next, repeated := 1, 0
	for kill := 0; next <= rows; kill++ {
		n := min(3+7*kill%40, rows-next+1)
		for _, r := range run.Take(n) {
			if id := int(r.Key.Struct().Get("id").Int()); id != next {
				t.Fatalf("row %d came, want %d", id, next)
			}
			next++
		}
		run.Commit()
		more := min(batch, rows-next+1)
		lost := run.Take(more) // Sent, but the offset was not stored when the kill came.
		repeated += len(lost)
		run.Stop()
		d.unread()
		p, _ := partition("shop")
		text, _ := offsets.Get(context.Background(), p)
		at, err := parsePosition(text)
		if err != nil {
			t.Fatal(err)
		}
		if confirmed := parseLSN([]byte(d.get(`SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1`, d.slot))); confirmed > at.end {
			t.Fatalf("%s is confirmed, %s is stored", lsnText(confirmed), lsnText(at.end))
		}
		run = d.start(&offsets, settings...)
	}
	t.Logf("%d records were repeated", repeated)
}

// TestResumeUnderOtherOptions stops in the middle of a transaction and goes on with
// options under which the server sends fewer of its changes, so that the ordinals of
// those that are left are others: none is passed over.
func TestResumeUnderOtherOptions(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(fillBig)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, n int, v text); INSERT INTO a VALUES (0, 0, big(0))`)
	dir, offsets := t.TempDir(), &connecttest.Offsets{}
	config := []string{"unavailable.value.mode", "fill", "slot.drop.on.stop", "false", "max.batch.size", "1"}
	run := connecttest.StartSourceIn(t, Plugin().New(), d.config(config...), offsets, dir)
	run.Take(1)
	d.streaming()
	run.Commit()
	const messages = `SELECT pg_logical_emit_message(true, 'note', g::text) FROM generate_series(1, 3) g;`
	d.exec(`BEGIN; ` + messages + ` UPDATE a SET v = big(1); UPDATE a SET n = 1; UPDATE a SET v = big(2); UPDATE a SET n = 2; UPDATE a SET v = big(3); UPDATE a SET n = 3; COMMIT`)
	run.Take(5) // Three messages and two rows.
	run.Commit()
	run.Stop()
	required := append([]string{"slot.stream.params", "messages=false", "exactly.once.support", "required"}, config...)
	if err := failure(t, d.config(required...), offsets); err.Code != "pg.offset.counting" {
		t.Error(err)
	}
	again := connecttest.StartSourceIn(t, Plugin().New(), d.config(append([]string{"slot.stream.params", "messages=false"}, config...)...), offsets, dir)
	for i, r := range again.Take(6) {
		seed, n := i/2+1, (i+1)/2
		if want := d.get(`SELECT big($1)`, seed); after(&r, "v").Str() != want || after(&r, "n").Int() != int64(n) {
			t.Errorf("change %d has n=%d and %.20s, want n=%d and %.20s", i, after(&r, "n").Int(), after(&r, "v").Str(), n, want)
		}
	}
}
