package postgres

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sameShape tells whether two relations have the same columns.
func sameShape(a, b *relation) bool {
	return a.oid == b.oid && a.table() == b.table() && a.identity == b.identity && slices.Equal(a.columns, b.columns)
}

// sameColumns tells whether rows of two relations look alike, whatever the log knows
// of keys.
func sameColumns(a, b *relation) bool {
	return slices.EqualFunc(a.columns, b.columns, func(x, y relationColumn) bool {
		return x.name == y.name && x.typ == y.typ && x.mod == y.mod
	})
}

func sameFacts(a, b *tableFacts) bool {
	return a.root == b.root && slices.Equal(a.primary, b.primary) && slices.Equal(a.unique, b.unique) && maps.Equal(a.columns, b.columns)
}

func sameNames(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// matchOf returns the columns by which a streamed row is known: those that the log has
// of every change. order are the columns that rows are read in the order of.
func matchOf(r *relation, facts *tableFacts, order []string) (match []string) {
	switch {
	case r.identity == 'f' && len(order) == 0:
		for _, c := range r.columns {
			match = append(match, c.name)
		}
		return match
	case r.identity == 'f' || r.identity == 'n':
		if facts.primary != nil {
			return facts.primary
		}
		if facts.unique != nil {
			return facts.unique
		}
		return order
	}
	for _, c := range r.columns {
		if c.key {
			match = append(match, c.name)
		}
	}
	if match == nil {
		return order // Updates and deletions are refused by the server.
	}
	return match
}

// capturedNow returns the tables that are captured as the catalogue is now.
func (s *settings) capturedNow(ctx context.Context, d *db) ([]catalogTable, error) {
	all, err := d.tables(ctx)
	if err != nil {
		return nil, err
	}
	pub, err := d.publication(ctx, s.publication)
	if err != nil {
		return nil, err
	}
	list, _ := s.capture(all, pub)
	return list, nil
}

// resolve finds the tables that a request means.
func (r *chunkReader) resolve(ctx context.Context, ch *chunk) error {
	captured, err := r.set.capturedNow(ctx, r.db)
	if err != nil {
		return err
	}
	wanted, err := compilePatterns(ch.ask.Tables)
	if err != nil {
		return fatal("pg.signal.data", "data-collections cannot be understood", err, "give regular expressions that match whole names, schema.table")
	}
	ch.found = nil
	for _, t := range captured {
		if !wanted.match(t.name.String()) && (t.root == tableName{} || !wanted.match(t.root.String())) {
			continue
		}
		b := tableBacklog{Schema: t.name.schema, Name: t.name.name, Request: ch.ask.ID, Initial: ch.ask.Initial, Surrogate: ch.ask.Surrogate, Estimate: max(0, t.estimate)}
		for _, c := range ch.ask.Conditions {
			ps, err := compilePatterns([]string{c.Table})
			if err != nil {
				return fatal("pg.signal.data", "additional-conditions cannot be understood", err, "give regular expressions that match whole names, schema.table")
			}
			if ps.match(t.name.String()) {
				b.Filter = c.Filter
			}
		}
		ch.found = append(ch.found, b)
	}
	return nil
}

// measure finds in which order the rows of a table are read, and where they end.
func (r *chunkReader) measure(ctx context.Context, ch *chunk) error {
	t := &ch.table
	row, err := r.db.row(ctx, "SELECT coalesce(pg_catalog.to_regclass($1)::oid, 0)", t.table().quoted())
	if err != nil {
		return err
	}
	if t.OID = uint32(number(row[0])); t.OID == 0 {
		ch.gone = true
		return nil
	}
	ch.stale = false
	if err := r.view(ctx, ch); err != nil {
		return err
	}
	if ch.gone || ch.stale {
		return r.db.exec(ctx, "COMMIT")
	}
	rel, facts := ch.shape.rel, ch.shape.facts
	t.Key, t.Last, t.End, t.Heaps, t.Page = slices.Clone(facts.primary), nil, nil, nil, 0
	if t.Key == nil {
		t.Key = slices.Clone(facts.unique)
	}
	if t.Surrogate != "" {
		known, there := facts.columns[t.Surrogate]
		if !there || !known.notNull || t.Key == nil {
			return fatal("pg.signal.surrogate", "the table cannot be read in the order of the column "+t.Surrogate, nil,
				"name a column that is there and NOT NULL, of a table with a primary key or a unique index; or leave surrogate-key out")
		}
		t.Key = append([]string{t.Surrogate}, slices.DeleteFunc(t.Key, func(c string) bool { return c == t.Surrogate })...)
	}
	t.Match = matchOf(rel, facts, t.Key)
	if len(t.Key) == 0 {
		if err := r.measurePages(ctx, ch); err != nil {
			return err
		}
	} else {
		names := quotedNames(t.Key)
		sql := "SELECT " + castNames(t.Key) + " " + r.fromWhere(ch, nil) + " ORDER BY " + strings.Join(names, " DESC, ") + " DESC LIMIT 1"
		if t.End, err = r.keyRow(ctx, sql); err != nil {
			return err
		}
		ch.final = t.End == nil
	}
	return r.db.exec(ctx, "COMMIT")
}

// measurePages finds the pages of a table without a key, and of its partitions.
func (r *chunkReader) measurePages(ctx context.Context, ch *chunk) error {
	rows, err := r.db.rows(ctx, `SELECT n.nspname, c.relname, pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::bigint, pg_catalog.pg_relation_filenode(c.oid)
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND (c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree($1::oid::regclass) WHERE isleaf)) ORDER BY 1, 2`, oidText(ch.table.OID))
	if err != nil {
		return err
	}
	for _, h := range rows {
		if pages := number(h[2]); pages > 0 {
			ch.table.Heaps = append(ch.table.Heaps, heapBacklog{Schema: string(h[0]), Name: string(h[1]), Pages: pages, File: number(h[3])})
		}
	}
	ch.final = len(ch.table.Heaps) == 0
	return nil
}

// keyRow returns the values of the first row as text, nil when there is none.
func (r *chunkReader) keyRow(ctx context.Context, sql string) ([]string, error) {
	row, err := r.db.row(ctx, sql)
	if err != nil || row == nil {
		return nil, err
	}
	list := make([]string, len(row))
	for i, v := range row {
		list[i] = string(v)
	}
	return list, nil
}

func quotedNames(names []string) []string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = quoteIdent(n)
	}
	return list
}

// castNames selects columns; the protocol gives their text.
func castNames(names []string) string { return strings.Join(quotedNames(names), ", ") }

// tupleOf writes values as constants of unknown type, which take on the types of what
// they are compared with.
func tupleOf(values []string) string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = quoteLiteral(v)
	}
	return "(" + strings.Join(list, ", ") + ")"
}

// fromWhere writes from where rows come, and with which conditions, besides those of
// the request and the publication.
func (r *chunkReader) fromWhere(ch *chunk, conditions []string) string {
	if ch.table.Filter != "" {
		conditions = append(conditions, "("+ch.table.Filter+"\n)")
	}
	if f := ch.shape.filter; f != "" {
		conditions = append(conditions, f)
	}
	sql := "FROM "
	if ch.shape.plain {
		sql += "ONLY "
	}
	sql += ch.table.table().quoted()
	if len(conditions) > 0 {
		sql += " WHERE " + strings.Join(conditions, " AND ")
	}
	return sql
}

// where writes which rows the chunk has, and finds the key of its last one.
func (r *chunkReader) where(ctx context.Context, ch *chunk) (string, error) {
	t := &ch.table
	switch {
	case ch.kind == chunkAgain:
		return r.whereAgain(ctx, ch)
	case len(t.Key) == 0:
		return r.wherePages(ctx, ch)
	}
	columns := "(" + castNames(t.Key) + ")"
	var rest []string
	if t.Last != nil {
		rest = append(rest, columns+" > "+tupleOf(t.Last))
	}
	rest = append(rest, columns+" <= "+tupleOf(t.End))
	order := " ORDER BY " + castNames(t.Key)
	bound, err := r.keyRow(ctx, "SELECT "+castNames(t.Key)+" "+r.fromWhere(ch, rest)+order+" OFFSET "+strconv.FormatInt(ch.limit-1, 10)+" LIMIT 1")
	if err != nil {
		return "", err
	}
	if ch.final = bound == nil; ch.final {
		bound = t.End
	}
	rest[len(rest)-1] = columns + " <= " + tupleOf(bound)
	t.Last = bound
	return r.fromWhere(ch, rest) + order, nil
}

// wherePages writes which pages the chunk has. Rows that are added later come with the
// stream, wherever they are put; a table that was written anew is read from its start.
func (r *chunkReader) wherePages(ctx context.Context, ch *chunk) (string, error) {
	t := &ch.table
	h := t.Heaps[0]
	row, err := r.db.row(ctx, "SELECT coalesce(pg_catalog.pg_relation_filenode(pg_catalog.to_regclass($1)), 0)", tableName{h.Schema, h.Name}.quoted())
	if err != nil {
		return "", err
	}
	if ch.stale = number(row[0]) != h.File; ch.stale {
		return "", nil
	}
	from, to := t.Page, t.Page+ch.limit
	rest := []string{"ctid >= '(" + strconv.FormatInt(from, 10) + ",0)'", "ctid < '(" + strconv.FormatInt(to, 10) + ",0)'"}
	named := *ch
	named.table.Schema, named.table.Name = h.Schema, h.Name
	shape := *ch.shape
	shape.plain, named.shape = true, &shape
	if t.Page = to; to >= h.Pages {
		t.Heaps, t.Page = slices.Clone(t.Heaps[1:]), 0
	}
	ch.final = len(t.Heaps) == 0
	return r.fromWhere(&named, rest), nil
}

// whereAgain writes the keys of rows. Those that came in binary form are turned into
// text by the server, which alone knows every type.
func (r *chunkReader) whereAgain(ctx context.Context, ch *chunk) (string, error) {
	t := &ch.table
	tuples := make([]string, 0, len(ch.again))
	for _, key := range ch.again {
		values, err := r.keyValues(ctx, ch, key)
		if err != nil {
			return "", err
		}
		tuples = append(tuples, tupleOf(values))
	}
	list := strings.Join(tuples, ", ")
	return r.fromWhere(ch, []string{"(" + castNames(t.Match) + ") IN (" + list + ")"}), nil
}

func (r *chunkReader) keyValues(ctx context.Context, ch *chunk, key []string) ([]string, error) {
	values := make([]string, len(key))
	for i, v := range key {
		if v == "" || v[0] == 't' {
			values[i] = strings.TrimPrefix(v, "t")
			continue
		}
		b, err := base64.StdEncoding.DecodeString(v[1:])
		if err != nil {
			return nil, fatal("pg.offset", "a key in the stored progress of a snapshot cannot be read", err, "ask for the snapshot again")
		}
		typ := ch.shape.rel.columns[ch.shape.rel.index(ch.table.Match[i])].typ
		result := r.db.ExecParams(ctx, "SELECT $1", [][]byte{b}, []uint32{typ}, []int16{1}, []int16{0}).Read()
		if result.Err != nil {
			return nil, result.Err
		}
		values[i] = string(result.Rows[0][0])
	}
	return values, nil
}

// clear waits until no transaction can be left that was streamed by an earlier process,
// or before a slot's first position, and that a new snapshot does not see yet: the
// server writes a commit into the log before it shows it, and while it waits for a
// synchronous standby that may be long. A transaction in progress is none of these when
// its session does something else than to commit.
func (r *chunkReader) clear(ctx context.Context, ch *chunk) error {
	if r.server.recovery {
		return nil
	}
	first, err := r.snapshot(ctx)
	if err != nil {
		return err
	}
	left, err := r.inProgress(ctx, &first)
	if err != nil {
		return err
	}
	left = slices.DeleteFunc(left, func(x uint32) bool { return slices.Contains(ch.recent, x) })
	wait := backoff{first: 50 * time.Millisecond, most: time.Second}
	told := time.Now()
	for began := told; len(left) > 0; {
		if left, err = r.suspects(ctx, left, time.Since(began) > time.Second); err != nil {
			return err
		}
		if len(left) == 0 {
			break
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			r.log.Info("Reading tables waits for a transaction that may have committed without being visible yet, such as one that waits for a standby.", "transaction", left[0])
		}
		if !pause(ctx, wait.next()) {
			return ctx.Err()
		}
	}
	return nil
}

// inProgress returns the transactions that have a number and are not over. A snapshot
// does not list those behind the newest that is over.
func (r *chunkReader) inProgress(ctx context.Context, now *pgSnapshot) (list []uint32, err error) {
	rows, err := r.db.rows(ctx, `SELECT backend_xid::text FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL
		UNION SELECT transaction::text FROM pg_catalog.pg_prepared_xacts`)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		list = append(list, uint32(number(row[0])))
	}
	for _, x := range now.xip {
		if !slices.Contains(list, uint32(x)) {
			list = append(list, uint32(x))
		}
	}
	return list, nil
}

// suspects returns which transactions may still be in the middle of their commit; late
// tells that they were looked at more than a second ago for the first time.
func (r *chunkReader) suspects(ctx context.Context, list []uint32, late bool) ([]uint32, error) {
	now, err := r.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := r.db.rows(ctx, `SELECT coalesce(backend_xid::text, '0'), coalesce(state, ''), coalesce(wait_event, '') FROM pg_catalog.pg_stat_activity`)
	if err != nil {
		return nil, err
	}
	waiting, sessions := false, map[uint32][2]string{}
	for _, s := range rows {
		waiting = waiting || string(s[2]) == "SyncRep"
		sessions[uint32(number(s[0]))] = [2]string{string(s[1]), string(s[2])}
	}
	return slices.DeleteFunc(list, func(x uint32) bool {
		if now.sees(x) {
			return true
		}
		s, known := sessions[x]
		if !known { // Prepared; another session commits it.
			return late && !waiting
		}
		return strings.HasPrefix(s[0], "idle in transaction") || late && s[0] != "" && s[1] != "SyncRep"
	}), nil
}
