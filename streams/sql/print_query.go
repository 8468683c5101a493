package sql

import "strconv"

func (q *query) appendSQL(b []byte) []byte {
	b = append(b, "SELECT "...)
	for i := range q.items {
		b = maybe(b, i > 0, ", ")
		b = q.items[i].appendSQL(b)
	}
	b = q.from.appendSQL(append(b, " FROM "...))
	if q.window != nil {
		b = q.window.appendSQL(append(b, ' '))
	}
	if q.where != nil {
		b = q.where.appendSQL(append(b, " WHERE "...))
	}
	if len(q.groupBy) > 0 {
		b = exprList(append(b, " GROUP BY "...), q.groupBy)
	}
	if len(q.partitionBy) > 0 {
		b = exprList(append(b, " PARTITION BY "...), q.partitionBy)
	}
	if q.having != nil {
		b = q.having.appendSQL(append(b, " HAVING "...))
	}
	for i, o := range q.orderBy {
		b = maybe(maybe(b, i == 0, " ORDER BY "), i > 0, ", ")
		b = maybe(o.expr.appendSQL(b), o.descending, " DESC")
		b = maybe(b, o.nullsFirst && !o.descending, " NULLS FIRST")
		b = maybe(b, !o.nullsFirst && o.descending, " NULLS LAST")
	}
	b = maybe(b, q.emit == emitChanges, " EMIT CHANGES")
	b = maybe(b, q.emit == emitFinal, " EMIT FINAL")
	if q.limit >= 0 {
		b = strconv.AppendInt(append(b, " LIMIT "...), int64(q.limit), 10)
	}
	if q.offset >= 0 {
		b = strconv.AppendInt(append(b, " OFFSET "...), int64(q.offset), 10)
	}
	return b
}

func (i *item) appendSQL(b []byte) []byte {
	switch {
	case i.star && i.expr != nil:
		return append(operand(b, i.expr, levelPostfix), "->*"...)
	case i.star && i.source.text != "":
		return append(identSQL(b, i.source.text), ".*"...)
	case i.star:
		return append(b, '*')
	}
	b = i.expr.appendSQL(b)
	if i.alias.text != "" {
		b = identSQL(append(b, " AS "...), i.alias.text)
	}
	return b
}

func (s *sourceRef) appendSQL(b []byte) []byte {
	b = identSQL(b, s.name.text)
	if s.alias.text != s.name.text {
		b = identSQL(append(b, " AS "...), s.alias.text)
	}
	return b
}

func (j *joinClause) appendSQL(b []byte) []byte {
	b = append(j.left.appendSQL(b), ' ')
	b = append(append(b, j.kind...), " JOIN "...)
	b = j.right.appendSQL(b)
	if w := j.within; w != nil {
		b = append(b, " WITHIN "...)
		if w.symmetric {
			b = w.before.appendSQL(b)
		} else {
			b = append(w.before.appendSQL(append(b, '(')), ", "...)
			b = append(w.after.appendSQL(b), ')')
		}
		if w.grace != nil {
			b = w.grace.appendSQL(append(b, " GRACE PERIOD "...))
		}
	}
	return j.on.appendSQL(append(b, " ON "...))
}

func (d duration) appendSQL(b []byte) []byte {
	b = strconv.AppendInt(b, d.n, 10)
	return append(append(b, ' '), d.unit...)
}

func (w *windowClause) appendSQL(b []byte) []byte {
	b = append(append(append(b, "WINDOW "...), w.kind...), " ("...)
	if w.kind != sessionWindows {
		b = append(b, "SIZE "...)
	}
	b = w.size.appendSQL(b)
	if w.kind == hoppingWindows {
		b = w.advance.appendSQL(append(b, ", ADVANCE BY "...))
	}
	if w.retention != nil {
		b = w.retention.appendSQL(append(b, ", RETENTION "...))
	}
	if w.grace != nil {
		b = w.grace.appendSQL(append(b, ", GRACE PERIOD "...))
	}
	return append(b, ')')
}
