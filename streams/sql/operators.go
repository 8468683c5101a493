package sql

import (
	"math"
	"unicode/utf8"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

func floatOp(op string, a, b float64) float64 {
	switch op {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "/":
		return a / b
	}
	return math.Mod(a, b)
}

// intOp computes with integers, which wrap around as Java's do.
func intOp(op string, a, b int64) (int64, error) {
	switch op {
	case "+":
		return a + b, nil
	case "-":
		return a - b, nil
	case "*":
		return a * b, nil
	}
	if b == 0 {
		return 0, functions.ErrDivision
	}
	if b == -1 {
		// The one quotient that does not fit, and that Go leaves to the processor.
		if op == "/" {
			return -a, nil
		}
		return 0, nil
	}
	if op == "/" {
		return a / b, nil
	}
	return a % b, nil
}

// negate makes the unary minus.
func negate(k functions.Kind) func(x eval) eval {
	return func(x eval) eval {
		return func(row []connect.Value) (connect.Value, error) {
			v, err := x(row)
			if err != nil || v.IsNull() {
				return null, err
			}
			switch k {
			case functions.Int:
				return connect.Int32(int32(-v.Int())), nil
			case functions.Bigint:
				return connect.Int64(-v.Int()), nil
			case functions.Double:
				return connect.Float64(-v.Float()), nil
			}
			n := connect.Decimal{Unscaled: v.Bytes()}.Int()
			return connect.Bytes(connect.AppendUnscaled(nil, n.Neg(n))), nil
		}
	}
}

// likeMatch makes LIKE: % stands for anything, _ for one character; escape, unless 0,
// takes the meaning from the character after it.
func likeMatch(escape rune) func(l, r eval) eval {
	return func(l, r eval) eval {
		return strict2(l, r, func(a, b connect.Value) (connect.Value, error) {
			return connect.Bool(matchLike(a.Str(), b.Str(), escape)), nil
		})
	}
}

// matchLike matches greedily and steps back to the last % only, which takes at
// most len(s)·len(pattern) steps.
func matchLike(s, pattern string, escape rune) bool {
	starAt, starS := -1, 0
	si, pi := 0, 0
	for {
		if pi < len(pattern) {
			r, n := utf8.DecodeRuneInString(pattern[pi:])
			if r == '%' && r != escape {
				starAt, starS = pi+1, si
				pi++
				continue
			}
			literal := false
			next := pi + n
			if r == escape && escape != 0 && next < len(pattern) {
				r, n = utf8.DecodeRuneInString(pattern[next:])
				literal, next = true, next+n
			}
			if si < len(s) {
				c, cn := utf8.DecodeRuneInString(s[si:])
				if c == r || r == '_' && !literal {
					si, pi = si+cn, next
					continue
				}
			}
		} else if si == len(s) {
			return true
		}
		if starAt < 0 || starS >= len(s) {
			return false
		}
		_, cn := utf8.DecodeRuneInString(s[starS:])
		starS += cn
		si, pi = starS, starAt
	}
}

// inValues makes [NOT] IN over a list of expressions of one type.
func inValues(t functions.Type, negated bool) func(x eval, list []eval) eval {
	return func(x eval, list []eval) eval {
		return func(row []connect.Value) (connect.Value, error) {
			v, err := x(row)
			if err != nil || v.IsNull() {
				return null, err
			}
			unknown := false
			for _, e := range list {
				w, err := e(row)
				if err != nil {
					return null, err
				}
				if w.IsNull() {
					unknown = true
				} else if functions.Compare(t, v, w) == 0 {
					return connect.Bool(!negated), nil
				}
			}
			if unknown {
				return null, nil
			}
			return connect.Bool(negated), nil
		}
	}
}

// elementAt makes a[i]: counted from 1, or back from the end; null outside.
func elementAt(l, r eval) eval {
	return strict2(l, r, func(a, i connect.Value) (connect.Value, error) {
		n := i.Int()
		if n < 0 {
			n += int64(a.Len()) + 1
		}
		if n < 1 || n > int64(a.Len()) {
			return null, nil
		}
		return a.Array()[n-1], nil
	})
}

// valueAt makes m[k].
func valueAt(l, r eval) eval {
	return strict2(l, r, func(m, k connect.Value) (connect.Value, error) {
		v, _ := functions.MapGet(m, k)
		return v, nil
	})
}

// fieldAt makes s->f for the i-th field.
func fieldAt(i int) func(x eval) eval {
	return func(x eval) eval {
		return func(row []connect.Value) (connect.Value, error) {
			v, err := x(row)
			if err != nil || v.IsNull() {
				return null, err
			}
			return v.Struct().At(i), nil
		}
	}
}

// concat makes || and + of two strings or bytes.
func concat(k functions.Kind) func(l, r eval) eval {
	return func(l, r eval) eval {
		return strict2(l, r, func(a, b connect.Value) (connect.Value, error) {
			out := append(append(make([]byte, 0, a.Len()+b.Len()), a.Bytes()...), b.Bytes()...)
			if k == functions.Bytes {
				return connect.Bytes(out), nil
			}
			return connect.StringBytes(out), nil
		})
	}
}
