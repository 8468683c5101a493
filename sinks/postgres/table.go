package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
)

// maxName is how many bytes of a name PostgreSQL keeps. It cuts longer ones without
// a word, so that two could become one.
const maxName = 63

// tableName names a table; an empty schema is the connection's own.
type tableName struct{ schema, name string }

// String quotes the name for SQL. It is the only way names get there.
func (n tableName) String() string {
	if n.schema == "" {
		return quote(n.name)
	}
	return pgx.Identifier{n.schema, n.name}.Sanitize()
}

func (n tableName) plain() string {
	if n.schema == "" {
		return n.name
	}
	return n.schema + "." + n.name
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// checkName refuses names that PostgreSQL would change.
func checkName(name string) error {
	switch {
	case name == "":
		return fatal("pgsink.name", "", "a table or column would have no name", "")
	case len(name) > maxName:
		return fatal("pgsink.name", name, fmt.Sprintf("the name has %d bytes; PostgreSQL keeps %d", len(name), maxName), "shorten it with a transform or in "+keyFormat)
	case strings.ContainsRune(name, 0):
		return fatal("pgsink.name", strconv.Quote(name), "PostgreSQL has no names with a zero byte", "rename it with a transform")
	}
	return nil
}

// table is what the catalog says of a target table.
type table struct {
	name    tableName
	oid     string
	columns []*column
	uniques [][]string // The columns of each unique index, sorted.
}

func (t *table) column(name string) *column {
	for _, c := range t.columns {
		if c.name == name {
			return c
		}
	}
	return nil
}

// hasUnique tells whether some unique index is over just these columns.
func (t *table) hasUnique(names []string) bool {
	names = slices.Sorted(slices.Values(names))
	return slices.ContainsFunc(t.uniques, func(u []string) bool { return slices.Equal(u, names) })
}

// column is a column as the catalog has it. Types are named in full, because some
// short names mean another type in a cast: bit is bit(1) there.
type column struct {
	name      string
	typ       tableName
	base      string // The type's name; of a domain all is that of what it stands on.
	category  string // pg_type.typcategory.
	typmod    int64
	generated bool
	elem      *column // Of an array.
}

func (c *column) isNumeric() bool { return c.category == "N" }
func (c *column) isBits() bool    { return c.category == "V" }
func (c *column) isArray() bool   { return c.elem != nil }
func (c *column) element() *column {
	if c.elem == nil {
		return c
	}
	return c.elem
}

// catalog reads and changes tables on one connection.
type catalog struct {
	session *session
	types   map[string]bool // Types of extensions that are there.
}

const queryTable = `SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = CASE WHEN $1 = '' THEN pg_catalog.current_schema() ELSE $1 END AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'f')`

// queryColumns sees through domains: a cast to one would cut a text that is too long
// without a word, while the assignment of its base type to the column does not.
const queryColumns = `SELECT a.attname, bn.nspname, b.typname, b.typcategory, a.atttypmod, a.attgenerated <> '',
  en.nspname, e.typname, coalesce(eb.typname, e.typname), e.typcategory
FROM pg_catalog.pg_attribute a
JOIN LATERAL (WITH RECURSIVE d AS (
    SELECT t.* FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid
    UNION ALL SELECT t.* FROM d JOIN pg_catalog.pg_type t ON t.oid = d.typbasetype WHERE d.typtype = 'd'
  ) SELECT * FROM d WHERE d.typtype <> 'd') b ON true
JOIN pg_catalog.pg_namespace bn ON bn.oid = b.typnamespace
LEFT JOIN pg_catalog.pg_type e ON b.typcategory = 'A' AND e.oid = b.typelem
LEFT JOIN pg_catalog.pg_namespace en ON en.oid = e.typnamespace
LEFT JOIN pg_catalog.pg_type eb ON e.typtype = 'd' AND eb.oid = e.typbasetype
WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

const queryUniques = `SELECT i.indexrelid, a.attname FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1])
WHERE i.indrelid = $1::pg_catalog.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY 1, 2`

// load returns a table, nil when there is none of that name.
func (c *catalog) load(ctx context.Context, name tableName) (*table, error) {
	found, err := c.session.query(ctx, queryTable, name.schema, name.name)
	if err != nil || len(found) == 0 {
		return nil, explain(err, name.plain())
	}
	t := &table{name: name, oid: found[0][0]}
	rows, err := c.session.query(ctx, queryColumns, t.oid)
	if err != nil {
		return nil, explain(err, name.plain())
	}
	for _, r := range rows {
		col := &column{name: r[0], typ: tableName{r[1], r[2]}, base: r[2], category: r[3], generated: r[5] == "t"}
		if col.typmod, err = strconv.ParseInt(r[4], 10, 32); err != nil {
			return nil, fmt.Errorf("reading the columns of %s: %w", name.plain(), err)
		}
		if r[7] != "" {
			col.elem = &column{name: r[0], typ: tableName{r[6], r[7]}, base: r[8], category: r[9], typmod: col.typmod}
		}
		t.columns = append(t.columns, col)
	}
	if t.uniques, err = c.uniques(ctx, t.oid); err != nil {
		return nil, explain(err, name.plain())
	}
	return t, nil
}

func (c *catalog) uniques(ctx context.Context, oid string) ([][]string, error) {
	rows, err := c.session.query(ctx, queryUniques, oid)
	var list [][]string
	for i, r := range rows {
		if i == 0 || rows[i-1][0] != r[0] {
			list = append(list, nil)
		}
		list[len(list)-1] = append(list[len(list)-1], r[1])
	}
	return list, err
}

// has tells whether the database has a type of an extension.
func (c *catalog) has(ctx context.Context) (func(string) bool, error) {
	if c.types == nil {
		rows, err := c.session.query(ctx, `SELECT typname FROM pg_catalog.pg_type
WHERE typname IN ('geometry', 'geography', 'vector', 'halfvec', 'sparsevec', 'ltree') AND pg_catalog.pg_type_is_visible(oid)`)
		if err != nil {
			return nil, explain(err, "")
		}
		c.types = map[string]bool{}
		for _, r := range rows {
			c.types[r[0]] = true
		}
	}
	return func(name string) bool { return c.types[name] }, nil
}

// wanted is a column that a table should have.
type wanted struct {
	name   string
	schema *connect.Schema
	key    bool
}

// createSQL is the statement that makes a table of the wanted columns. Only key
// columns are NOT NULL: what the source requires today it may not require tomorrow.
func createSQL(name tableName, cols []wanted, has func(string) bool) string {
	var parts, keys []string
	for _, w := range cols {
		part := quote(w.name) + " " + columnType(w.schema, has)
		if w.key {
			part += " NOT NULL"
			keys = append(keys, quote(w.name))
		}
		parts = append(parts, part)
	}
	if len(keys) > 0 {
		parts = append(parts, "PRIMARY KEY ("+strings.Join(keys, ", ")+")")
	}
	return "CREATE TABLE IF NOT EXISTS " + name.String() + " (" + strings.Join(parts, ", ") + ")"
}

// alterSQL is the statement that adds columns.
func alterSQL(name tableName, cols []wanted, has func(string) bool) string {
	var parts []string
	for _, w := range cols {
		parts = append(parts, "ADD COLUMN IF NOT EXISTS "+quote(w.name)+" "+columnType(w.schema, has))
	}
	return "ALTER TABLE " + name.String() + " " + strings.Join(parts, ", ")
}

// change runs a statement that changes the catalog. Tasks take turns: two that
// create one table at once would get in each other's way, IF NOT EXISTS or not. A
// table that others hold is not waited for so long that they queue up behind us.
func (c *catalog) change(ctx context.Context, name tableName, statement string) error {
	const turn = "SELECT pg_catalog.pg_advisory_xact_lock(7410236, 1); SET LOCAL lock_timeout = '10s'"
	if err := c.session.simple(ctx, "BEGIN; "+turn+"; "+statement+"; COMMIT"); err != nil {
		return explain(err, name.plain())
	}
	return nil
}
