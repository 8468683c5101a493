package sim

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// known is a query that the source asks, recognised by a part of it. The answer is
// given under the database's lock.
type known struct {
	part   string
	answer func(ss *session, args []string) [][]any
}

// none answers with no rows.
func none(*session, []string) [][]any { return nil }

// fixed answers with the same row always.
func fixed(values ...any) func(*session, []string) [][]any {
	return func(*session, []string) [][]any { return [][]any{values} }
}

// catalogue lists the queries. The first that fits answers, so that the more special
// ones stand first.
var catalogue = []known{
	{"SELECT current_setting('server_version_num'), current_setting('wal_level')", func(ss *session, _ []string) [][]any {
		return [][]any{{"150008", "logical", false, ss.db.nextXID, ss.db.started, systemID}}
	}},
	{"SELECT pg_catalog.pg_snapshot_xmax(", func(ss *session, _ []string) [][]any { return [][]any{{ss.db.nextXID}} }},
	{"SELECT coalesce(pg_catalog.min(name), '')", fixed("")},
	{"SELECT pg_catalog.pg_postmaster_start_time()", func(ss *session, _ []string) [][]any { return [][]any{{ss.db.started}} }},
	{"SELECT c.oid, n.nspname, c.relname, c.relkind, c.relreplident, c.relispartition", tableRows},
	{"SELECT n.nspname, c.relname, c.relreplident", func(ss *session, args []string) [][]any {
		if t := ss.table(args); t != nil {
			return [][]any{{"public", t.name, string(t.identity), "", ""}}
		}
		return nil
	}},
	{"SELECT a.attname, a.atttypid, a.atttypmod, a.attnotnull", func(_ *session, _ []string) (rows [][]any) {
		for i, c := range columns {
			rows = append(rows, []any{c.name, c.oid, -1, true, "", false, 0, "", i + 1})
		}
		return rows
	}},
	{"SELECT i.indisprimary, i.indisreplident", fixed(true, false, `["id"]`, true)},
	{"SELECT puballtables", func(ss *session, args []string) [][]any {
		if ss.db.published[args[0]] == nil {
			return nil
		}
		return [][]any{{false, false, true, true, true, true, true, true, 16400, false}}
	}},
	{"SELECT schemaname, tablename FROM pg_catalog.pg_publication_tables", func(ss *session, args []string) (rows [][]any) {
		for _, t := range ss.db.tables {
			if ss.db.published[args[0]][t.oid] {
				rows = append(rows, []any{"public", t.name})
			}
		}
		return rows
	}},
	{"SELECT pubinsert, pubupdate, pubdelete, pubtruncate", fixed(true, true, true, true)},
	{"SELECT r.prrelid, r.oid", func(ss *session, args []string) (rows [][]any) {
		for _, t := range ss.db.tables {
			if ss.db.published[args[0]][t.oid] {
				rows = append(rows, []any{t.oid, t.oid + 1000, " "})
			}
		}
		return rows
	}},
	{"FROM pg_catalog.pg_publication_rel pr", none},
	{"SELECT name, setting, coalesce(unit, '')", func(*session, []string) [][]any {
		return [][]any{{"max_replication_slots", "10", ""}, {"max_wal_senders", "10", ""}, {"max_connections", "100", ""},
			{"wal_sender_timeout", senderTimeout.Milliseconds(), "ms"}, {"max_slot_wal_keep_size", "10240", "MB"}, {"max_wal_size", "1024", "MB"}}
	}},
	{"FROM pg_catalog.pg_stat_replication", func(ss *session, _ []string) [][]any { return [][]any{{0, len(ss.db.slots), 5}} }},
	{"SELECT rolsuper, rolreplication, current_user", fixed(true, true, "sim", false, false, true, "sim", -1, true)},
	{"SELECT plugin, slot_type = 'logical'", slotRows},
	{"SELECT s.active, coalesce(pg_catalog.to_jsonb(s)->>'wal_status'", guardRows},
	{"pg_catalog.pg_drop_replication_slot", func(ss *session, args []string) [][]any {
		if s := ss.db.slots[args[0]]; s != nil && s.pid == 0 {
			delete(ss.db.slots, args[0])
		}
		return nil
	}},
	{"SELECT slot_name, held, kin", none},
	{"backend_xid IS NOT NULL AND xact_start IS NOT NULL", none},
	{"SELECT application_name FROM pg_catalog.pg_stat_activity", none},
	{"SELECT pg_catalog.pg_is_in_recovery(), a.pid::text", none},
	{"SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'", fixed(senderTimeout.Milliseconds())},
	{"pg_catalog.txid_snapshot_xmin", func(ss *session, args []string) [][]any {
		oldest := ss.db.nextXID
		for tx := range ss.db.open {
			oldest = min(oldest, tx.xid)
		}
		return [][]any{{fmt.Sprint(len(ss.db.published)), fmt.Sprint(len(ss.db.published[args[0]])), "tables", "0", "1", oldest, ss.db.nextXID}}
	}},
	{"c.relpages = 0 AND c.reltuples <= 0", none},
	{"SELECT a.attrelid, a.attname, a.atttypid", none},
	{"SELECT r.oid, c.oid, n.nspname, c.relname, c.relkind", func(ss *session, _ []string) (rows [][]any) {
		for _, t := range ss.db.tables {
			rows = append(rows, []any{t.oid, t.oid, "public", t.name, "r", 1, len(t.rows), 1, true, false})
		}
		return rows
	}},
	{"SELECT c.relfilenode = coalesce", fixed(true)},
	{"SELECT n.nspname, t.typname, t.typtype", func(_ *session, args []string) [][]any {
		name := map[string]string{"20": "int8", "25": "text"}[args[0]]
		return [][]any{{"pg_catalog", name, "b", false, 0, ",", 0, -1, 0, 0, 0}}
	}},
}

func (ss *session) table(args []string) *table {
	for _, t := range ss.db.tables {
		if strconv.FormatUint(uint64(t.oid), 10) == args[0] {
			return t
		}
	}
	return nil
}

func tableRows(ss *session, _ []string) (rows [][]any) {
	for _, t := range ss.db.tables {
		rows = append(rows, []any{t.oid, "public", t.name, "r", string(t.identity), false, "", "", -1, true, true, false, true, true})
	}
	return rows
}

func slotRows(ss *session, args []string) [][]any {
	s := ss.db.slots[args[0]]
	if s == nil {
		return nil
	}
	pid := ""
	if s.pid != 0 {
		pid = strconv.FormatUint(uint64(s.pid), 10)
	}
	return [][]any{{"pgoutput", true, "sim", s.pid != 0, pid, lsn(s.kept), lsn(s.confirmed), s.temporary, "reserved", "", false, false}}
}

func guardRows(ss *session, args []string) [][]any {
	s := ss.db.slots[args[0]]
	if s == nil {
		return nil
	}
	return [][]any{{s.pid != 0, "reserved", nil, lsn(s.kept), lsn(s.confirmed), "700", "40", lsn(ss.db.wal), ss.db.now().UnixMicro()}}
}

// selected returns which columns a statement selects, by the quotes around them.
func selected(sql string) (list []int) {
	head, _, _ := strings.Cut(sql, " FROM ")
	for _, word := range strings.Split(head, `"`) {
		for i, c := range columns {
			if c.name == word {
				list = append(list, i)
			}
		}
	}
	return list
}

// copy answers COPY (SELECT …) TO STDOUT from the view of the transaction.
func (ss *session) copy(sql string) {
	t, places, binary := ss.copied(sql), selected(sql), strings.Contains(sql, "FORMAT binary")
	if t == nil {
		ss.db.note("query", "the fake server cannot copy: "+sql)
		ss.fail("0A000", "this cannot be copied")
		return
	}
	ss.db.mu.Lock()
	rows := t.rows
	if ss.view != nil {
		rows = ss.view.rows[t.oid]
	}
	ids := make([]int64, 0, len(rows))
	for id := range rows {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	list := make([]row, len(ids))
	for i, id := range ids {
		list[i] = rows[id]
	}
	ss.db.mu.Unlock()
	ss.pg.Send(&pgproto3.CopyOutResponse{ColumnFormatCodes: make([]uint16, len(places))})
	header := append([]byte("PGCOPY\n\xff\r\n\x00"), 0, 0, 0, 0, 0, 0, 0, 0)
	for i, r := range list {
		line := copyText(r, places)
		if binary {
			line = copyBinary(r, places)
			if i == 0 {
				line = append(header, line...)
			}
		}
		ss.pg.Send(&pgproto3.CopyData{Data: line})
		const some = 100
		if i%some == some-1 {
			if ss.pg.Flush() != nil {
				return
			}
			time.Sleep(200 * time.Millisecond) // The server reads from its disk.
		}
	}
	if binary {
		last := []byte{0xff, 0xff}
		if len(list) == 0 {
			last = append(header, last...)
		}
		ss.pg.Send(&pgproto3.CopyData{Data: last})
	}
	ss.pg.Send(&pgproto3.CopyDone{})
	ss.pg.Send(&pgproto3.CommandComplete{CommandTag: fmt.Appendf(nil, "COPY %d", len(list))})
}

func (ss *session) copied(sql string) *table {
	for _, t := range ss.db.tables {
		if strings.Contains(sql, `"public"."`+t.name+`"`) {
			return t
		}
	}
	return nil
}

func copyText(r row, places []int) []byte {
	texts := r.texts()
	parts := make([][]byte, len(places))
	for i, p := range places {
		parts[i] = []byte(texts[p])
	}
	return append(bytes.Join(parts, []byte{'\t'}), '\n')
}

func copyBinary(r row, places []int) []byte {
	values := r.binaries()
	b := be.AppendUint16(nil, uint16(len(places)))
	for _, p := range places {
		b = be.AppendUint32(b, uint32(len(values[p])))
		b = append(b, values[p]...)
	}
	return b
}
