package sql

import (
	"strconv"

	"github.com/tidemill/tidemill/streams/sql/functions"
)

// expression reads a full expression.
func (p *parser) expression() (expr, error) { return p.climb(levelOr) }

// climb reads an expression whose operators bind at least as tightly as min.
func (p *parser) climb(min int) (expr, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer p.shallower()
	left, err := p.prefix(min)
	if err != nil {
		return nil, err
	}
	// Comparisons do not chain: after one, only AND and OR may follow.
	limit := levelPrimary
	for {
		op, n := p.operator()
		lv := binaryLevel(op)
		if n == 0 || lv < min || lv > limit {
			return left, nil
		}
		if lv == levelCompare {
			limit = levelNot
		}
		if left, err = p.infix(left, op, n); err != nil {
			return nil, err
		}
	}
}

// operator looks at the next tokens and returns the binary operator they form and
// how many they are. The keyword predicates come back as "=": they compare.
func (p *parser) operator() (op string, n int) {
	t := p.peek()
	if t.kind == symbol {
		if binaryLevel(t.text) >= 0 {
			return t.text, 1
		}
		return "", 0
	}
	if t.kind != word {
		return "", 0
	}
	switch t.text {
	case "AND", "OR":
		return t.text, 1
	case "IS", "BETWEEN", "IN", "LIKE":
		return "=", 1
	case "NOT":
		if next := p.ahead(1); next.kind == word && (next.text == "BETWEEN" || next.text == "IN" || next.text == "LIKE") {
			return "=", 2
		}
	}
	return "", 0
}

// infix reads what follows left: the operator op of n tokens and its operands.
func (p *parser) infix(left expr, op string, n int) (expr, error) {
	t := p.peek()
	if t.kind == word && t.text != "AND" && t.text != "OR" {
		return p.predicate(left, n == 2)
	}
	p.at++
	right, err := p.climb(binaryLevel(op) + 1)
	if err != nil {
		return nil, err
	}
	return &binary{span: p.since(left.place().pos), op: op, opAt: span{t.pos, t.end}, l: left, r: right}, nil
}

// predicate reads [NOT] BETWEEN, IN, LIKE or IS.
func (p *parser) predicate(x expr, not bool) (expr, error) {
	if not {
		p.at++
	}
	pos := x.place().pos
	switch {
	case p.accept("BETWEEN"):
		low, err := p.climb(levelConcat)
		if err != nil {
			return nil, err
		}
		if err := p.expect("AND"); err != nil {
			return nil, err
		}
		high, err := p.climb(levelConcat)
		return &between{span: p.since(pos), not: not, x: x, low: low, high: high}, err
	case p.accept("IN"):
		if err := p.expectSym("("); err != nil {
			return nil, err
		}
		list, err := p.expressions()
		if err != nil {
			return nil, err
		}
		err = p.expectSym(")")
		return &inList{span: p.since(pos), not: not, x: x, list: list}, err
	case p.accept("LIKE"):
		return p.like(x, not)
	}
	p.at++
	return p.isPredicate(x)
}

func (p *parser) like(x expr, not bool) (expr, error) {
	out := &like{not: not, x: x}
	var err error
	if out.pattern, err = p.climb(levelConcat); err != nil {
		return nil, err
	}
	if p.accept("ESCAPE") {
		t := p.peek()
		if out.escape, err = p.str("an escape character"); err != nil {
			return nil, err
		}
		if len([]rune(out.escape)) != 1 {
			return nil, fault(p.src, span{t.pos, t.end}, "sql.syntax", "ESCAPE takes exactly one character", "")
		}
	}
	out.span = p.since(x.place().pos)
	return out, nil
}

func (p *parser) isPredicate(x expr) (expr, error) {
	not := p.accept("NOT")
	pos := x.place().pos
	if p.accept("NULL") {
		return &isNull{span: p.since(pos), not: not, x: x}, nil
	}
	opAt := p.peek()
	if err := p.expect("DISTINCT", "FROM"); err != nil {
		return nil, err
	}
	op := "IS DISTINCT FROM"
	if not {
		op = "IS NOT DISTINCT FROM"
	}
	right, err := p.climb(levelConcat)
	if err != nil {
		return nil, err
	}
	return &binary{span: p.since(pos), op: op, opAt: span{opAt.pos, opAt.end}, l: x, r: right}, nil
}

// prefix reads NOT, a sign, or an operand with what is attached to it.
func (p *parser) prefix(min int) (expr, error) {
	t := p.peek()
	if min <= levelNot && t.kind == word && t.text == "NOT" {
		p.at++
		x, err := p.climb(levelNot)
		if err != nil {
			return nil, err
		}
		return &unary{span: p.since(t.pos), op: "NOT", x: x}, nil
	}
	if p.isSym("-") || p.isSym("+") {
		if err := p.deeper(); err != nil {
			return nil, err
		}
		defer p.shallower()
		p.at++
		x, err := p.prefix(levelUnary)
		if err != nil {
			return nil, err
		}
		return &unary{span: p.since(t.pos), op: t.text, x: x}, nil
	}
	x, err := p.primary()
	if err != nil {
		return nil, err
	}
	return p.postfix(x)
}

// postfix reads the subscripts, fields and time zones that follow x.
func (p *parser) postfix(x expr) (expr, error) {
	pos := x.place().pos
	for {
		switch {
		case p.isSym("["):
			p.at++
			i, err := p.expression()
			if err != nil {
				return nil, err
			}
			if err := p.expectSym("]"); err != nil {
				return nil, err
			}
			x = &subscript{span: p.since(pos), x: x, index: i}
		case p.isSym("->") && !(p.ahead(1).kind == symbol && p.ahead(1).text == "*"):
			p.at++
			f, err := p.member("a field name")
			if err != nil {
				return nil, err
			}
			x = &deref{span: p.since(pos), x: x, field: f}
		case p.peek().kind == word && p.peek().text == "AT":
			if err := p.expect("AT", "TIME", "ZONE"); err != nil {
				return nil, err
			}
			zone, err := p.str("a time zone")
			if err != nil {
				return nil, err
			}
			x = &atZone{span: p.since(pos), x: x, zone: zone}
		default:
			return x, nil
		}
	}
}

// expressions reads one or more expressions with commas between.
func (p *parser) expressions() ([]expr, error) {
	var list []expr
	for {
		e, err := p.expression()
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if !p.sym(",") {
			return list, nil
		}
	}
}

// number makes the literal of a number token.
func (p *parser) number(t token) (expr, error) {
	out := &literal{span: span{t.pos, t.end}, text: t.text, kind: functions.Decimal}
	switch t.kind {
	case float:
		out.kind = functions.Double
	case integer:
		n, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			return nil, fault(p.src, span{t.pos, t.end}, "sql.syntax", "the number "+t.text+" does not fit a BIGINT", "write it as a decimal, with a point")
		}
		out.kind = functions.Int
		if n != int64(int32(n)) {
			out.kind = functions.Bigint
		}
	}
	p.at++
	return out, nil
}
