package sql

import (
	"strconv"
	"strings"
)

// query reads a SELECT.
func (p *parser) query() (*query, error) {
	start := p.peek()
	if err := p.expect("SELECT"); err != nil {
		return nil, err
	}
	q := &query{limit: -1, offset: -1}
	for {
		it, err := p.item()
		if err != nil {
			return nil, err
		}
		q.items = append(q.items, it)
		if !p.sym(",") {
			break
		}
	}
	if err := p.expect("FROM"); err != nil {
		return nil, err
	}
	var err error
	if q.from, err = p.relation(); err != nil {
		return nil, err
	}
	if err := p.clauses(q); err != nil {
		return nil, err
	}
	q.span = p.since(start.pos)
	return q, nil
}

// clauses reads what follows FROM, in its fixed order.
func (p *parser) clauses(q *query) (err error) {
	if p.accept("WINDOW") {
		if q.window, err = p.window(); err != nil {
			return err
		}
	}
	if p.accept("WHERE") {
		if q.where, err = p.expression(); err != nil {
			return err
		}
	}
	if pos := p.peek().pos; p.accept("GROUP", "BY") {
		if q.groupBy, err = p.keys(); err != nil {
			return err
		}
		q.groupAt = p.since(pos)
	}
	if pos := p.peek().pos; p.accept("PARTITION", "BY") {
		if q.partitionBy, err = p.keys(); err != nil {
			return err
		}
		q.partitionAt = p.since(pos)
	}
	if p.accept("HAVING") {
		if q.having, err = p.expression(); err != nil {
			return err
		}
	}
	if pos := p.peek().pos; p.accept("ORDER", "BY") {
		if q.orderBy, err = p.orderings(); err != nil {
			return err
		}
		q.orderAt = p.since(pos)
	}
	if p.accept("EMIT") {
		switch {
		case p.accept("CHANGES"):
			q.emit = emitChanges
		case p.accept("FINAL"):
			q.emit = emitFinal
		default:
			return p.unexpected()
		}
	}
	if p.accept("LIMIT") {
		if q.limit, err = p.integer("a number of rows"); err != nil {
			return err
		}
	}
	if p.accept("OFFSET") {
		q.offset, err = p.integer("a number of rows")
	}
	return err
}

// orderings reads what follows ORDER BY.
func (p *parser) orderings() (out []ordering, err error) {
	for {
		var o ordering
		if o.expr, err = p.expression(); err != nil {
			return nil, err
		}
		if !p.accept("ASC") {
			o.descending = p.accept("DESC")
		}
		o.nullsFirst = o.descending
		switch {
		case p.accept("NULLS", "FIRST"):
			o.nullsFirst = true
		case p.accept("NULLS", "LAST"):
			o.nullsFirst = false
		}
		if out = append(out, o); !p.sym(",") {
			return out, nil
		}
	}
}

// keys reads the expressions of GROUP BY and PARTITION BY, which may stand in
// parentheses as a whole.
func (p *parser) keys() ([]expr, error) {
	mark := p.at
	if p.isSym("(") {
		p.at++
		list, err := p.expressions()
		if err == nil && p.isSym(")") && len(list) > 1 {
			p.at++
			return list, nil
		}
		p.at = mark
	}
	return p.expressions()
}

func (p *parser) item() (item, error) {
	t := p.peek()
	if p.isSym("*") {
		p.at++
		return item{span: span{t.pos, t.end}, star: true}, nil
	}
	next, after := p.ahead(1), p.ahead(2)
	if (t.kind == word && !isReserved(t.text) || t.kind == quoted) && next.kind == symbol && next.text == "." && after.kind == symbol && after.text == "*" {
		p.at += 3
		return item{span: p.since(t.pos), star: true, source: name{span{t.pos, t.end}, t.text}}, nil
	}
	e, err := p.expression()
	if err != nil {
		return item{}, err
	}
	if p.isSym("->") {
		p.at += 2
		return item{span: p.since(t.pos), star: true, expr: e}, nil
	}
	out := item{expr: e}
	if out.alias, err = p.alias(isReserved); err != nil {
		return item{}, err
	}
	out.span = p.since(t.pos)
	return out, nil
}

// alias reads [AS] name; a word that ends tells to be a keyword is none.
func (p *parser) alias(ends func(string) bool) (name, error) {
	if p.accept("AS") {
		return p.ident("an alias")
	}
	if t := p.peek(); t.kind == quoted || t.kind == word && !ends(t.text) {
		return p.ident("an alias")
	}
	return name{}, nil
}

// relation reads a source and the joins that follow it.
func (p *parser) relation() (relation, error) {
	src, err := p.source()
	if err != nil {
		return nil, err
	}
	var rel relation = src
	for n := 0; ; n++ {
		kind, ok := p.joinKind()
		if !ok {
			return rel, nil
		}
		if n > maxDepth {
			t := p.peek()
			return nil, fault(p.src, span{t.pos, t.end}, "sql.too_deep", "more than 200 sources are joined", "")
		}
		j := &joinClause{kind: kind, left: rel}
		if err := p.join(j); err != nil {
			return nil, err
		}
		rel = j
	}
}

func (p *parser) source() (*sourceRef, error) {
	n, err := p.ident("a stream or table")
	if err != nil {
		return nil, err
	}
	out := &sourceRef{name: n, alias: n}
	alias, err := p.alias(endsSource)
	if err != nil {
		return nil, err
	}
	if alias.text != "" {
		out.alias = alias
	}
	out.span = p.since(n.pos)
	return out, nil
}

// joinKind takes the words that begin a join.
func (p *parser) joinKind() (string, bool) {
	if p.accept("JOIN") || p.accept("INNER", "JOIN") {
		return "INNER", true
	}
	for _, kind := range [...]string{"LEFT", "RIGHT", "FULL"} {
		if p.accept(kind, "JOIN") || p.accept(kind, "OUTER", "JOIN") {
			return kind, true
		}
	}
	return "", false
}

func (p *parser) join(j *joinClause) (err error) {
	if j.right, err = p.source(); err != nil {
		return err
	}
	if p.accept("WITHIN") {
		if j.within, err = p.within(); err != nil {
			return err
		}
	}
	if err = p.expect("ON"); err != nil {
		return err
	}
	if j.on, err = p.expression(); err != nil {
		return err
	}
	j.span = p.since(j.left.place().pos)
	return nil
}

func (p *parser) within() (*within, error) {
	out := &within{}
	var err error
	if p.sym("(") {
		if out.before, err = p.duration(); err != nil {
			return nil, err
		}
		if err = p.expectSym(","); err != nil {
			return nil, err
		}
		if out.after, err = p.duration(); err != nil {
			return nil, err
		}
		err = p.expectSym(")")
	} else {
		out.symmetric = true
		out.before, err = p.duration()
		out.after = out.before
	}
	if err == nil && p.accept("GRACE", "PERIOD") {
		out.grace, err = p.durationRef()
	}
	return out, err
}

// units are the units of time; each is also written with an S at its end.
var units = [...]string{"DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "MONTH", "YEAR", "WEEK"}

func (p *parser) duration() (duration, error) {
	t := p.peek()
	if t.kind != integer {
		p.want(0, "a number")
		return duration{}, p.unexpected()
	}
	n, err := strconv.ParseInt(t.text, 10, 40)
	if err != nil {
		return duration{}, fault(p.src, span{t.pos, t.end}, "sql.syntax", t.text+" is too large here", "")
	}
	p.at++
	for _, u := range units {
		if u := p.peek(); u.kind != word {
			break
		}
		if strings.TrimSuffix(p.peek().text, "S") == u {
			d := duration{n: n, unit: p.peek().text}
			p.at++
			d.span = p.since(t.pos)
			return d, nil
		}
	}
	for _, u := range units {
		p.want(0, u+"S")
	}
	return duration{}, p.unexpected()
}

func (p *parser) durationRef() (*duration, error) {
	d, err := p.duration()
	return &d, err
}

// window reads the kind of a window and its bounds.
func (p *parser) window() (*windowClause, error) {
	start := p.peek()
	w := &windowClause{}
	for _, kind := range [...]string{tumblingWindows, hoppingWindows, sessionWindows} {
		if p.accept(kind) {
			w.kind = kind
			break
		}
	}
	if w.kind == "" {
		return nil, p.unexpected()
	}
	err := p.expectSym("(")
	if err == nil && w.kind != sessionWindows {
		err = p.expect("SIZE")
	}
	if err != nil {
		return nil, err
	}
	if w.size, err = p.duration(); err != nil {
		return nil, err
	}
	if w.kind == hoppingWindows {
		if err = p.expectSym(","); err == nil {
			err = p.expect("ADVANCE", "BY")
		}
		if err != nil {
			return nil, err
		}
		if w.advance, err = p.duration(); err != nil {
			return nil, err
		}
	}
	for p.sym(",") {
		if err := p.windowBound(w); err != nil {
			return nil, err
		}
	}
	err = p.expectSym(")")
	w.span = p.since(start.pos)
	return w, err
}

func (p *parser) windowBound(w *windowClause) (err error) {
	switch {
	case w.retention == nil && p.accept("RETENTION"):
		w.retention, err = p.durationRef()
	case w.grace == nil && p.accept("GRACE", "PERIOD"):
		w.grace, err = p.durationRef()
	default:
		return p.unexpected()
	}
	return err
}
