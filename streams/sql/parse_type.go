package sql

import (
	"strconv"

	"github.com/tidemill/tidemill/streams/sql/functions"
)

// dataType reads a type; T ARRAY is the same as ARRAY<T>.
func (p *parser) dataType() (functions.Type, error) {
	if err := p.deeper(); err != nil {
		return functions.Type{}, err
	}
	defer p.shallower()
	t, err := p.simpleType()
	for err == nil && p.peek().kind == word && p.peek().text == "ARRAY" {
		p.at++
		t = functions.ArrayOf(t)
	}
	return t, err
}

func (p *parser) simpleType() (functions.Type, error) {
	t := p.peek()
	if t.kind == quoted {
		p.at++
		return functions.Type{Kind: functions.Named, Name: t.text}, nil
	}
	if t.kind != word || isReserved(t.text) {
		p.want(0, "a type")
		return functions.Type{}, p.unexpected()
	}
	p.at++
	switch t.text {
	case "ARRAY":
		return p.arrayType()
	case "MAP":
		return p.mapType()
	case "STRUCT":
		return p.structType()
	case "DECIMAL", "DEC", "NUMERIC":
		return p.decimalType(t)
	case "VARCHAR", "STRING":
		return functions.Type{Kind: functions.String}, p.length()
	}
	if k, ok := scalarKind(t.text); ok {
		return functions.Type{Kind: k}, nil
	}
	return functions.Type{Kind: functions.Named, Name: t.text}, nil
}

// scalarKind finds the kind of a type that takes no parameters.
func scalarKind(s string) (functions.Kind, bool) {
	switch s {
	case "BOOLEAN":
		return functions.Boolean, true
	case "INT", "INTEGER":
		return functions.Int, true
	case "BIGINT":
		return functions.Bigint, true
	case "DOUBLE":
		return functions.Double, true
	case "BYTES":
		return functions.Bytes, true
	case "TIME":
		return functions.Time, true
	case "DATE":
		return functions.Date, true
	case "TIMESTAMP":
		return functions.Timestamp, true
	}
	return 0, false
}

// length skips the (n) of VARCHAR(n), which ksqlDB reads and ignores.
func (p *parser) length() error {
	if !p.isSym("(") {
		return nil
	}
	p.at++
	if _, err := p.integer("a length"); err != nil {
		return err
	}
	return p.expectSym(")")
}

func (p *parser) arrayType() (functions.Type, error) {
	if err := p.expectSym("<"); err != nil {
		return functions.Type{}, err
	}
	elem, err := p.dataType()
	if err != nil {
		return functions.Type{}, err
	}
	return functions.ArrayOf(elem), p.expectSym(">")
}

func (p *parser) mapType() (functions.Type, error) {
	if err := p.expectSym("<"); err != nil {
		return functions.Type{}, err
	}
	key, err := p.dataType()
	if err != nil {
		return functions.Type{}, err
	}
	if err := p.expectSym(","); err != nil {
		return functions.Type{}, err
	}
	value, err := p.dataType()
	if err != nil {
		return functions.Type{}, err
	}
	return functions.MapOf(key, value), p.expectSym(">")
}

func (p *parser) structType() (functions.Type, error) {
	out := functions.Type{Kind: functions.Struct}
	if p.sym("<>") {
		return out, nil
	}
	if err := p.expectSym("<"); err != nil {
		return out, err
	}
	for {
		n, err := p.ident("a field name")
		if err != nil {
			return out, err
		}
		t, err := p.dataType()
		if err != nil {
			return out, err
		}
		out.Fields = append(out.Fields, functions.Field{Name: n.text, Type: t})
		if !p.sym(",") {
			return out, p.expectSym(">")
		}
	}
}

func (p *parser) decimalType(t token) (functions.Type, error) {
	if err := p.expectSym("("); err != nil {
		return functions.Type{}, err
	}
	precision, err := p.integer("a precision")
	if err != nil {
		return functions.Type{}, err
	}
	scale := 0
	if p.sym(",") {
		if scale, err = p.integer("a scale"); err != nil {
			return functions.Type{}, err
		}
	}
	if err := p.expectSym(")"); err != nil {
		return functions.Type{}, err
	}
	if precision < 1 || scale > precision {
		at := p.since(t.pos)
		return functions.Type{}, fault(p.src, at, "sql.bad_type",
			"a DECIMAL has a precision of at least 1 and a scale between 0 and its precision", "")
	}
	return functions.DecimalOf(precision, scale), nil
}

// integer takes a whole number that is not negative and fits 31 bits.
func (p *parser) integer(what string) (int, error) {
	t := p.peek()
	if t.kind == parameter {
		return p.boundInteger(t)
	}
	if t.kind != integer {
		p.want(0, what)
		return 0, p.unexpected()
	}
	n, err := strconv.ParseInt(t.text, 10, 32)
	if err != nil {
		return 0, fault(p.src, span{t.pos, t.end}, "sql.syntax", t.text+" is too large here", "")
	}
	p.at++
	return int(n), nil
}
