package functions

import (
	"errors"
	"math"
	"math/big"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// ErrOverflow says that a number does not fit the type it should have.
var ErrOverflow = errors.New("the number does not fit its type")

// pow10 returns 10^n.
func pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// unscaled returns the unscaled integer of a decimal value.
func unscaled(v connect.Value) *big.Int { return connect.Decimal{Unscaled: v.Bytes()}.Int() }

// decimalValue makes a value of n, an unscaled integer.
func decimalValue(n *big.Int) connect.Value { return connect.Bytes(connect.AppendUnscaled(nil, n)) }

// fits tells whether n has at most the digits of precision.
func fits(n *big.Int, precision int) bool {
	return precision == 0 || n.CmpAbs(pow10(precision)) < 0
}

// rescale brings n from one scale to another, rounding half away from zero.
func rescale(n *big.Int, from, to int) *big.Int {
	if to >= from {
		return n.Mul(n, pow10(to-from))
	}
	return divRound(n, pow10(from-to))
}

// divRound returns n/d rounded half away from zero; n is overwritten.
func divRound(n, d *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(n, d, new(big.Int))
	if r.Lsh(r.Abs(r), 1).CmpAbs(d) >= 0 {
		q.Add(q, big.NewInt(int64(n.Sign()*d.Sign())))
	}
	return q
}

// DecimalResult returns the type of a op b for decimals, by the rules of
// SQL Server that ksqlDB follows.
func DecimalResult(op string, a, b Type) Type {
	a, b = asDecimal(a), asDecimal(b)
	scale := max(a.Scale, b.Scale)
	switch op {
	case "*":
		return DecimalOf(a.Precision+b.Precision+1, a.Scale+b.Scale)
	case "/":
		s := max(6, a.Scale+b.Precision+1)
		return DecimalOf(a.Precision-a.Scale+b.Scale+s, s)
	case "%":
		return DecimalOf(min(a.Precision-a.Scale, b.Precision-b.Scale)+scale, scale)
	}
	return DecimalOf(max(a.Precision-a.Scale, b.Precision-b.Scale)+scale+1, scale)
}

// DecimalOp computes a op b for decimals of the given types; the result is of the
// type DecimalResult names.
func DecimalOp(op string, at, bt Type) func(a, b connect.Value) (connect.Value, error) {
	out := DecimalResult(op, at, bt)
	scale := max(at.Scale, bt.Scale)
	return func(av, bv connect.Value) (connect.Value, error) {
		a, b := unscaled(av), unscaled(bv)
		switch op {
		case "*":
			return checked(a.Mul(a, b), out)
		case "/":
			if b.Sign() == 0 {
				return connect.Value{}, ErrDivision
			}
			// a/10^sa ÷ b/10^sb at scale s is a·10^(s−sa+sb) ÷ b.
			a.Mul(a, pow10(out.Scale-at.Scale+bt.Scale))
			return checked(divRound(a, b), out)
		}
		a, b = rescale(a, at.Scale, scale), rescale(b, bt.Scale, scale)
		switch op {
		case "+":
			a.Add(a, b)
		case "-":
			a.Sub(a, b)
		default:
			if b.Sign() == 0 {
				return connect.Value{}, ErrDivision
			}
			a.Rem(a, b)
		}
		return checked(a, out)
	}
}

// ErrDivision says that something was divided by zero.
var ErrDivision = errors.New("division by zero")

func checked(n *big.Int, t Type) (connect.Value, error) {
	if !fits(n, t.Precision) {
		return connect.Value{}, ErrOverflow
	}
	return decimalValue(n), nil
}

// decimalFloat returns a decimal as the nearest double.
func decimalFloat(v connect.Value, scale int) float64 {
	text := connect.Decimal{Unscaled: v.Bytes(), Scale: scale}.Append(nil)
	f, _ := strconv.ParseFloat(string(text), 64)
	return f
}

// floatDecimal returns a double as a decimal of type t.
func floatDecimal(f float64, t Type) (connect.Value, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return connect.Value{}, ErrOverflow
	}
	return textDecimal(strconv.FormatFloat(f, 'f', -1, 64), t)
}

// textDecimal reads a decimal of type t from text, exponents allowed.
func textDecimal(s string, t Type) (connect.Value, error) {
	r, ok := new(big.Rat).SetString(s)
	if !ok || len(s) > 100 {
		return connect.Value{}, errNotNumber(s)
	}
	n := new(big.Int).Mul(r.Num(), pow10(t.Scale))
	return checked(divRound(n, r.Denom()), t)
}

type errNotNumber string

func (e errNotNumber) Error() string { return "'" + string(e) + "' is not a number of this type" }
