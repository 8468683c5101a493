package postgres

import "github.com/jackc/pgx/v5/pgconn"

// group is a run of changes that one or two statements write: changes to one table
// with one plan, of which only the last for each key is left.
type group struct {
	plan     *plan
	truncate bool
	rows     []change // An entry without a plan was overtaken.
	index    map[string]int
}

// collapse gathers changes into groups, in order. Changes to different tables do not
// wait for each other: a table's group stays open until one with another plan comes.
func collapse(changes []change) []*group {
	var groups []*group
	open := map[*table]*group{}
	var key []byte
	for i := range changes {
		c := changes[i]
		g := open[c.plan.table]
		if g == nil || !g.takes(&c) {
			g = &group{plan: c.plan, truncate: c.kind == kindTruncate, index: map[string]int{}}
			groups, open[c.plan.table] = append(groups, g), g
		}
		if g.truncate {
			continue
		}
		if c.plan.canCollapse() {
			key = keyText(key[:0], &c)
			if at, ok := g.index[string(key)]; ok {
				c.overlay(&g.rows[at])
				g.rows[at].plan = nil
			}
			g.index[string(key)] = len(g.rows)
		}
		g.rows = append(g.rows, c)
	}
	return groups
}

// takes tells whether a change may join the group. Where changes of a key do not
// replace each other, inserts and deletes must not change places.
func (g *group) takes(c *change) bool {
	if g.plan != c.plan || g.truncate || c.kind == kindTruncate {
		return false
	}
	return g.plan.canCollapse() || g.rows[0].kind == c.kind
}

// sorted returns the rows to delete, those to write in full, and those that lack
// columns, in order.
func (g *group) sorted() (deletes, full, partial []*change) {
	for i := range g.rows {
		switch c := &g.rows[i]; {
		case c.plan == nil:
		case c.kind == kindDelete:
			deletes = append(deletes, c)
		case c.missing != nil && g.plan.upsert:
			partial = append(partial, c)
		default:
			full = append(full, c)
		}
	}
	return deletes, full, partial
}

// filler puts statements into a batch for one round trip. Its buffer is used
// again from statement to statement: the batch copies what it is given.
type filler struct {
	batch *pgconn.Batch
	limit int // Rows in one statement.
	bytes int // And about how many bytes of text and binary values.
	buf   []byte
	ends  []int
	names []string // The table of each statement, for errors.
}

// plain adds a statement without parameters.
func (f *filler) plain(sql string) {
	f.batch.ExecParams(sql, nil, nil, nil, nil)
	f.names = append(f.names, "")
}

// group adds the statements of a group. Deletes come first: they make room in
// unique indexes, and no key is both deleted and written.
func (f *filler) group(g *group) {
	if g.truncate {
		f.batch.ExecParams("TRUNCATE TABLE "+g.plan.table.name.String(), nil, nil, nil, nil)
		f.names = append(f.names, g.plan.table.name.plain())
		return
	}
	deletes, full, partial := g.sorted()
	all := g.plan.present(nil)
	f.rows(g.plan, g.plan.sql.delete, all[:g.plan.keys], deletes)
	f.rows(g.plan, g.plan.sql.upsert, all, full)
	for len(partial) > 0 {
		// Neighbours that lack the same columns go together.
		n := 1
		for n < len(partial) && equalBools(partial[n].missing, partial[0].missing) {
			n++
		}
		two := g.plan.sql.without(g.plan, partial[0].missing)
		columns := g.plan.present(partial[0].missing)
		f.rows(g.plan, two[0], columns, partial[:n])
		f.rows(g.plan, two[1], columns, partial[:n])
		partial = partial[n:]
	}
}

func equalBools(a, b []bool) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// rows adds as many statements as the rows need.
func (f *filler) rows(pl *plan, sql string, columns []int, rows []*change) {
	for sql != "" && len(rows) > 0 {
		n, size := 0, 0
		for n < len(rows) && n < f.limit && size < f.bytes {
			for _, v := range rows[n].values {
				size += v.Len()
			}
			n++
		}
		f.statement(pl, sql, columns, rows[:n])
		rows = rows[n:]
	}
}

func (f *filler) statement(pl *plan, sql string, columns []int, rows []*change) {
	f.buf, f.ends = f.buf[:0], f.ends[:0]
	for _, i := range columns {
		f.buf = appendArray(f.buf, rows, i, pl.columns[i].encode)
		f.ends = append(f.ends, len(f.buf))
	}
	params := make([][]byte, len(columns))
	oids, formats := make([]uint32, len(columns)), make([]int16, len(columns))
	start := 0
	for n, end := range f.ends {
		params[n], oids[n], formats[n] = f.buf[start:end], oidTextArray, formatBinary
		start = end
	}
	f.batch.ExecParams(sql, params, oids, formats, nil)
	f.names = append(f.names, pl.table.name.plain())
}
