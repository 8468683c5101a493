package sql

import (
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// eval computes an expression over a row. It is used by one goroutine at a time
// and does not keep or change the row.
type eval func(row []connect.Value) (connect.Value, error)

// teller is told of functions that fail. What they give is null then, and the expression
// around them goes on with that, as in ksqlDB. Where it is nil, the whole expression fails.
type teller func(error)

// compiled is an analysed expression: its type, and how to make an eval of it for
// one goroutine.
type compiled struct {
	typ functions.Type
	// constant holds the value of an expression that does not look at the row.
	constant *connect.Value
	make     func(told teller) (eval, error)
	// infer is told the type that a parameter is needed in; nil for all else.
	infer *functions.Type
}

// null is the absent value.
var null connect.Value

// constantOf makes a compiled constant.
func constantOf(t functions.Type, v connect.Value) compiled {
	return compiled{typ: t, constant: &v, make: func(told teller) (eval, error) {
		return func([]connect.Value) (connect.Value, error) { return v, nil }, nil
	}}
}

// slotOf makes a compiled column: the value at a place of the row.
func slotOf(t functions.Type, slot int) compiled {
	return compiled{typ: t, make: func(told teller) (eval, error) {
		return func(row []connect.Value) (connect.Value, error) { return row[slot], nil }, nil
	}}
}

// node1 makes a compiled expression of one operand; make is given the operand's
// eval.
func node1(t functions.Type, x compiled, build func(x eval) eval) compiled {
	return compiled{typ: t, make: func(told teller) (eval, error) {
		ex, err := x.make(told)
		if err != nil {
			return nil, err
		}
		return build(ex), nil
	}}
}

// node2 makes a compiled expression of two operands.
func node2(t functions.Type, l, r compiled, build func(l, r eval) eval) compiled {
	return compiled{typ: t, make: func(told teller) (eval, error) {
		el, err := l.make(told)
		if err != nil {
			return nil, err
		}
		er, err := r.make(told)
		if err != nil {
			return nil, err
		}
		return build(el, er), nil
	}}
}

// makeAll makes the evals of several expressions.
func makeAll(list []compiled, told teller) ([]eval, error) {
	out := make([]eval, len(list))
	for i, c := range list {
		var err error
		if out[i], err = c.make(told); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// strict2 makes an operator that is null when one of its operands is.
func strict2(l, r eval, op func(a, b connect.Value) (connect.Value, error)) eval {
	return func(row []connect.Value) (connect.Value, error) {
		a, err := l(row)
		if err != nil || a.IsNull() {
			return null, err
		}
		b, err := r(row)
		if err != nil || b.IsNull() {
			return null, err
		}
		return op(a, b)
	}
}

// converted brings x to a type by the rules of CAST. Constants are converted once.
func converted(x compiled, to functions.Type) (compiled, error) {
	if x.infer != nil && x.infer.Kind == functions.Null {
		*x.infer = to
	}
	conv, err := functions.Cast(x.typ, to)
	if err != nil {
		return x, err
	}
	if conv == nil {
		x.typ = to
		return x, nil
	}
	if x.constant != nil {
		if x.constant.IsNull() {
			return constantOf(to, null), nil
		}
		v, err := conv(*x.constant)
		if err != nil {
			return x, err
		}
		return constantOf(to, v), nil
	}
	return node1(to, x, func(ex eval) eval {
		return func(row []connect.Value) (connect.Value, error) {
			v, err := ex(row)
			if err != nil || v.IsNull() {
				return null, err
			}
			return conv(v)
		}
	}), nil
}

// callOf makes a compiled call of a bound function; the arguments already have the
// types it takes.
func callOf(b functions.Bound, args []compiled) compiled {
	return compiled{typ: b.Returns, make: func(told teller) (eval, error) {
		evals, err := makeAll(args, told)
		if err != nil {
			return nil, err
		}
		f, err := b.New()
		if err != nil {
			return nil, err
		}
		values := make([]connect.Value, len(evals))
		return func(row []connect.Value) (connect.Value, error) {
			for i, e := range evals {
				var err error
				if values[i], err = e(row); err != nil {
					return null, err
				}
			}
			v, err := f(values)
			if err != nil && told != nil {
				told(err)
				return null, nil
			}
			return v, err
		}, nil
	}}
}

// and and or follow SQL's three values: unknown is null.
func and(l, r eval) eval {
	return func(row []connect.Value) (connect.Value, error) {
		a, err := l(row)
		if err != nil || !a.IsNull() && !a.Bool() {
			return a, err
		}
		b, err := r(row)
		if err != nil || b.IsNull() || !b.Bool() {
			return b, err
		}
		return a, nil
	}
}

func or(l, r eval) eval {
	return func(row []connect.Value) (connect.Value, error) {
		a, err := l(row)
		if err != nil || !a.IsNull() && a.Bool() {
			return a, err
		}
		b, err := r(row)
		if err != nil || b.IsNull() || b.Bool() {
			return b, err
		}
		return a, nil
	}
}

func not(x eval) eval {
	return func(row []connect.Value) (connect.Value, error) {
		v, err := x(row)
		if err != nil || v.IsNull() {
			return null, err
		}
		return connect.Bool(!v.Bool()), nil
	}
}

// comparison returns the test of an operator on the result of a comparison.
func comparison(op string) func(c int) bool {
	switch op {
	case "=":
		return func(c int) bool { return c == 0 }
	case "<>", "!=":
		return func(c int) bool { return c != 0 }
	case "<":
		return func(c int) bool { return c < 0 }
	case "<=":
		return func(c int) bool { return c <= 0 }
	case ">":
		return func(c int) bool { return c > 0 }
	}
	return func(c int) bool { return c >= 0 }
}

// compare makes a comparison of two operands of one type.
func compare(op string, t functions.Type) func(l, r eval) eval {
	test := comparison(op)
	return func(l, r eval) eval {
		return strict2(l, r, func(a, b connect.Value) (connect.Value, error) {
			return connect.Bool(test(functions.Compare(t, a, b))), nil
		})
	}
}

// distinct makes IS [NOT] DISTINCT FROM, for which null is a value like others.
func distinct(not bool, t functions.Type) func(l, r eval) eval {
	return func(l, r eval) eval {
		return func(row []connect.Value) (connect.Value, error) {
			a, err := l(row)
			if err != nil {
				return null, err
			}
			b, err := r(row)
			if err != nil {
				return null, err
			}
			same := a.IsNull() && b.IsNull()
			if !a.IsNull() && !b.IsNull() {
				same = functions.Compare(t, a, b) == 0
			}
			return connect.Bool(same == not), nil
		}
	}
}

// arithmetic makes + - * / % for two operands of one number type that is not a
// decimal.
func arithmetic(op string, k functions.Kind) func(l, r eval) eval {
	return func(l, r eval) eval {
		switch k {
		case functions.Double:
			return strict2(l, r, func(a, b connect.Value) (connect.Value, error) {
				return connect.Float64(floatOp(op, a.Float(), b.Float())), nil
			})
		case functions.Int:
			return strict2(l, r, func(a, b connect.Value) (connect.Value, error) {
				n, err := intOp(op, a.Int(), b.Int())
				return connect.Int32(int32(n)), err
			})
		}
		return strict2(l, r, func(a, b connect.Value) (connect.Value, error) {
			n, err := intOp(op, a.Int(), b.Int())
			return connect.Int64(n), err
		})
	}
}
