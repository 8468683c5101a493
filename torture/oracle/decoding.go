package oracle

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/torture/storm"
)

// Decoding is what a second replication slot tells of the storm, read by another plugin,
// test_decoding: the same changes, by nobody's code but the server's. It belongs to one
// goroutine.
type Decoding struct {
	connect func(context.Context) (*pgx.Conn, error)
	slot    string

	order []int64 // Short numbers of transactions, as they committed.
	sums  map[int64]decoded
	open  storm.Digest
	own   *manifest
}

// decoded is one transaction.
type decoded struct {
	digest   storm.Digest
	manifest bool
	end      uint64 // Of its commit record.
}

// NewDecoding returns a decoding that opens connections with connect, directly to the
// server.
func NewDecoding(connect func(context.Context) (*pgx.Conn, error)) *Decoding {
	return &Decoding{connect: connect, slot: "storm_oracle", sums: map[int64]decoded{}}
}

// Setup creates the slot: before the storm writes.
func (d *Decoding) Setup(ctx context.Context) error { return d.Begin(ctx, d.connect) }

// Begin creates the slot on a server that takes the place of the one before: before
// anybody writes to it.
func (d *Decoding) Begin(ctx context.Context, now func(context.Context) (*pgx.Conn, error)) error {
	return d.with(ctx, now, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'test_decoding')", d.slot)
		return err
	})
}

// Drop drops the slot, so that it keeps no log.
func (d *Decoding) Drop(ctx context.Context) error {
	return d.with(ctx, d.connect, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", d.slot)
		return err
	})
}

func (d *Decoding) with(ctx context.Context, server func(context.Context) (*pgx.Conn, error), f func(*pgx.Conn) error) error {
	conn, err := server(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET bytea_output = 'hex'; SET extra_float_digits = 1"); err != nil {
		return err
	}
	return f(conn)
}

// Drain reads what the slot has, up to where the log ends when it is called, and lets the
// server forget the log up to there. It may be called again after an error, such as that
// of a server that crashed meanwhile: what a slot repeats is known by its transaction.
func (d *Decoding) Drain(ctx context.Context) error { return d.drain(ctx, d.connect) }

func (d *Decoding) drain(ctx context.Context, server func(context.Context) (*pgx.Conn, error)) error {
	err := d.with(ctx, server, func(conn *pgx.Conn) error {
		var text string
		if err := conn.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&text); err != nil {
			return err
		}
		goal, err := parseLSN(text)
		for at := uint64(0); at < goal && err == nil; {
			at, err = d.step(ctx, conn, goal)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("reading the slot %s: %w", d.slot, err)
	}
	return nil
}

// step reads some transactions and moves the slot behind them, or to the goal when there
// are none left before it. It returns where the slot stands then.
func (d *Decoding) step(ctx context.Context, conn *pgx.Conn, goal uint64) (uint64, error) {
	n, end, err := d.peek(ctx, conn)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		end = goal
	}
	const advance = "SELECT pg_replication_slot_advance($1, greatest('0/0'::pg_lsn + $2::numeric, confirmed_flush_lsn)) FROM pg_replication_slots WHERE slot_name = $1"
	_, err = conn.Exec(ctx, advance, d.slot, strconv.FormatUint(end, 10))
	return end, err
}

// Leave reads what a server still has that is gone otherwise, and forgets what it
// committed behind a position: another server went on from there by itself.
func (d *Decoding) Leave(ctx context.Context, former func(context.Context) (*pgx.Conn, error), at uint64) error {
	err := d.drain(ctx, former)
	d.order = slices.DeleteFunc(d.order, func(xid int64) bool {
		late := d.sums[xid].end > at
		if late {
			delete(d.sums, xid)
		}
		return late
	})
	return err
}

// ends returns where the commits of transactions end, by their short numbers.
func (d *Decoding) ends() map[int64]uint64 {
	list := map[int64]uint64{}
	for xid, said := range d.sums {
		list[xid] = said.end
	}
	return list
}

// peek reads some transactions without moving the slot, which would lose those whose rows
// do not arrive. It returns how many there were and where the last one ends.
func (d *Decoding) peek(ctx context.Context, conn *pgx.Conn) (n int, end uint64, err error) {
	const changes = 20000 // The last transaction comes whole.
	rows, err := conn.Query(ctx, "SELECT lsn::text, data FROM pg_logical_slot_peek_changes($1, NULL, $2, 'include-xids', '1', 'include-timestamp', '0', 'skip-empty-xacts', '1')", d.slot, changes)
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var lsn, text string
		if err := rows.Scan(&lsn, &text); err != nil {
			return 0, 0, err
		}
		at, err := parseLSN(lsn)
		if err != nil {
			return 0, 0, err
		}
		over, err := d.line(text, at)
		if err != nil {
			return 0, 0, fmt.Errorf("%q: %w", text, err)
		}
		if over {
			n, end = n+1, at
		}
	}
	return n, end, rows.Err()
}

// line takes in one line, which stands at a position, and tells whether a transaction is
// over with it.
func (d *Decoding) line(text string, at uint64) (over bool, err error) {
	verb, rest, _ := strings.Cut(text, " ")
	switch verb {
	case "BEGIN":
		d.open, d.own = storm.Digest{}, nil
	case "COMMIT":
		xid, err := strconv.ParseInt(rest, 10, 64)
		if err != nil {
			return false, err
		}
		if _, seen := d.sums[xid]; !seen {
			d.order = append(d.order, xid)
			d.sums[xid] = decoded{digest: d.open, manifest: d.own != nil, end: at}
		}
		return true, nil
	case "message:":
		d.message(rest)
	case "table":
		return false, d.change(rest)
	}
	return false, nil
}

func (d *Decoding) message(text string) {
	head, content, ok := strings.Cut(text, " content:")
	_, prefix, _ := strings.Cut(head, "prefix: ")
	prefix, _, _ = strings.Cut(prefix, ",")
	if !ok || !strings.HasPrefix(head, "transactional: 1") || prefix != "storm" {
		return
	}
	d.add(connect.OpMessage, storm.TableMessages, []storm.Column{{Name: "content", Text: content}, {Name: "prefix", Text: prefix}})
}

func (d *Decoding) add(op, table string, row []storm.Column) {
	d.open.Add(d.open.N+1, &storm.Event{Table: table, Op: op, Row: row})
}

// change takes in the change of a row, or the emptying of tables.
func (d *Decoding) change(text string) error {
	c, err := parseChange(text)
	if err != nil {
		return err
	}
	table := storm.RootOf(c.tables[0])
	keys := storm.KeyOf(table)
	switch {
	case table == storm.TableManifest && c.op == "INSERT":
		m, err := manifestOf(c.row)
		d.own = &m
		return err
	case c.op == "TRUNCATE":
		for _, name := range c.tables {
			d.add(connect.OpTruncate, storm.RootOf(name), nil)
		}
	case c.op == "INSERT":
		d.add(connect.OpCreate, table, c.row)
	case c.op == "DELETE" && len(keys) == 0:
		d.add(connect.OpDelete, table, c.row)
	case c.op == "DELETE":
		d.add(connect.OpDelete, table, only(c.row, keys))
	case len(keys) > 0 && c.old != nil && keyText(only(c.old, keys)) != keyText(only(c.row, keys)):
		d.add(connect.OpDelete, table, only(c.old, keys))
		d.add(connect.OpCreate, table, c.row)
	default:
		d.add(connect.OpUpdate, table, c.row)
	}
	return nil
}

// only returns the columns of some names.
func only(row []storm.Column, names []string) (list []storm.Column) {
	for _, name := range names {
		for _, c := range row {
			if c.Name == storm.Plain(name) {
				list = append(list, c)
			}
		}
	}
	return list
}

// compare holds what the topics have against what the server decodes: every transaction
// the same events in the same order, and the transactions in the order of their commits.
func (d *Decoding) compare(committed map[int64]manifest, t *transactions, report func(Anomaly)) {
	full := map[int64]int64{}
	for txid := range committed {
		full[int64(uint32(txid))] = txid
	}
	var last uint64
	var lastXID int64
	for _, xid := range d.order {
		said, txid := d.sums[xid], full[xid]
		m, ok := committed[txid]
		if !ok {
			if said.manifest || said.digest.N > 0 {
				report(Anomaly{Name: Torn, Text: fmt.Sprintf("the server decodes %d events of a transaction without a manifest", said.digest.N), XID: xid})
			}
			continue
		}
		commit, streamed := t.commits[txid]
		if streamed && commit <= last {
			report(Anomaly{Name: Reorder, Text: fmt.Sprintf("the server decodes it after transaction %d", lastXID), LSN: commit, XID: txid})
		} else if streamed {
			last, lastXID = commit, txid
		}
		if said.digest.N != m.events || said.digest.Values() != m.values || said.digest.Shape() != m.shape {
			report(Anomaly{Name: ValueDiff, Text: fmt.Sprintf("the server decodes other events of a %s (%d) than its manifest says (%d)", m.kind, said.digest.N, m.events), LSN: commit, XID: txid})
		}
	}
}
