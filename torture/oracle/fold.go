package oracle

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/torture/storm"
)

// fold is what the topics come to when every change is applied in the order of the
// offsets: a hash for each column of each row.
type fold struct {
	seed   maphash.Seed
	tables map[string]*rows
}

// rows are those of one table.
type rows struct {
	place map[string]int // Of columns, in the order of their coming.
	byKey map[string]*row
	// bag are the rows of a table without a key, and how often each is there.
	bag map[string]int
	// snapshot is the position of the newest snapshot of the table. One that was cut short
	// and taken again writes rows twice.
	snapshot uint64
	// blind tells that what the table has is not known since a gap, until it is read anew.
	blind bool
}

// row is one row; 0 stands for a column that no record has told.
type row struct {
	columns []uint64
	read    bool // The newest record of it is a snapshot's.
	found   bool // In the table.
	stale   bool // Neither read nor changed since the newest gap.
}

func newFold() *fold { return &fold{seed: maphash.MakeSeed(), tables: map[string]*rows{}} }

func (f *fold) of(table string) *rows {
	t := f.tables[table]
	if t == nil {
		t = &rows{place: map[string]int{}, byKey: map[string]*row{}, bag: map[string]int{}}
		f.tables[table] = t
	}
	return t
}

// take applies a record. first tells that it is no repetition: rows of a table without a
// key can be counted once only.
func (f *fold) take(r *record, first bool) {
	if r.table == "" || r.table == storm.TableMessages {
		return
	}
	t := f.of(r.table)
	if r.op == connect.OpRead && !r.beside && r.lsn > t.snapshot {
		t.snapshot, t.blind = r.lsn, false
		clear(t.bag)
	}
	switch {
	case r.op == connect.OpTruncate:
		if first {
			clear(t.byKey)
			clear(t.bag)
		}
	case len(r.key) > 0:
		t.change(f.seed, r)
	case first:
		if len(r.before) > 0 {
			t.count(f.bagKey(r.before), -1)
		}
		if r.op != connect.OpDelete {
			t.count(f.bagKey(r.row), 1)
		}
	}
}

func (t *rows) count(key string, n int) {
	if t.bag[key] += n; t.bag[key] == 0 {
		delete(t.bag, key)
	}
}

// change applies a change of a row with a key.
func (t *rows) change(seed maphash.Seed, r *record) {
	key := keyText(r.key)
	if r.op == connect.OpDelete {
		delete(t.byKey, key)
		return
	}
	now := t.byKey[key]
	if now == nil {
		now = &row{}
		t.byKey[key] = now
	}
	now.read, now.stale = r.op == connect.OpRead, false
	old := now.columns
	now.columns = make([]uint64, len(t.place))
	for _, c := range r.row {
		at, ok := t.place[c.Name]
		if !ok {
			at = len(t.place)
			t.place[c.Name] = at
		}
		for len(now.columns) <= at {
			now.columns = append(now.columns, 0)
		}
		if now.columns[at] = hashOf(seed, c); !c.Null && c.Text == storm.Unavailable {
			now.columns[at] = 0
			if at < len(old) {
				now.columns[at] = old[at]
			}
		}
	}
}

// bagKey is a whole row as one text.
func (f *fold) bagKey(columns []storm.Column) string {
	slices.SortFunc(columns, func(a, b storm.Column) int { return strings.Compare(a.Name, b.Name) })
	return keyText(columns)
}

func hashOf(seed maphash.Seed, c storm.Column) uint64 {
	if c.Null {
		return 1
	}
	return maphash.String(seed, c.Text) | 2
}

// keyText writes columns as one text.
func keyText(columns []storm.Column) string {
	var b strings.Builder
	for _, c := range columns {
		if c.Null {
			b.WriteString("null,")
		} else {
			fmt.Fprintf(&b, "%q,", c.Text)
		}
	}
	return b.String()
}

// compare holds the fold against the tables of the source.
func (f *fold) compare(ctx context.Context, conn *pgx.Conn, report func(Anomaly)) error {
	tables, err := sourceTables(ctx, conn)
	if err != nil {
		return err
	}
	for _, name := range tables {
		if err := f.compareTable(ctx, conn, name, report); err != nil {
			return fmt.Errorf("comparing %s: %w", name[0], err)
		}
	}
	return nil
}

// sourceTables returns the tables that are captured: as events name them, and quoted.
func sourceTables(ctx context.Context, conn *pgx.Conn) ([][2]string, error) {
	rows, err := conn.Query(ctx, `SELECT n.nspname || '.' || c.relname, format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_|^information_schema$|^tidemill$' ORDER BY 1`, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (list [2]string, err error) {
		err = r.Scan(&list[0], &list[1])
		return list, err
	})
}

// compareTable holds one table against what the topics come to.
func (f *fold) compareTable(ctx context.Context, conn *pgx.Conn, name [2]string, report func(Anomaly)) error {
	t := f.of(name[0])
	for _, r := range t.byKey {
		r.found = false
	}
	bag := map[string]int{}
	for key, n := range t.bag {
		bag[key] = n
	}
	keys := storm.KeyOf(name[0])
	c := comparison{t: t, f: f, bag: bag, table: name[0], report: report}
	results := conn.PgConn().Exec(ctx, "SELECT * FROM "+name[1])
	for results.NextResult() {
		r := results.ResultReader()
		for r.NextRow() {
			c.row(r.FieldDescriptions(), r.Values(), keys)
		}
	}
	if err := results.Close(); err != nil {
		return err
	}
	c.rest()
	return nil
}

// comparison compares one table.
type comparison struct {
	t      *rows
	f      *fold
	bag    map[string]int
	table  string
	report func(Anomaly)
}

func (c *comparison) say(name, format string, args ...any) {
	c.report(Anomaly{Name: name, Text: fmt.Sprintf(format, args...), Place: c.table})
}

func (c *comparison) row(fields []pgconn.FieldDescription, values [][]byte, keys []string) {
	columns, key := make([]storm.Column, 0, len(fields)), []storm.Column(nil)
	for i, f := range fields {
		if strings.HasPrefix(f.Name, "gen_") {
			continue
		}
		column := storm.Column{Name: storm.Plain(f.Name), Null: values[i] == nil}
		if !column.Null {
			column.Text = storm.Canonical(f.DataTypeOID, string(values[i]))
		}
		columns = append(columns, column)
		if slices.Contains(keys, f.Name) {
			key = append(key, column)
		}
	}
	if key == nil {
		id := c.f.bagKey(columns)
		if c.bag[id]--; c.bag[id] < 0 && !c.t.blind {
			c.say(Lost, "the topic does not have the row %s", id)
		}
		return
	}
	have := c.t.byKey[keyText(key)]
	if have == nil {
		name := Lost
		if c.t.snapshot != 0 {
			name = SnapshotHole
		}
		c.say(name, "the topic does not have the row %s", keyText(key))
		return
	}
	if have.found = true; have.stale {
		c.say(SnapshotHole, "the row %s was not read again after a gap", keyText(key))
		return
	}
	for _, column := range columns {
		at, ok := c.t.place[column.Name]
		if !ok || at >= len(have.columns) || have.columns[at] == 0 {
			continue // Nobody has changed the row since the column came.
		}
		if have.columns[at] != hashOf(c.f.seed, column) {
			c.say(ValueDiff, "column %s of the row %s is %.60q in the table", column.Name, keyText(key), column.Text)
			return
		}
	}
}

// rest names what the topics have and the table does not.
func (c *comparison) rest() {
	for key, r := range c.t.byKey {
		if r.found || r.stale {
			continue // One that was not read again was deleted in the gap.
		}
		if r.read {
			c.say(SnapshotGhost, "a snapshot has the row %s, which the table does not", key)
		} else {
			c.say(Lost, "the deletion of the row %s", key)
		}
	}
	for key, n := range c.bag {
		if n > 0 && !c.t.blind {
			c.say(Lost, "the deletion of %d rows %s", n, key)
		}
	}
}
