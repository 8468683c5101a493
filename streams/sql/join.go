package sql

import (
	"fmt"
	"slices"
	"time"

	"github.com/tidemill/tidemill/streams/sql/functions"
)

// joinedKey is the name of the key of a FULL OUTER JOIN, of which either side may be
// missing.
const joinedKey = "ROWKEY"

// joining is what a query reads that joins several sources. The planner has it as one
// source, with a column ALIAS_COLUMN for each column of each of them, as in ksqlDB.
type joining struct {
	sides []joinSide
	steps []joinStep // steps[i] joins sides[i+1] to what is left of it
	// keys are the expressions, as they print, that all are the key of what is joined.
	keys []string
	typ  functions.Type // of the key
	full bool
}

// foreign tells whether the key is that of the first table, which another is joined to.
func (j *joining) foreign() bool { return len(j.steps) == 1 && j.steps[0].foreign }

// keyOf returns which value of the key of a joined row a slot has, -1 for none.
func (j *joining) keyOf(sl slot) int {
	first := j.sides[0].source
	switch {
	case sl.column < 0:
	case j.foreign() && sl.column < first.keys():
		return sl.column
	case !j.foreign() && slices.Contains(j.keys, string(identSQL(nil, sl.name))):
		return 0
	}
	return -1
}

// joinSide is one of the sources, under the name the query gives it. Its columns are those
// of the joined source from first on.
type joinSide struct {
	scopeSource
	first int
}

// joinStep joins a side to what was joined before.
type joinStep struct {
	*joinClause
	left, right         expr // the two sides of ON, the joined one on the right
	onLeft, onRight     compiled
	foreign             bool // of tables, by a foreign key
	before, after, late time.Duration
	keys                []string // Of the result, as those of the joining.
}

// keyedBy tells whether an expression is the key of the side, of one column.
func (s *joinSide) keyedBy(e expr) bool {
	ref, ok := e.(*columnRef)
	return ok && s.source.keys() == 1 && ref.name.text == s.column(0)
}

// column names a column of the side among those of the join.
func (s *joinSide) column(i int) string { return s.alias + "_" + s.source.columns[i].name }

// relate resolves what a query reads: a source, or a join that is made one, after which the
// query names its columns.
func relate(src string, q *query, cat *catalog) (*scope, error) {
	if ref, ok := q.from.(*sourceRef); ok {
		from, err := cat.lookup(src, ref.name)
		if err == nil {
			unqualify(q, ref.alias.text)
		}
		return &scope{src: src, sources: []scopeSource{{ref.alias.text, from}}}, err
	}
	b := &joiner{src: src, cat: cat, j: &joining{}}
	if err := b.flatten(q.from); err != nil {
		return nil, err
	}
	out, err := b.source()
	if err != nil {
		return nil, err
	}
	if err := b.resolve(q); err != nil {
		return nil, err
	}
	b.scope = &scope{src: src, sources: []scopeSource{{out.name, out}}}
	return b.scope, b.keys(out)
}

// joiner makes a joining.
type joiner struct {
	src   string
	cat   *catalog
	j     *joining
	scope *scope
}

func (b *joiner) fault(n node, code, message, hint string) error {
	return fault(b.src, n.place(), code, message, hint)
}

// flatten lists the sides and steps from left to right.
func (b *joiner) flatten(r relation) error {
	j, isJoin := r.(*joinClause)
	ref, _ := r.(*sourceRef)
	if isJoin {
		if err := b.flatten(j.left); err != nil {
			return err
		}
		ref = j.right
		b.j.steps = append(b.j.steps, joinStep{joinClause: j})
		b.j.full = b.j.full || j.kind == "FULL"
	}
	s, err := b.cat.lookup(b.src, ref.name)
	if err != nil {
		return err
	}
	for _, other := range b.j.sides {
		switch {
		case other.alias == ref.alias.text:
			return b.fault(ref, "sql.duplicate_source", "two sources are called "+ref.alias.text, "give one another name with AS")
		case other.source == s:
			return b.fault(ref, "sql.unsupported", s.name+" is joined with itself", "make a copy of it with CREATE STREAM or TABLE … AS SELECT * FROM "+s.name)
		}
	}
	if s.windowing != nil {
		return b.fault(ref, "sql.unsupported", "the rows of "+s.name+" are of windows, and are not joined by this version", "join what they are made of first, and gather the results in windows")
	}
	b.j.sides = append(b.j.sides, joinSide{scopeSource: scopeSource{ref.alias.text, s}})
	return nil
}

// source makes the source that the planner works on.
func (b *joiner) source() (*source, error) {
	first := b.j.sides[0]
	out := &source{name: first.alias, table: first.source.table, topic: first.source.topic, keyFormat: first.source.keyFormat, format: first.source.format, joined: b.j}
	for i := range b.j.sides {
		s := &b.j.sides[i]
		s.first = len(out.columns)
		if i > 0 {
			out.name += " JOIN " + s.alias
			if !out.table && s.source.table && b.j.steps[i-1].kind != "INNER" && b.j.steps[i-1].kind != "LEFT" {
				return nil, b.fault(b.j.steps[i-1], "sql.bad_join", "a stream and a table have no "+b.j.steps[i-1].kind+" OUTER JOIN: only records of the stream have results", "write JOIN or LEFT JOIN")
			}
			if out.table && !s.source.table {
				return nil, b.fault(b.j.steps[i-1].joinClause.right, "sql.bad_join", "a table is not joined with a stream", "name the stream first")
			}
		}
		for c := range s.source.columns {
			n := s.column(c)
			if slices.Contains(out.columnNames(), n) {
				return nil, b.fault(b.j.steps[max(i-1, 0)], "sql.duplicate_column", "two columns would be called "+n, "give a source another name with AS")
			}
			out.columns = append(out.columns, column{name: n, typ: s.source.columns[c].typ})
		}
	}
	if b.j.full {
		out.columns = append(out.columns, column{name: joinedKey})
	}
	return out, nil
}

// resolve gives the columns that the query names the names they have in the join.
func (b *joiner) resolve(q *query) error {
	for i := range q.items {
		it := &q.items[i]
		if ref, ok := it.expr.(*columnRef); ok && it.alias.text == "" && !it.star {
			if side, col := b.find(ref); side != nil && b.count(side.source.columns[col].name) == 1 {
				it.alias = name{it.span, side.source.columns[col].name}
			}
		}
	}
	var all []expr
	for _, it := range q.items {
		all = append(all, it.expr)
	}
	all = append(append(append(all, q.groupBy...), q.partitionBy...), q.where, q.having)
	for i := range b.j.steps {
		all = append(all, b.j.steps[i].on)
	}
	for _, e := range all {
		if err := b.rename(e, nil); err != nil {
			return err
		}
	}
	return nil
}

// rename renames the columns in an expression; params are those of lambdas around it.
func (b *joiner) rename(e expr, params []name) (err error) {
	walk(e, func(e expr) bool {
		if err != nil {
			return false
		}
		switch e := e.(type) {
		case *lambda:
			err = b.rename(e.body, append(slices.Clone(params), e.params...))
			return false
		case *columnRef:
			isParam := func(n name) bool { return n.text == e.name.text }
			if e.source.text == "" && slices.ContainsFunc(params, isParam) {
				return true
			}
			err = b.renameColumn(e)
		}
		return true
	})
	return err
}

func (b *joiner) renameColumn(ref *columnRef) error {
	side, col := b.find(ref)
	switch {
	case side != nil:
		ref.name.text, ref.source = side.column(col), name{}
		return nil
	case ref.source.text == "" && b.count(ref.name.text) > 1:
		return b.fault(ref, "sql.ambiguous_column", "several sources have a column "+ref.name.text, "say whose it is: "+b.j.sides[0].alias+"."+ref.name.text)
	case ref.source.text == "":
		return nil // A pseudo column, or none at all.
	}
	for i := range b.j.sides {
		if s := &b.j.sides[i]; s.alias == ref.source.text {
			return unknownColumn(b.src, ref, s.source)
		}
	}
	var aliases []string
	for _, s := range b.j.sides {
		aliases = append(aliases, s.alias)
	}
	return b.fault(ref.source, "sql.unknown_source", "the query reads nothing called "+ref.source.text, didYouMean(ref.source.text, aliases))
}

// find returns the column that is meant, nil when there is none or when there are several.
func (b *joiner) find(ref *columnRef) (side *joinSide, col int) {
	for i := range b.j.sides {
		s := &b.j.sides[i]
		at := slices.Index(s.source.columnNames(), ref.name.text)
		switch {
		case at < 0 || ref.source.text != "" && ref.source.text != s.alias:
		case side != nil:
			return nil, 0
		default:
			side, col = s, at
		}
	}
	return side, col
}

// count returns how many sides have a column.
func (b *joiner) count(column string) (n int) {
	for _, s := range b.j.sides {
		if slices.Contains(s.source.columnNames(), column) {
			n++
		}
	}
	return n
}

// keys takes the conditions of the joins apart, and finds what the key of each result is.
func (b *joiner) keys(out *source) error {
	first := &b.j.sides[0]
	if first.source.keys() == 1 {
		b.j.keys, b.j.typ = []string{string(identSQL(nil, first.column(0)))}, first.source.columns[0].typ
	}
	for i := range b.j.steps {
		if err := b.step(i); err != nil {
			return err
		}
		b.j.steps[i].keys = slices.Clone(b.j.keys)
	}
	if b.j.full {
		out.columns[len(out.columns)-1].typ = b.j.typ
	}
	return nil
}

// step analyses one of the joins.
func (b *joiner) step(i int) error {
	s, side := &b.j.steps[i], &b.j.sides[i+1]
	if err := b.condition(i); err != nil {
		return err
	}
	tables := b.j.sides[0].source.table
	if err := b.within(s, !tables && !side.source.table); err != nil {
		return err
	}
	left, right := canonical(s.left), canonical(s.right)
	keyed := slices.Contains(b.j.keys, left)
	switch {
	case side.source.table && !side.keyedBy(s.right):
		return b.fault(s.on, "sql.bad_join", "table "+side.source.name+" is joined by something else than its primary key", "name its primary key"+b.primaryKey(side)+", or make another table with CREATE TABLE … AS SELECT … GROUP BY")
	case tables && !keyed && len(b.j.steps) > 1:
		return b.fault(s.on, "sql.unsupported", "a join by a foreign key stands alone", "make a table of it first, and join that")
	case tables && !keyed && s.kind != "INNER" && s.kind != "LEFT":
		return b.fault(s.on, "sql.bad_join", "a join by a foreign key has no "+s.kind+" OUTER JOIN", "write JOIN or LEFT JOIN")
	case tables && !keyed:
		s.foreign = true // The key stays that of the left table.
		return nil
	}
	b.j.typ = s.onLeft.typ
	if !keyed {
		b.j.keys = []string{left}
	}
	switch s.kind {
	case "INNER":
		b.j.keys = append(b.j.keys, right)
	case "RIGHT":
		b.j.keys = []string{right}
	case "FULL":
		b.j.keys = []string{joinedKey}
	}
	return nil
}

func (b *joiner) primaryKey(side *joinSide) string {
	if side.source.keys() != 1 {
		return ", of one column"
	}
	return " " + side.alias + "." + side.source.columns[0].name
}

// condition finds which side of ON is about which side of the join.
func (b *joiner) condition(i int) error {
	s := &b.j.steps[i]
	shape := func() error {
		return b.fault(s.on, "sql.bad_join", "a join has one condition, an equation of two sources: that which is joined, and one before it", "write ON a.X = b.Y, and all else in WHERE")
	}
	eq, ok := s.on.(*binary)
	if !ok || eq.op != "=" {
		return shape()
	}
	l, r := b.about(eq.l), b.about(eq.r)
	s.left, s.right = eq.l, eq.r
	if len(l) == 1 && l[0] == i+1 {
		s.left, s.right, l, r = eq.r, eq.l, r, l
	}
	if len(l) != 1 || len(r) != 1 || r[0] != i+1 || l[0] > i {
		return shape()
	}
	a := &analyzer{src: b.src, scope: b.scope, types: b.cat.types, library: b.cat.library}
	var err error
	if s.onLeft, err = a.compile(s.left); err != nil {
		return err
	}
	if s.onRight, err = a.compile(s.right); err != nil {
		return err
	}
	if !s.onLeft.typ.Equal(s.onRight.typ) {
		return b.fault(s.on, "sql.type", fmt.Sprintf("%s is joined with %s", s.onLeft.typ, s.onRight.typ), "CAST one of them to the type of the other")
	}
	if k := s.onLeft.typ.Kind; k == functions.Map || k == functions.Null {
		return b.fault(s.on, "sql.type", fmt.Sprintf("%s cannot be a key", s.onLeft.typ), "")
	}
	return nil
}

// about lists the sides that an expression names.
func (b *joiner) about(e expr) (out []int) {
	walk(e, func(e expr) bool {
		ref, ok := e.(*columnRef)
		for i := range b.j.sides {
			s := &b.j.sides[i]
			for c := range s.source.columns {
				if ok && ref.name.text == s.column(c) && !slices.Contains(out, i) {
					out = append(out, i)
				}
			}
		}
		return true
	})
	return out
}

// within reads how far apart in time two streams are joined.
func (b *joiner) within(s *joinStep, streams bool) error {
	w := s.joinClause.within
	switch {
	case streams && w == nil:
		return b.fault(s, "sql.bad_join", "two streams are joined within a time", "add WITHIN 1 HOUR before ON")
	case !streams && w != nil:
		return b.fault(s, "sql.bad_join", "WITHIN is for joins of two streams", "leave it out")
	case !streams:
		return nil
	}
	a := &analyzer{src: b.src}
	var err error
	if s.before, err = a.length(w.before, 0); err != nil {
		return err
	}
	if s.after, err = a.length(w.after, 0); err != nil {
		return err
	}
	if w.grace != nil {
		s.late, err = a.length(*w.grace, 0)
	} else if s.kind == "INNER" {
		s.late = max(defaultGrace-s.before-s.after, 0) // Others have results when the time is over.
	}
	return err
}
