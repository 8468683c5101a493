package storm

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// template is one kind of transaction. It has write, which makes the statements between
// BEGIN and the manifest, or alone, which does everything itself.
type template struct {
	name   string
	weight float64
	write  func(context.Context, *client, *transaction) error
	alone  func(context.Context, *client) error
}

// templates are those that the options ask for.
func (o *Options) templates() []template {
	ddl := max(o.DDL, 0)
	big := 0.01
	if o.BigTx < 0 {
		big = 0
	}
	all := []template{
		{name: "transfer", weight: 0.40, write: transfer},
		{name: "key", weight: 0.05, write: moveKey},
		{name: "noop", weight: 0.05, write: noop},
		{name: "copy", weight: 0.02, write: copyRows},
		{name: "rebirth", weight: 0.05, write: rebirth},
		{name: "toast", weight: 0.05, write: toast},
		{name: "savepoints", weight: 0.08, write: savepoints},
		{name: "big", weight: big, write: bigInsert},
		{name: "bigdelete", weight: big, write: bigDelete},
		{name: "partition", weight: 0.05, write: movePartition},
		{name: "truncate", weight: 0.02, write: truncate},
		{name: "side", weight: 0.06, write: side},
		{name: "values", weight: 0.06, write: values},
		{name: "nokey", weight: 0.06, write: keyless},
		{name: "message", weight: 0.03, write: message},
		{name: "empty", weight: 0.03, alone: empty},
		{name: "long", weight: 0.003, write: longOpen},
		{name: "interleaved", weight: 0.03, alone: interleaved},
		{name: "ddl", weight: ddl, write: changeSchema},
	}
	return slices.DeleteFunc(all, func(t template) bool {
		return t.weight == 0 || len(o.Templates) > 0 && !slices.Contains(o.Templates, t.name)
	})
}

// pick draws a template by its weight.
func (c *client) pick() template {
	total := 0.0
	for _, t := range c.storm.templates {
		total += t.weight
	}
	at := c.rng.Float64() * total
	for _, t := range c.storm.templates {
		if at -= t.weight; at < 0 {
			return t
		}
	}
	return c.storm.templates[0]
}

// accounts draws some accounts that are there, in the order of their numbers, so that two
// clients do not wait for each other.
func (c *client) accounts(ctx context.Context, t *transaction, n int) ([]string, error) {
	r, err := t.query(ctx, fmt.Sprintf("SELECT id FROM (SELECT id FROM acct ORDER BY md5(id::text || '%d') LIMIT %d) a ORDER BY id", c.rng.Int64(), n))
	if err != nil {
		return nil, err
	}
	if len(r.Rows) < n {
		return nil, errNothing
	}
	ids := make([]string, n)
	for i, row := range r.Rows {
		ids[i] = string(row[0])
	}
	return ids, nil
}

// update changes rows that must be there.
func (t *transaction) update(ctx context.Context, name, sql string) error {
	n, err := t.do(ctx, change{"u", name, sql})
	if err == nil && n == 0 {
		err = errNothing
	}
	return err
}

// transfer moves an amount from one account to another.
func transfer(ctx context.Context, c *client, t *transaction) error {
	ids, err := c.accounts(ctx, t, 2)
	if err != nil {
		return err
	}
	amount := c.rng.IntN(100) - 50
	for i, id := range ids {
		if i == 1 {
			amount = -amount
		}
		if err := t.update(ctx, "acct", fmt.Sprintf("UPDATE acct SET bal = bal + %d, _v = _v + 1 WHERE id = %s", amount, id)); err != nil {
			return err
		}
	}
	return t.all(ctx, change{"c", "xfer", fmt.Sprintf("INSERT INTO xfer (a, b, amt, note) VALUES (%s, %s, %d, 'from %s')", ids[0], ids[1], amount, ids[0])})
}

// moveKey gives an account another number.
func moveKey(ctx context.Context, c *client, t *transaction) error {
	ids, err := c.accounts(ctx, t, 1)
	if err != nil {
		return err
	}
	return t.move(ctx, "acct", ids[0], "nextval('acct_ids')", ", _v = _v + 1")
}

// noop updates a row to what it is.
func noop(ctx context.Context, c *client, t *transaction) error {
	return t.update(ctx, "part", fmt.Sprintf("UPDATE part SET v = v WHERE id = (SELECT id FROM part ORDER BY md5(id::text || '%d') LIMIT 1)", c.rng.Int64()))
}

// copyRows copies rows, all of which have one position in the log.
func copyRows(ctx context.Context, c *client, t *transaction) error {
	text, err := t.text(ctx, "SELECT nextval('xfer_id_seq')")
	if err != nil {
		return err
	}
	first, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	first *= -1000 // Where no row of the sequence itself is.
	var rows strings.Builder
	for i := range 200 {
		fmt.Fprintf(&rows, "%d\t%d\t\\N\t%d\tcopied\n", first-i, c.rng.IntN(100), i)
	}
	if _, err := t.conn.CopyFrom(ctx, strings.NewReader(rows.String()), "COPY xfer (id, a, b, amt, note) FROM STDIN"); err != nil {
		return err
	}
	r, err := t.query(ctx, fmt.Sprintf("SELECT * FROM xfer WHERE id BETWEEN %d AND %d ORDER BY id DESC", first-199, first))
	if err != nil {
		return err
	}
	t.take("c", tableOf("xfer"), r)
	return nil
}

// rebirth deletes an account and opens it again, five times over.
func rebirth(ctx context.Context, c *client, t *transaction) error {
	ids, err := c.accounts(ctx, t, 1)
	if err != nil {
		return err
	}
	for range 5 {
		r, err := t.query(ctx, "DELETE FROM acct WHERE id = "+ids[0]+" RETURNING *")
		if err != nil {
			return err
		}
		if len(r.Rows) == 0 {
			return errNothing
		}
		t.take("d", tableOf("acct"), r)
		bal, v, pad := r.Rows[0][1], r.Rows[0][3], "NULL"
		if r.Rows[0][2] != nil {
			pad = "'" + string(r.Rows[0][2]) + "'"
		}
		if _, err := t.do(ctx, change{"c", "acct", fmt.Sprintf("INSERT INTO acct (id, bal, pad, _v) VALUES (%s, %s, %s, %s + 1)", ids[0], bal, pad, v)}); err != nil {
			return err
		}
	}
	return nil
}

// toast changes a row with a large value beside it, and now and then the value itself.
func toast(ctx context.Context, c *client, t *transaction) error {
	set := ""
	if c.chance(0.2) {
		set = fmt.Sprintf(", pad = repeat(md5('%d'), 280)", c.rng.Int64())
	}
	return t.update(ctx, "acct", fmt.Sprintf("UPDATE acct SET _v = _v + 1%s WHERE id = (SELECT id FROM acct WHERE pad IS NOT NULL ORDER BY md5(id::text || '%d') LIMIT 1)", set, c.rng.Int64()))
}

// savepoints writes rows at several depths and rolls some of them back.
func savepoints(ctx context.Context, c *client, t *transaction) error {
	for depth := range 1 + c.rng.IntN(5) {
		if err := t.exec(ctx, fmt.Sprintf("SAVEPOINT s%d", depth)); err != nil {
			return err
		}
		before := t.digest
		if err := t.all(ctx, change{"c", "xfer", fmt.Sprintf("INSERT INTO xfer (a, b, amt, note) SELECT %d, g, 0, 'depth' FROM generate_series(1, %d) g", depth, 1+c.rng.IntN(20))}); err != nil {
			return err
		}
		if !c.chance(0.4) {
			continue
		}
		if err := t.exec(ctx, fmt.Sprintf("ROLLBACK TO SAVEPOINT s%d", depth)); err != nil {
			return err
		}
		t.digest = before
	}
	return nil
}

// bigInsert writes more than the server keeps in memory, in two halves. One of them may
// be rolled back: the first one too, which is the one that tells of the table.
func bigInsert(ctx context.Context, c *client, t *transaction) error {
	n := c.storm.opts.BigTx/2 + c.rng.IntN(c.storm.opts.BigTx/2+1)
	half := change{"c", "big", fmt.Sprintf("INSERT INTO big (v) SELECT md5(g::text) || repeat('x', 60) FROM generate_series(1, %d) g", n/2)}
	undone := -1
	if c.chance(0.5) {
		undone = c.rng.IntN(2)
	}
	for i := range 2 {
		write := func() error { return t.all(ctx, half) }
		if i == undone {
			write = func() error { return t.undone(ctx, c, half) }
		}
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// undone makes changes of all kinds and takes them back.
func (t *transaction) undone(ctx context.Context, c *client, first change) error {
	before := t.digest
	if err := t.exec(ctx, "SAVEPOINT large"); err != nil {
		return err
	}
	if err := t.all(ctx, first); err != nil {
		return err
	}
	for _, sql := range []string{
		"UPDATE big SET v = 'undone' WHERE id IN (SELECT id FROM big ORDER BY id DESC LIMIT 40)",
		"DELETE FROM big WHERE id IN (SELECT id FROM big ORDER BY id DESC LIMIT 20)",
	} {
		if err := t.exec(ctx, sql); err != nil {
			return err
		}
	}
	t.digest = before
	// What a client thinks over is decoded meanwhile, and not known to be taken back.
	if err := t.exec(ctx, fmt.Sprintf("SELECT pg_sleep(%.3f)", 0.3*c.rng.Float64())); err != nil {
		return err
	}
	return t.exec(ctx, "ROLLBACK TO SAVEPOINT large")
}

// bigDelete deletes what large transactions left.
func bigDelete(ctx context.Context, c *client, t *transaction) error {
	n, err := t.do(ctx, change{"d", "big", fmt.Sprintf("DELETE FROM big WHERE id IN (SELECT id FROM big ORDER BY id LIMIT %d)", c.storm.opts.BigTx)})
	if err == nil && n == 0 {
		err = errNothing
	}
	return err
}

// movePartition moves a row into another partition, which is a deletion and a new row.
func movePartition(ctx context.Context, c *client, t *transaction) error {
	from, err := t.text(ctx, fmt.Sprintf("SELECT id FROM part ORDER BY md5(id::text || '%d') LIMIT 1", c.rng.Int64()))
	if err != nil {
		return err
	}
	to := fmt.Sprint(c.rng.IntN(4000))
	if to == from {
		return errNothing // A key that stays is an update.
	}
	return t.move(ctx, "part", from, to, ", v = 'moved from "+from+"'")
}

// side writes into the table that is emptied now and then.
func side(ctx context.Context, c *client, t *transaction) error {
	return t.all(ctx, change{"c", "side", fmt.Sprintf("INSERT INTO side SELECT nextval('side_ids'), 's' || g FROM generate_series(1, %d) g", 1+c.rng.IntN(5))},
		change{"u", "side", "UPDATE side SET v = v || '!' WHERE id = (SELECT max(id) FROM side)"})
}

// truncate empties a table between rows of its own.
func truncate(ctx context.Context, c *client, t *transaction) error {
	if err := side(ctx, c, t); err != nil {
		return err
	}
	if err := t.exec(ctx, "TRUNCATE side"); err != nil {
		return err
	}
	t.add("t", "public.side", nil)
	return side(ctx, c, t)
}

// values writes rows of many types into the table whose names need quotes.
func values(ctx context.Context, c *client, t *transaction) error {
	const name = `"Mix é""d ""T"""`
	key := fmt.Sprintf("md5('%d')::uuid", c.rng.Int64())
	return t.all(ctx,
		change{"c", "mix", fmt.Sprintf(`INSERT INTO %s ("Key", "päy load", arr, n, ts, mood, ok, raw, f) VALUES (%s, '{"a": [1, "ü"], "b": null}', '{%d,NULL}', '%d.%05d', '2025-06-07 08:09:10.%06d',
			(SELECT enumlabel::mood FROM pg_enum WHERE enumtypid = 'mood'::regtype ORDER BY md5(enumlabel || '%d') LIMIT 1), %t, '\x00ff%02x', %d.5)`,
			name, key, c.rng.IntN(1000), c.rng.IntN(1000000), c.rng.IntN(100000), c.rng.IntN(1000000), c.rng.Int64(), c.chance(0.5), c.rng.IntN(256), c.rng.IntN(1000))},
		change{"u", "mix", fmt.Sprintf(`UPDATE %s SET n = -n, arr = arr || arr, ok = NULL, "päy load" = '"%d"' WHERE "Key" = %s`, name, c.rng.Int(), key)},
		change{"u", "mix", fmt.Sprintf(`UPDATE %s SET n = 'NaN', ts = '%sinfinity' WHERE "Key" = %s AND n > -100000`, name, []string{"", "-"}[c.rng.IntN(2)], key)})
}

// keyless changes rows of a table without a key, among them several that are alike.
func keyless(ctx context.Context, c *client, t *transaction) error {
	x := c.rng.IntN(20)
	return t.all(ctx,
		change{"c", "nokey", fmt.Sprintf("INSERT INTO nokey VALUES (%d, 'y'), (%d, 'y'), (%d, NULL)", x, x, x)},
		change{"u", "nokey", fmt.Sprintf("UPDATE nokey SET y = 'z%d' WHERE x = %d AND y = 'y'", c.rng.IntN(3), x)},
		change{"u", "nokey", fmt.Sprintf("UPDATE nokey SET y = NULL WHERE x = %d AND y = 'z1'", (x+3)%20)},
		change{"d", "nokey", fmt.Sprintf("DELETE FROM nokey WHERE x = %d AND (y IS NULL OR y = 'z0')", (x+7)%20)})
}

// message writes logical messages between rows. The one outside of the transaction is no
// event of it.
func message(ctx context.Context, c *client, t *transaction) error {
	content := fmt.Sprintf("said %d", c.rng.Int64())
	if err := t.all(ctx, change{"c", "xfer", "INSERT INTO xfer (note) VALUES ('before a message')"}); err != nil {
		return err
	}
	if _, err := t.query(ctx, "SELECT pg_logical_emit_message(true, 'storm', '"+content+"'), pg_logical_emit_message(false, 'storm', 'aside')"); err != nil {
		return err
	}
	t.add("m", TableMessages, []Column{{Name: "content", Text: content}, {Name: "prefix", Text: "storm"}})
	return t.all(ctx, change{"c", "xfer", "INSERT INTO xfer (note) VALUES ('after a message')"})
}

// empty commits a transaction that has a number and changes nothing that is captured.
func empty(ctx context.Context, c *client) error {
	t := &transaction{conn: c.conn.PgConn()}
	return t.exec(ctx, "BEGIN; SELECT pg_current_xact_id(); COMMIT")
}

// longOpen keeps a transaction open and then writes one row more. Half of the time it is
// one that the server sends while it is in progress.
func longOpen(ctx context.Context, c *client, t *transaction) error {
	row := change{"c", "xfer", "INSERT INTO xfer (note) VALUES ('long')"}
	if err := t.all(ctx, row); err != nil {
		return err
	}
	if c.storm.opts.BigTx > 0 && c.chance(0.5) {
		if err := t.all(ctx, change{"c", "big", "INSERT INTO big (v) SELECT md5(g::text) || repeat('x', 60) FROM generate_series(1, 1000) g"}); err != nil {
			return err
		}
	}
	held := time.NewTimer(c.storm.opts.Hold)
	defer held.Stop()
	select {
	case <-held.C:
	case <-c.stop:
	case <-ctx.Done():
		return ctx.Err()
	}
	return t.all(ctx, row)
}

// interleaved writes several transactions at once from sessions that take turns with
// single statements, and ends them in an order of their own.
func interleaved(ctx context.Context, c *client) error {
	for len(c.others) < 3 {
		conn, err := c.open(ctx)
		if err != nil {
			return err
		}
		c.others = append(c.others, conn)
	}
	open := make([]*transaction, len(c.others))
	for i, conn := range c.others {
		t, err := begin(ctx, conn)
		if err != nil {
			return c.broken(err)
		}
		open[i] = t
	}
	for round := range 2 + c.rng.IntN(6) {
		for i, t := range open {
			if err := t.all(ctx, change{"c", "xfer", fmt.Sprintf("INSERT INTO xfer (a, b, amt, note) VALUES (%d, %d, 0, 'turn')", i, round)}); err != nil {
				return c.broken(err)
			}
		}
	}
	for _, i := range c.rng.Perm(len(open)) {
		if err := c.end(ctx, open[i], c.others[i], "interleaved"); err != nil {
			return c.broken(err)
		}
	}
	return nil
}

// broken ends all connections, with whatever is open in them, after an error that left
// some transactions in between.
func (c *client) broken(err error) error {
	c.drop()
	return err
}
