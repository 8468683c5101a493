package sql

import (
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// create reads every statement that begins with CREATE.
func (p *parser) create() (Statement, error) {
	start := p.peek()
	p.at++
	orReplace := p.accept("OR", "REPLACE")
	if !orReplace {
		switch {
		case p.accept("TYPE"):
			return p.createType(start.pos)
		case p.accept("SOURCE", "CONNECTOR"):
			return p.createConnector(start.pos, false)
		case p.accept("SINK", "CONNECTOR"):
			return p.createConnector(start.pos, true)
		}
	}
	readOnly := p.accept("SOURCE")
	table := p.accept("TABLE")
	if !table && !p.accept("STREAM") {
		return nil, p.unexpected()
	}
	s := &createSource{table: table, orReplace: orReplace, readOnly: readOnly}
	s.ifNotExists = p.accept("IF", "NOT", "EXISTS")
	var err error
	if s.name, err = p.ident("a name"); err != nil {
		return nil, err
	}
	if p.sym("(") {
		s.declared = true
		if s.elements, err = p.elements(table); err != nil {
			return nil, err
		}
	}
	if s.with, err = p.with(); err != nil {
		return nil, err
	}
	if !readOnly && !s.declared && p.accept("AS") {
		return p.createAs(s, start.pos)
	}
	if !s.declared && len(s.with) == 0 {
		return nil, p.unexpected()
	}
	s.span = p.since(start.pos)
	return s, nil
}

func (p *parser) createAs(s *createSource, pos int) (Statement, error) {
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	return &createAs{span: p.since(pos), table: s.table, orReplace: s.orReplace, ifNotExists: s.ifNotExists,
		name: s.name, with: s.with, query: q}, nil
}

// elements reads the columns up to the closing parenthesis.
func (p *parser) elements(table bool) ([]element, error) {
	var out []element
	for {
		n, err := p.ident("a column name")
		if err != nil {
			return nil, err
		}
		e := element{name: n}
		pos := p.peek().pos
		if e.typ, err = p.dataType(); err != nil {
			return nil, err
		}
		e.typAt = p.since(pos)
		if err := p.constraint(&e, table); err != nil {
			return nil, err
		}
		out = append(out, e)
		if !p.sym(",") {
			return out, p.expectSym(")")
		}
	}
}

// constraint reads what a column is to its record.
func (p *parser) constraint(e *element, table bool) (err error) {
	t := p.peek()
	switch {
	case p.accept("PRIMARY", "KEY"):
		e.constraint = primaryKey
	case p.accept("KEY"):
		e.constraint = keyColumn
	case p.accept("HEADERS"):
		e.constraint = allHeaders
	case p.accept("HEADER"):
		e.constraint = oneHeader
		if err = p.expectSym("("); err == nil {
			if e.header, err = p.str("the header's name"); err == nil {
				err = p.expectSym(")")
			}
		}
	}
	at := p.since(t.pos)
	switch {
	case err != nil:
		return err
	case e.constraint == primaryKey && !table:
		return fault(p.src, at, "sql.bad_constraint", "a stream has no primary key", "write "+e.text+" … KEY")
	case e.constraint == keyColumn && table:
		return fault(p.src, at, "sql.bad_constraint", "the key of a table is its primary key", "write "+e.text+" … PRIMARY KEY")
	}
	return nil
}

// with reads WITH (…), if it is there.
func (p *parser) with() ([]property, error) {
	if !p.accept("WITH") {
		return nil, nil
	}
	if err := p.expectSym("("); err != nil {
		return nil, err
	}
	var out []property
	for !p.isSym(")") {
		prop, err := p.property()
		if err != nil {
			return nil, err
		}
		out = append(out, prop)
		if !p.sym(",") {
			break
		}
	}
	return out, p.expectSym(")")
}

// property reads name = literal; the name may be a string or dotted words.
func (p *parser) property() (property, error) {
	t := p.peek()
	var out property
	if t.kind == text {
		p.at++
		out.name = name{span{t.pos, t.end}, t.text}
	} else {
		n, err := p.ident("a property")
		for err == nil && p.isSym(".") {
			// Dotted names are settings of connectors, whose case counts.
			p.at++
			p.at++
			n.span = p.since(t.pos)
			n.text = p.src[n.pos:n.end]
		}
		if err != nil {
			return out, err
		}
		out.name = n
	}
	if err := p.expectSym("="); err != nil {
		return out, err
	}
	var err error
	out.value, err = p.literal()
	return out, err
}

// literal reads a constant: a string, a number with an optional sign, a boolean.
func (p *parser) literal() (expr, error) {
	t := p.peek()
	minus := p.isSym("-")
	if minus {
		p.at++
	}
	switch k := p.peek().kind; {
	case k == integer || k == decimal || k == float:
		e, err := p.number(p.peek())
		if err != nil {
			return nil, err
		}
		l := e.(*literal)
		if minus {
			l.text = "-" + l.text
			l.span = p.since(t.pos)
		}
		return l, nil
	case !minus && (k == text || k == word && (t.text == "TRUE" || t.text == "FALSE" || t.text == "NULL")):
		return p.primary()
	}
	p.want(0, "a literal")
	return nil, p.unexpected()
}

func (p *parser) createType(pos int) (Statement, error) {
	s := &createType{ifNotExists: p.accept("IF", "NOT", "EXISTS")}
	var err error
	if s.name, err = p.ident("a name"); err != nil {
		return nil, err
	}
	if err = p.expect("AS"); err != nil {
		return nil, err
	}
	if s.typ, err = p.dataType(); err != nil {
		return nil, err
	}
	s.span = p.since(pos)
	return s, nil
}

func (p *parser) createConnector(pos int, sink bool) (Statement, error) {
	s := &createConnector{sink: sink, ifNotExists: p.accept("IF", "NOT", "EXISTS")}
	var err error
	if s.name, err = p.ident("a name"); err != nil {
		return nil, err
	}
	if s.with, err = p.with(); err != nil {
		return nil, err
	}
	if len(s.with) == 0 {
		return nil, p.unexpected()
	}
	s.span = p.since(pos)
	return s, nil
}

// alter reads ALTER STREAM|TABLE … ADD [COLUMN] and ALTER SYSTEM.
func (p *parser) alter() (Statement, error) {
	start := p.peek()
	p.at++
	if p.accept("SYSTEM") {
		return p.assignment("ALTER SYSTEM", start.pos)
	}
	s := &alterSource{table: p.accept("TABLE")}
	if !s.table && !p.accept("STREAM") {
		return nil, p.unexpected()
	}
	var err error
	if s.name, err = p.ident("a name"); err != nil {
		return nil, err
	}
	for {
		if err = p.expect("ADD"); err != nil {
			return nil, err
		}
		p.accept("COLUMN")
		e := element{}
		if e.name, err = p.ident("a column name"); err != nil {
			return nil, err
		}
		pos := p.peek().pos
		if e.typ, err = p.dataType(); err != nil {
			return nil, err
		}
		e.typAt = p.since(pos)
		s.columns = append(s.columns, e)
		if !p.sym(",") {
			s.span = p.since(start.pos)
			return s, nil
		}
	}
}

// scalar returns the type of a kind without parameters.
func scalar(k functions.Kind) functions.Type { return functions.Type{Kind: k} }
