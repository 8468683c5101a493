package sql

import "github.com/tidemill/tidemill/streams/sql/functions"

// primary reads an operand: a literal, a column, a call, a constructor, or an
// expression in parentheses.
func (p *parser) primary() (expr, error) {
	t := p.peek()
	switch t.kind {
	case text:
		p.at++
		return &literal{span: span{t.pos, t.end}, kind: functions.String, text: t.text}, nil
	case integer, decimal, float:
		return p.number(t)
	case parameter:
		return p.parameter(t)
	case quoted:
		return p.reference()
	case word:
		return p.wordPrimary(t)
	}
	if p.isSym("(") {
		p.at++
		e, err := p.expression()
		if err != nil {
			return nil, err
		}
		return e, p.expectSym(")")
	}
	p.want(0, "an expression")
	return nil, p.unexpected()
}

// wordPrimary reads an operand that begins with the word t.
func (p *parser) wordPrimary(t token) (expr, error) {
	next := p.ahead(1)
	open := next.kind == symbol && next.text == "("
	switch {
	case t.text == "TRUE" || t.text == "FALSE":
		p.at++
		return &literal{span: span{t.pos, t.end}, kind: functions.Boolean, text: t.text}, nil
	case t.text == "NULL":
		p.at++
		return &literal{span: span{t.pos, t.end}, kind: functions.Null, text: t.text}, nil
	case t.text == "CASE":
		return p.caseExpression()
	case t.text == "CAST":
		return p.cast()
	case t.text == "ARRAY" && next.kind == symbol && next.text == "[":
		return p.array()
	case t.text == "MAP" && open:
		return p.mapConstructor()
	case t.text == "STRUCT" && open:
		return p.structConstructor()
	case open && (t.text == "LEFT" || t.text == "RIGHT"), !isReserved(t.text):
		return p.reference()
	}
	p.want(0, "an expression")
	return nil, p.unexpected()
}

// reference reads a column, a column of a source, or a call.
func (p *parser) reference() (expr, error) {
	t := p.peek()
	n := name{span{t.pos, t.end}, t.text}
	p.at++
	if p.isSym("(") {
		return p.call(n)
	}
	if p.isSym(".") {
		p.at++
		col, err := p.member("a column name")
		if err != nil {
			return nil, err
		}
		return &columnRef{span: p.since(t.pos), source: n, name: col}, nil
	}
	return &columnRef{span: n.span, name: n}, nil
}

// member takes the identifier after a dot or an arrow, where every word is a name.
func (p *parser) member(what string) (name, error) {
	if t := p.peek(); t.kind == word {
		p.at++
		return name{span{t.pos, t.end}, t.text}, nil
	}
	return p.ident(what)
}

// call reads the arguments of a function.
func (p *parser) call(n name) (expr, error) {
	p.at++
	out := &call{name: n}
	if p.isSym("*") {
		p.at++
		out.star = true
	} else if !p.isSym(")") {
		for {
			arg, err := p.argument()
			if err != nil {
				return nil, err
			}
			out.args = append(out.args, arg)
			if !p.sym(",") {
				break
			}
		}
	}
	if err := p.expectSym(")"); err != nil {
		return nil, err
	}
	out.span = p.since(n.pos)
	return out, nil
}

// argument reads an expression or a lambda.
func (p *parser) argument() (expr, error) {
	n := p.lambdaParams()
	if n == 0 {
		return p.expression()
	}
	t := p.peek()
	p.sym("(")
	out := &lambda{}
	for range n {
		param, err := p.ident("a parameter")
		if err != nil {
			return nil, err
		}
		out.params = append(out.params, param)
		if p.isSym(",") {
			p.at++
		}
	}
	if p.isSym(")") {
		p.at++
	}
	if err := p.expectSym("=>"); err != nil {
		return nil, err
	}
	var err error
	if out.body, err = p.expression(); err != nil {
		return nil, err
	}
	out.span = p.since(t.pos)
	return out, nil
}

// lambdaParams returns how many parameters the lambda at the parser's place has,
// or 0 when there is none.
func (p *parser) lambdaParams() int {
	isName := func(i int) bool { k := p.ahead(i).kind; return k == word || k == quoted }
	isSym := func(i int, s string) bool { t := p.ahead(i); return t.kind == symbol && t.text == s }
	if isName(0) && isSym(1, "=>") {
		return 1
	}
	if !isSym(0, "(") {
		return 0
	}
	n := 0
	for i := 1; isName(i); i += 2 {
		n++
		if isSym(i+1, ")") && isSym(i+2, "=>") {
			return n
		}
		if !isSym(i+1, ",") {
			return 0
		}
	}
	return 0
}

func (p *parser) caseExpression() (expr, error) {
	start := p.peek()
	p.at++
	out := &caseExpr{}
	var err error
	if !p.is("WHEN") {
		if out.operand, err = p.expression(); err != nil {
			return nil, err
		}
	}
	for p.accept("WHEN") {
		var w when
		if w.cond, err = p.expression(); err != nil {
			return nil, err
		}
		if err = p.expect("THEN"); err != nil {
			return nil, err
		}
		if w.then, err = p.expression(); err != nil {
			return nil, err
		}
		out.whens = append(out.whens, w)
	}
	if len(out.whens) == 0 {
		return nil, p.unexpected()
	}
	if p.accept("ELSE") {
		if out.orElse, err = p.expression(); err != nil {
			return nil, err
		}
	}
	err = p.expect("END")
	out.span = p.since(start.pos)
	return out, err
}

func (p *parser) cast() (expr, error) {
	start := p.peek()
	p.at++
	if err := p.expectSym("("); err != nil {
		return nil, err
	}
	x, err := p.expression()
	if err != nil {
		return nil, err
	}
	if err := p.expect("AS"); err != nil {
		return nil, err
	}
	t, err := p.dataType()
	if err != nil {
		return nil, err
	}
	err = p.expectSym(")")
	return &cast{span: p.since(start.pos), x: x, typ: t}, err
}

func (p *parser) array() (expr, error) {
	start := p.peek()
	p.at += 2
	out := &arrayExpr{}
	if !p.isSym("]") {
		var err error
		if out.items, err = p.expressions(); err != nil {
			return nil, err
		}
	}
	err := p.expectSym("]")
	out.span = p.since(start.pos)
	return out, err
}

func (p *parser) mapConstructor() (expr, error) {
	start := p.peek()
	p.at += 2
	out := &mapExpr{}
	for !p.isSym(")") {
		k, err := p.expression()
		if err != nil {
			return nil, err
		}
		if err := p.expectSym(":="); err != nil {
			return nil, err
		}
		v, err := p.expression()
		if err != nil {
			return nil, err
		}
		out.keys, out.values = append(out.keys, k), append(out.values, v)
		if !p.sym(",") {
			break
		}
	}
	err := p.expectSym(")")
	out.span = p.since(start.pos)
	return out, err
}

func (p *parser) structConstructor() (expr, error) {
	start := p.peek()
	p.at += 2
	out := &structExpr{}
	for !p.isSym(")") {
		n, err := p.ident("a field name")
		if err != nil {
			return nil, err
		}
		if err := p.expectSym(":="); err != nil {
			return nil, err
		}
		v, err := p.expression()
		if err != nil {
			return nil, err
		}
		out.names, out.values = append(out.names, n), append(out.values, v)
		if !p.sym(",") {
			break
		}
	}
	err := p.expectSym(")")
	out.span = p.since(start.pos)
	return out, err
}
