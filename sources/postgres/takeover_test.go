package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// logged is a message of the log, as the server sends it to any reader of the slot.
type logged struct {
	lsn  uint64
	xid  uint32
	kind byte
	// from is the message at which a reader that stops behind this one must begin
	// again: the start of its transaction, or the next one.
	from int
}

// peek lists the messages of a slot without the relations.
func (d *testDB) peek(slot string) (list []logged) {
	d.tb.Helper()
	rows, err := d.conn.Query(context.Background(), `SELECT lsn::text, xid::text::bigint, data FROM
		pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', 'dbz_publication', 'messages', 'true')`, slot)
	if err != nil {
		d.tb.Fatal(err)
	}
	start := 0
	var lsn string
	var xid int64
	var data []byte
	_, err = pgx.ForEachRow(rows, []any{&lsn, &xid, &data}, func() error {
		m := logged{lsn: parseLSN([]byte(lsn)), xid: uint32(xid), kind: data[0]}
		if m.kind == 'R' {
			return nil
		}
		if m.kind == 'B' {
			start = len(list)
		}
		m.from = start
		if m.kind == 'C' || m.kind == 'M' && data[1] == 0 {
			m.from = len(list) + 1
			start = m.from
		}
		list = append(list, m)
		return nil
	})
	if err != nil {
		d.tb.Fatal(err)
	}
	return list
}

// debezium writes the offsets that Debezium stores behind each message, after its
// PostgresOffsetContext: lsn and messageType are of the message, lsn_proc of the last
// one that was sent whole, lsn_commit of the last commit or lone message.
func debezium(list []logged) []string {
	var offsets []string
	var proc, commit uint64
	same := 0
	for i, m := range list {
		word := map[byte]string{'B': "BEGIN", 'C': "COMMIT", 'I': "INSERT", 'U': "UPDATE", 'M': "MESSAGE"}[m.kind]
		if m.kind != 'B' {
			proc = m.lsn
		}
		if m.from == i+1 {
			commit = m.lsn
		}
		o := fmt.Sprintf(`{"transaction_id":null,"lsn":%d,"messageType":%q,"ts_usec":1700000000000000`, m.lsn, word)
		if m.xid != 0 {
			o += fmt.Sprintf(`,"txId":%d`, m.xid)
		}
		if proc != 0 {
			o += fmt.Sprintf(`,"lsn_proc":%d`, proc)
		}
		if commit != 0 {
			o += fmt.Sprintf(`,"lsn_commit":%d`, commit)
		}
		if same++; i == 0 || list[i-1].lsn != m.lsn || list[i-1].kind == 'B' {
			same = 1 // A transaction's beginning is no change.
		}
		if i%2 == 0 { // Written from version 3.7 on.
			o += fmt.Sprintf(`,"lsn_events_processed":%d,"xmin":null`, same)
		}
		offsets = append(offsets, o+"}")
	}
	return offsets
}

// goesOn returns the message at which we go on behind an offset of Debezium's: behind the
// change itself, if the offset tells how many changes at its position were sent, and
// otherwise at the first one there.
func goesOn(list []logged, i int) int {
	if m := list[i]; m.kind != 'I' && m.kind != 'U' {
		return m.from
	}
	if i%2 == 0 {
		return i + 1
	}
	for list[i-1].lsn == list[i].lsn && list[i-1].kind != 'B' {
		i--
	}
	return i
}

// TestTakesOverFromDebezium takes a slot over behind every message that Debezium can
// have sent: everything that is left comes, and nothing that was sent as far as the offset
// tells.
func TestTakesOverFromDebezium(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); CREATE PUBLICATION dbz_publication FOR ALL TABLES`)
	d.exec(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, d.slot)
	one := d.session()
	ctx := context.Background()
	on := func(sql string) {
		t.Helper()
		if _, err := one.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	d.exec(`INSERT INTO a VALUES (1, 'one')`)
	on(`BEGIN; INSERT INTO a VALUES (2, 'long'), (3, 'long')`)
	d.exec(`INSERT INTO a VALUES (4, 'between')`)
	d.exec(`SELECT pg_logical_emit_message(false, 'note', 'alone')`)
	on(`SELECT pg_logical_emit_message(true, 'note', 'inside'); INSERT INTO a VALUES (5, 'long'); COMMIT`)
	if _, err := one.CopyFrom(ctx, pgx.Identifier{"a"}, []string{"id", "v"}, pgx.CopyFromRows([][]any{{6, "copy"}, {7, "copy"}, {8, "copy"}})); err != nil {
		t.Fatal(err)
	}
	d.exec(`UPDATE a SET v = 'last' WHERE id = 1`)
	list := d.peek(d.slot)
	if len(list) < 20 {
		t.Fatalf("%d messages", len(list))
	}
	all := d.takeOver("whole", "", "")
	offsets := debezium(list)
	for i, offset := range offsets[:len(offsets)-1] { // Behind the last nothing is left.
		advance := ""
		if i%3 == 1 { // The slot was told as well.
			advance = fmt.Sprint(list[i].lsn)
			if list[i].from != i+1 {
				advance = ""
			}
		}
		want := all[min(records(list[:goesOn(list, i)]), len(all)):]
		if got := d.takeOver("copy", offset, advance); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("behind message %d (%c), offset %s:\n%s\nwant\n%s", i, list[i].kind, offset, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	d.offsetsOfSnapshots(t, list, all)
}

// records counts the messages that give records.
func records(list []logged) (n int) {
	for _, m := range list {
		if m.kind != 'B' && m.kind != 'C' {
			n++
		}
	}
	return n
}

// takeOver reads a copy of the slot from an offset to the end.
func (d *testDB) takeOver(slot, offset, advance string) (got []string) {
	d.tb.Helper()
	slot = d.slot + "_" + slot
	d.exec(`SELECT pg_copy_logical_replication_slot($1, $2)`, d.slot, slot)
	if advance != "" {
		d.exec(`SELECT pg_replication_slot_advance($1, '0/0'::pg_lsn + $2::numeric)`, slot, advance)
	}
	var offsets connecttest.Offsets
	p, _ := partition("shop")
	if offset != "" {
		offsets.Put(p, []byte(offset))
	}
	run := d.start(&offsets, "slot.name", slot, "snapshot.mode", "no_data", "lsn.flush.mode", "manual")
	end := `a u {"id":1} null {"id":1,"v":"last"}`
	for len(got) == 0 || got[len(got)-1] != end {
		records := run.Take(1)
		if text := brief(&records[0]); strings.HasPrefix(text, "message") {
			got = append(got, text[:strings.IndexByte(text, '}')])
		} else {
			got = append(got, text)
		}
	}
	run.Stop()
	eventually(d.tb, "the copy is free", func() bool {
		return d.get(`SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active`, slot) == "1"
	})
	return got
}

// offsetsOfSnapshots takes over in and after snapshots of Debezium's.
func (d *testDB) offsetsOfSnapshots(t *testing.T, list []logged, all []string) {
	t.Helper()
	mid := list[2].lsn // The end of the first transaction.
	for name, c := range map[string]struct {
		offset string
		want   string // The first record.
	}{
		// The slot stands before it: what committed while that snapshot began is read.
		"after a snapshot":        {fmt.Sprintf(`{"last_snapshot_record":true,"lsn":%d,"txId":3,"ts_usec":1,"snapshot":"INITIAL","snapshot_completed":true}`, mid), all[0]},
		"after one, version 2":    {fmt.Sprintf(`{"last_snapshot_record":true,"lsn":%d,"txId":3,"ts_usec":1,"snapshot":true}`, mid), all[0]},
		"in a blocking snapshot":  {fmt.Sprintf(`{"last_snapshot_record":false,"lsn":%d,"lsn_proc":%d,"lsn_commit":%d,"txId":3,"ts_usec":1,"snapshot":"BLOCKING","snapshot_completed":false}`, mid, mid, mid), all[1]},
		"an incremental snapshot": {fmt.Sprintf(`{"lsn":%d,"lsn_proc":%d,"lsn_commit":%d,"txId":3,"ts_usec":1,"messageType":"INSERT","incremental_snapshot_collections":"[{\"incremental_snapshot_collections_id\":\"public.a\"}]","incremental_snapshot_primary_key":"aced0005"}`, mid, mid, mid), all[1]},
		"in the middle of one":    {fmt.Sprintf(`{"lsn":%d,"snapshot":"INITIAL","snapshot_completed":false,"last_snapshot_record":false,"ts_usec":1}`, mid), `a r {"id":1} null {"id":1,"v":"last"}`},
	} {
		slot := d.slot + "_s"
		d.exec(`SELECT pg_copy_logical_replication_slot($1, $2)`, d.slot, slot)
		var offsets connecttest.Offsets
		p, _ := partition("shop")
		offsets.Put(p, []byte(c.offset))
		run := d.start(&offsets, "slot.name", slot, "table.include.list", "public.a")
		var first []connect.SourceRecord
		// A snapshot that was cut short is read again behind the log of what was between.
		for len(first) == 0 || c.want[:3] == "a r" && brief(&first[0]) != c.want {
			first = run.Take(1)
		}
		if got := brief(&first[0]); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		run.Stop()
		eventually(t, "the copy is free", func() bool {
			return d.get(`SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active`, slot) == "1"
		})
	}
}
