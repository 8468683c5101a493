package storm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// errNothing says that there was nothing to change, for others had changed it: the
// transaction is rolled back.
var errNothing = errors.New("nothing to change")

// transaction is one open transaction, and what its events so far add up to. All
// statements go by the simple protocol: its texts are those that the log has too, and no
// statement is prepared for columns that then change.
type transaction struct {
	conn   *pgconn.PgConn
	digest Digest
	xid    int64 // Known from the manifest on.
}

// change is a statement and what its rows are in the log.
type change struct{ op, table, sql string }

func begin(ctx context.Context, conn *pgx.Conn) (*transaction, error) {
	t := &transaction{conn: conn.PgConn()}
	return t, t.exec(ctx, "BEGIN")
}

func (t *transaction) exec(ctx context.Context, sql string) error {
	return t.conn.Exec(ctx, sql).Close()
}

// query returns the rows of a statement.
func (t *transaction) query(ctx context.Context, sql string) (*pgconn.Result, error) {
	results, err := t.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	return results[len(results)-1], nil
}

// text returns the first value of a statement's first row, errNothing if there is none.
func (t *transaction) text(ctx context.Context, sql string) (string, error) {
	r, err := t.query(ctx, sql)
	if err != nil {
		return "", err
	}
	if len(r.Rows) == 0 || r.Rows[0][0] == nil {
		return "", errNothing
	}
	return string(r.Rows[0][0]), nil
}

// add takes in one event.
func (t *transaction) add(op, event string, row []Column) {
	t.digest.Add(t.digest.N+1, &Event{Table: event, Op: op, Row: row})
}

// do runs a statement and takes in an event for each row, in the order in which the
// server changed them. It returns how many there were.
func (t *transaction) do(ctx context.Context, c change) (int, error) {
	r, err := t.query(ctx, c.sql+" RETURNING *")
	if err != nil {
		return 0, err
	}
	t.take(c.op, tableOf(c.table), r)
	return len(r.Rows), nil
}

// take takes in the rows of a result as events of a table.
func (t *transaction) take(op string, to table, r *pgconn.Result) {
	for _, row := range r.Rows {
		t.add(op, to.event, columns(to, op, r.FieldDescriptions, row))
	}
}

// all runs statements one after the other.
func (t *transaction) all(ctx context.Context, list ...change) error {
	for _, c := range list {
		if _, err := t.do(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// move changes the key of one row, which is a deletion and a new row in the log unless it
// is the same again. to is an expression.
func (t *transaction) move(ctx context.Context, name, from, to, set string) error {
	of := tableOf(name)
	key := of.key[0]
	r, err := t.query(ctx, fmt.Sprintf("UPDATE %s SET %q = %s%s WHERE %q = %s RETURNING *", of.sql, key, to, set, key, from))
	if err != nil {
		return err
	}
	if len(r.Rows) != 1 {
		return errNothing
	}
	at := slices.IndexFunc(r.FieldDescriptions, func(f pgconn.FieldDescription) bool { return f.Name == key })
	if string(r.Rows[0][at]) == from { // Drawn by chance.
		t.take("u", of, r)
		return nil
	}
	t.add("d", of.event, []Column{{Name: Plain(key), Text: from}})
	t.take("c", of, r)
	return nil
}

// manifest writes the last row of the transaction.
func (t *transaction) manifest(ctx context.Context, kind string) error {
	text, err := t.text(ctx, fmt.Sprintf("INSERT INTO manifest VALUES (pg_current_xact_id()::text::bigint, %d, '%s', '%s', '%s', pg_current_wal_insert_lsn()) RETURNING txid",
		t.digest.N, t.digest.Values(), t.digest.Shape(), kind))
	if err != nil {
		return err
	}
	t.xid, err = strconv.ParseInt(text, 10, 64)
	return err
}

// columns makes the columns of an event from a row: of a deletion those of the key, if
// there is one. Generated columns are not in the log.
func columns(of table, op string, fields []pgconn.FieldDescription, row [][]byte) []Column {
	list := make([]Column, 0, len(row))
	for i, f := range fields {
		if strings.HasPrefix(f.Name, "gen_") || op == "d" && of.key != nil && !slices.Contains(of.key, f.Name) {
			continue
		}
		c := Column{Name: Plain(f.Name), Null: row[i] == nil}
		if !c.Null {
			c.Text = Canonical(f.DataTypeOID, string(row[i]))
		}
		list = append(list, c)
	}
	return list
}
