package sql

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// resolver finds what a column reference means: where its value stands in the row.
type resolver interface {
	column(ref *columnRef) (compiled, error)
	// replace may stand in for a whole expression, such as one that GROUP BY names.
	replace(e expr) (compiled, bool, error)
}

// analyzer gives expressions their types and compiles them.
type analyzer struct {
	src string
	// scope resolves columns; nil where none are allowed.
	scope resolver
	types map[string]functions.Type
	// library holds the functions there are, nil for those that every engine has.
	library *functions.Library
}

func (a *analyzer) functions() *functions.Library { return orBuiltin(a.library) }

// orBuiltin returns l or, when it is nil, the functions that every engine has.
func orBuiltin(l *functions.Library) *functions.Library {
	if l == nil {
		return functions.Builtin()
	}
	return l
}

// fault makes an error about the place of n.
func (a *analyzer) fault(n node, code, message, hint string) error {
	return fault(a.src, n.place(), code, message, hint)
}

// typeFault makes an error about types, with the cause's own words.
func (a *analyzer) typeFault(n node, err error) error {
	return a.fault(n, "sql.type", err.Error(), "")
}

// compile analyses e.
func (a *analyzer) compile(e expr) (compiled, error) {
	if a.scope != nil {
		if c, ok, err := a.scope.replace(e); ok || err != nil {
			return c, err
		}
	}
	switch e := e.(type) {
	case *literal:
		return a.literal(e)
	case *columnRef:
		return a.column(e)
	case *unary:
		return a.unary(e)
	case *binary:
		return a.binary(e)
	case *between:
		return a.between(e)
	case *inList:
		return a.inList(e)
	case *like:
		return a.like(e)
	case *isNull:
		return a.isNull(e)
	case *caseExpr:
		return a.caseExpr(e)
	case *cast:
		return a.cast(e)
	case *arrayExpr:
		return a.array(e)
	case *mapExpr:
		return a.mapValue(e)
	case *structExpr:
		return a.structValue(e)
	case *call:
		return a.call(e)
	case *subscript:
		return a.subscript(e)
	case *deref:
		return a.deref(e)
	}
	return compiled{}, a.fault(e, "sql.unsupported", "this expression is understood, but cannot be evaluated here", "")
}

func (a *analyzer) literal(e *literal) (compiled, error) {
	t := functions.Type{Kind: e.kind}
	switch e.kind {
	case functions.Null:
		c := constantOf(t, null)
		c.infer = e.infer
		return c, nil
	case functions.Boolean:
		return constantOf(t, connect.Bool(e.text == "TRUE")), nil
	case functions.String:
		return constantOf(t, connect.String(e.text)), nil
	case functions.Int, functions.Bigint:
		n, err := strconv.ParseInt(e.text, 10, 64)
		if err != nil {
			return compiled{}, a.typeFault(e, err)
		}
		return constantOf(t, connect.IntOf(map[functions.Kind]connect.Kind{functions.Int: connect.KindInt32, functions.Bigint: connect.KindInt64}[e.kind], n)), nil
	case functions.Double:
		f, err := strconv.ParseFloat(e.text, 64)
		if err != nil {
			return compiled{}, a.fault(e, "sql.type", "the number does not fit a DOUBLE", "")
		}
		return constantOf(t, connect.Float64(f)), nil
	}
	d, err := connect.ParseDecimal(nil, e.text)
	if err != nil {
		return compiled{}, a.fault(e, "sql.type", "this is not a decimal number", "")
	}
	digits := len(strings.TrimLeft(strings.NewReplacer(".", "", "-", "").Replace(e.text), "0"))
	return constantOf(functions.DecimalOf(max(digits, d.Scale, 1), d.Scale), connect.Bytes(d.Unscaled)), nil
}

func (a *analyzer) column(e *columnRef) (compiled, error) {
	if a.scope == nil {
		return compiled{}, a.fault(e, "sql.no_columns", "no column can be named here", "strings stand in 'single quotes'")
	}
	return a.scope.column(e)
}

func (a *analyzer) unary(e *unary) (compiled, error) {
	x, err := a.compile(e.x)
	if err != nil {
		return x, err
	}
	if e.op == "NOT" {
		if x, err = a.boolean(e.x, x); err != nil {
			return x, err
		}
		return node1(x.typ, x, not), nil
	}
	if !x.typ.Numeric() {
		return x, a.fault(e, "sql.type", fmt.Sprintf("%s takes a number, not %s", e.op, x.typ), "")
	}
	if e.op == "+" {
		return x, nil
	}
	out := node1(x.typ, x, negate(x.typ.Kind))
	return folded(out, x), nil
}

// folded computes an expression once when its operands are constants.
func folded(c compiled, operands ...compiled) compiled {
	for _, o := range operands {
		if o.constant == nil {
			return c
		}
	}
	ev, err := c.make(nil)
	if err != nil {
		return c
	}
	v, err := ev(nil)
	if err != nil {
		return c
	}
	return constantOf(c.typ, v)
}

// boolean demands a condition.
func (a *analyzer) boolean(n node, c compiled) (compiled, error) {
	switch c.typ.Kind {
	case functions.Boolean:
		return c, nil
	case functions.Null:
		return converted(c, scalar(functions.Boolean))
	}
	return c, a.fault(n, "sql.type", fmt.Sprintf("a condition is needed here, this is %s", c.typ), "")
}

func (a *analyzer) binary(e *binary) (compiled, error) {
	l, err := a.compile(e.l)
	if err != nil {
		return l, err
	}
	r, err := a.compile(e.r)
	if err != nil {
		return r, err
	}
	switch e.level() {
	case levelAnd, levelOr:
		if l, err = a.boolean(e.l, l); err != nil {
			return l, err
		}
		if r, err = a.boolean(e.r, r); err != nil {
			return r, err
		}
		if e.op == "AND" {
			return node2(l.typ, l, r, and), nil
		}
		return node2(l.typ, l, r, or), nil
	case levelCompare:
		return a.comparison(e, l, r)
	case levelConcat:
		return a.concatenation(e, l, r)
	}
	if e.op == "+" && l.typ.Kind == functions.String && r.typ.Kind == functions.String {
		return a.concatenation(e, l, r)
	}
	return a.arithmetic(e, l, r)
}

func (a *analyzer) concatenation(e *binary, l, r compiled) (compiled, error) {
	t, ok := functions.Common(l.typ, r.typ)
	if !ok || t.Kind != functions.String && t.Kind != functions.Bytes {
		return l, a.fault(e, "sql.type", fmt.Sprintf("%s joins two strings, not %s and %s", e.op, l.typ, r.typ), "use CAST(… AS STRING)")
	}
	return folded(node2(t, l, r, concat(t.Kind)), l, r), nil
}

func (a *analyzer) comparison(e *binary, l, r compiled) (compiled, error) {
	l, r, t, err := a.unified(e, e.op, l, r)
	if err != nil {
		return l, err
	}
	b := scalar(functions.Boolean)
	switch e.op {
	case "IS DISTINCT FROM":
		return node2(b, l, r, distinct(false, t)), nil
	case "IS NOT DISTINCT FROM":
		return node2(b, l, r, distinct(true, t)), nil
	}
	if t.Kind >= functions.Array && e.op != "=" && e.op != "<>" && e.op != "!=" {
		return l, a.fault(e, "sql.type", fmt.Sprintf("%s values cannot be ordered", t.Kind), "")
	}
	return node2(b, l, r, compare(e.op, t)), nil
}

// unified brings two operands to one type: the wider of two numbers, and what a
// string literal is compared with.
func (a *analyzer) unified(n node, op string, l, r compiled) (compiled, compiled, functions.Type, error) {
	t, ok := functions.Common(l.typ, r.typ)
	switch {
	case ok:
	case literalText(l) && r.typ.Kind < functions.Array:
		t = r.typ
	case literalText(r) && l.typ.Kind < functions.Array:
		t = l.typ
	default:
		return l, r, t, a.fault(n, "sql.type", fmt.Sprintf("%s and %s cannot be compared with %s", l.typ, r.typ, op), "use CAST")
	}
	var err error
	if l, err = a.coerced(n, l, t); err == nil {
		r, err = a.coerced(n, r, t)
	}
	return l, r, t, err
}

func literalText(c compiled) bool { return c.constant != nil && c.typ.Kind == functions.String }

// coerced is converted with the error placed. A text compared with a BIGINT may be
// a timestamp, as ROWTIME is compared with dates.
func (a *analyzer) coerced(n node, c compiled, t functions.Type) (compiled, error) {
	out, err := converted(c, t)
	if err == nil {
		return out, nil
	}
	if literalText(c) && t.Kind == functions.Bigint {
		if ts, err := converted(c, scalar(functions.Timestamp)); err == nil {
			ts.typ = t
			return ts, nil
		}
	}
	return out, a.typeFault(n, err)
}

func (a *analyzer) arithmetic(e *binary, l, r compiled) (compiled, error) {
	lt, rt := l.typ, r.typ
	if lt.Kind == functions.Null && rt.Numeric() {
		lt = rt
	}
	if rt.Kind == functions.Null && lt.Numeric() {
		rt = lt
	}
	if !lt.Numeric() || !rt.Numeric() {
		return l, a.fault(e, "sql.type", fmt.Sprintf("%s takes two numbers, not %s and %s", e.op, l.typ, r.typ), "")
	}
	t, _ := functions.Common(lt, rt)
	if t.Kind == functions.Decimal {
		return a.decimalArithmetic(e, l, r)
	}
	l, err := converted(l, t)
	if err != nil {
		return l, a.typeFault(e, err)
	}
	if r, err = converted(r, t); err != nil {
		return l, a.typeFault(e, err)
	}
	return folded(node2(t, l, r, arithmetic(e.op, t.Kind)), l, r), nil
}

func (a *analyzer) decimalArithmetic(e *binary, l, r compiled) (compiled, error) {
	operands := [2]*compiled{&l, &r}
	for _, o := range operands {
		t := o.typ
		switch t.Kind {
		case functions.Int:
			t = functions.DecimalOf(10, 0)
		case functions.Bigint:
			t = functions.DecimalOf(19, 0)
		}
		c, err := converted(*o, t)
		if err != nil {
			return l, a.typeFault(e, err)
		}
		*o = c
	}
	op := functions.DecimalOp(e.op, l.typ, r.typ)
	return folded(node2(functions.DecimalResult(e.op, l.typ, r.typ), l, r, func(el, er eval) eval { return strict2(el, er, op) }), l, r), nil
}

func (a *analyzer) between(e *between) (compiled, error) {
	low, err := a.compile(&binary{span: e.span, op: ">=", l: e.x, r: e.low})
	if err != nil {
		return low, err
	}
	high, err := a.compile(&binary{span: e.span, op: "<=", l: e.x, r: e.high})
	if err != nil {
		return high, err
	}
	out := node2(low.typ, low, high, and)
	if e.not {
		out = node1(out.typ, out, not)
	}
	return out, nil
}

func (a *analyzer) inList(e *inList) (compiled, error) {
	x, err := a.compile(e.x)
	if err != nil {
		return x, err
	}
	list := make([]compiled, len(e.list))
	t := x.typ
	for i, it := range e.list {
		if list[i], err = a.compile(it); err != nil {
			return x, err
		}
		if _, _, t, err = a.unified(it, "IN", compiled{typ: t}, list[i]); err != nil {
			return x, err
		}
	}
	if x, err = a.coerced(e.x, x, t); err != nil {
		return x, err
	}
	for i := range list {
		if list[i], err = a.coerced(e.list[i], list[i], t); err != nil {
			return x, err
		}
	}
	build := inValues(t, e.not)
	return compiled{typ: scalar(functions.Boolean), make: func(told teller) (eval, error) {
		ex, err := x.make(told)
		if err != nil {
			return nil, err
		}
		evals, err := makeAll(list, told)
		return build(ex, evals), err
	}}, nil
}

func (a *analyzer) like(e *like) (compiled, error) {
	x, err := a.compile(e.x)
	if err != nil {
		return x, err
	}
	pattern, err := a.compile(e.pattern)
	if err != nil {
		return x, err
	}
	for _, c := range []compiled{x, pattern} {
		if c.typ.Kind != functions.String && c.typ.Kind != functions.Null {
			return x, a.fault(e, "sql.type", fmt.Sprintf("LIKE compares strings, not %s and %s", x.typ, pattern.typ), "use CAST(… AS STRING)")
		}
	}
	var escape rune
	if e.escape != "" {
		escape = []rune(e.escape)[0]
	}
	out := node2(scalar(functions.Boolean), x, pattern, likeMatch(escape))
	if e.not {
		out = node1(out.typ, out, not)
	}
	return out, nil
}

func (a *analyzer) isNull(e *isNull) (compiled, error) {
	x, err := a.compile(e.x)
	if err != nil {
		return x, err
	}
	return node1(scalar(functions.Boolean), x, func(ex eval) eval {
		return func(row []connect.Value) (connect.Value, error) {
			v, err := ex(row)
			return connect.Bool(v.IsNull() != e.not), err
		}
	}), nil
}

func (a *analyzer) cast(e *cast) (compiled, error) {
	x, err := a.compile(e.x)
	if err != nil {
		return x, err
	}
	t, err := a.resolveType(e, e.typ)
	if err != nil {
		return x, err
	}
	out, err := converted(x, t)
	if err != nil {
		return out, a.typeFault(e, err)
	}
	return out, nil
}

// resolveType replaces named types by what CREATE TYPE said of them.
func (a *analyzer) resolveType(n node, t functions.Type) (functions.Type, error) {
	switch t.Kind {
	case functions.Named:
		known, ok := a.types[t.Name]
		if !ok {
			names := []string{"BOOLEAN", "INTEGER", "BIGINT", "DOUBLE", "DECIMAL", "STRING", "VARCHAR", "BYTES", "TIME", "DATE", "TIMESTAMP", "ARRAY", "MAP", "STRUCT"}
			for k := range a.types {
				names = append(names, k)
			}
			slices.Sort(names)
			return t, a.fault(n, "sql.unknown_type", "there is no type "+t.Name, didYouMean(t.Name, names))
		}
		return known, nil
	case functions.Array:
		elem, err := a.resolveType(n, *t.Elem)
		return functions.ArrayOf(elem), err
	case functions.Map:
		key, err := a.resolveType(n, *t.Key)
		if err != nil {
			return t, err
		}
		elem, err := a.resolveType(n, *t.Elem)
		return functions.MapOf(key, elem), err
	case functions.Struct:
		out := functions.Type{Kind: functions.Struct}
		for _, f := range t.Fields {
			ft, err := a.resolveType(n, f.Type)
			if err != nil {
				return t, err
			}
			out.Fields = append(out.Fields, functions.Field{Name: f.Name, Type: ft})
		}
		return out, nil
	}
	return t, nil
}
