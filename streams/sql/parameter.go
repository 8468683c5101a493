package sql

import (
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/streams/sql/functions"
)

// Argument is the value of a parameter, of $1 and so on. It stands in the statement's tree as
// a literal would: its text is never read as SQL.
type Argument struct {
	Null bool
	// Kind is what it is; a String also stands for whatever it is compared with, or put into.
	Kind functions.Kind
	// Text is the value as a literal of its kind writes it; of BYTES it is in hexadecimal.
	Text string
}

// Description says what a statement takes and gives, before it is executed.
type Description struct {
	// Parameters are the types of $1 and so on, of the kind Null where nothing tells them.
	Parameters []functions.Type
	// Columns are those of a query's result, nil for other statements.
	Columns []Column
}

// Prepare analyses one statement, whose parameters need no arguments.
func (e *Engine) Prepare(r Request) (d Description, err error) {
	s, open := newSession(r), &binding{open: true}
	text := s.replaceVariables(r.Text)
	stmt, err := parseOne(text, open)
	if err != nil {
		return d, err
	}
	switch st := stmt.(type) {
	case *query:
		p, err := analyzeQuery(text, st, e.view(), false)
		if err != nil {
			return d, err
		}
		d.Columns = p.header("").Columns
	case *insertValues:
		cat := e.view()
		src, err := cat.lookup(text, st.target)
		if err != nil {
			return d, err
		}
		// It is the types that are wanted; what the row lacks is told when it is inserted.
		_, _, _ = insertedRow(st, src, &analyzer{src: text, types: cat.types})
	}
	for _, t := range open.types {
		d.Parameters = append(d.Parameters, *t)
	}
	return d, nil
}

// binding is what the parameters of a statement stand for; nil where there are none.
type binding struct {
	args []Argument
	// open says that the statement is described: its parameters are nulls, whose types are
	// found out.
	open  bool
	types []*functions.Type
}

// parameter reads $n.
func (p *parser) parameter(t token) (expr, error) {
	at := span{t.pos, t.end}
	n, err := strconv.Atoi(t.text)
	if err != nil || n < 1 || n > 1<<15 {
		return nil, fault(p.src, at, "sql.unknown_parameter", "parameters are $1 to $32768", "")
	}
	p.at++
	switch b := p.bound; {
	case b != nil && b.open:
		for len(b.types) < n {
			b.types = append(b.types, &functions.Type{})
		}
		return &literal{span: at, kind: functions.Null, text: "NULL", infer: b.types[n-1]}, nil
	case b == nil || n > len(b.args):
		return nil, fault(p.src, at, "sql.unknown_parameter", "the parameter $"+t.text+" has no value", "send a value with the statement")
	default:
		return b.args[n-1].expr(at), nil
	}
}

// expr is the argument as an expression.
func (a Argument) expr(at span) expr {
	of := func(k functions.Kind, text string) *literal { return &literal{span: at, kind: k, text: text} }
	switch {
	case a.Null:
		return of(functions.Null, "NULL")
	case a.Kind == functions.Boolean:
		return of(a.Kind, strings.ToUpper(a.Text))
	case a.Kind == functions.Int, a.Kind == functions.Bigint, a.Kind == functions.Double, a.Kind == functions.Decimal:
		if number, negative := strings.CutPrefix(a.Text, "-"); negative {
			return &unary{span: at, op: "-", x: of(a.Kind, number)}
		}
		return of(a.Kind, a.Text)
	case a.Kind == functions.Date, a.Kind == functions.Time, a.Kind == functions.Timestamp:
		return &cast{span: at, x: of(functions.String, a.Text), typ: scalar(a.Kind)}
	case a.Kind == functions.Bytes:
		return &call{span: at, name: name{at, "TO_BYTES"}, args: []expr{of(functions.String, a.Text), of(functions.String, "hex")}}
	}
	return of(functions.String, a.Text)
}

// boundInteger reads a parameter where a whole number stands.
func (p *parser) boundInteger(t token) (int, error) {
	e, err := p.parameter(t)
	if err != nil {
		return 0, err
	}
	l, ok := e.(*literal)
	if ok && l.infer != nil {
		*l.infer = bigint
		return 0, nil
	}
	if ok {
		if n, err := strconv.ParseInt(l.text, 10, 32); err == nil {
			return int(n), nil
		}
	}
	return 0, fault(p.src, span{t.pos, t.end}, "sql.type", "$"+t.text+" has to be a whole number here", "")
}
