package functions

import (
	"bytes"
	"math"
	"math/big"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

func identity(n int64) int64 { return n }

// toUnit rounds an unscaled decimal to whole units, towards a side: -1 down, 1 up,
// 0 towards zero.
func toUnit(n *big.Int, scale, side int) *big.Int {
	unit := pow10(scale)
	q, r := new(big.Int).QuoRem(n, unit, new(big.Int))
	if side != 0 && r.Sign() == side {
		q.Add(q, big.NewInt(int64(side)))
	}
	return q.Mul(q, unit)
}

func roundingFunctions() []Function {
	return []Function{
		{Name: "CEIL", Category: mathematical, Doc: "The least whole number that is not less than x.", Examples: []Example{{"CEIL(1.2)", "2.0"}, {"CEIL(-1.2e0)", "-1.0"}, {"CEIL(3)", "3"}},
			Variants: numeric(identity, math.Ceil, func(n *big.Int, s int) *big.Int { return toUnit(n, s, 1) })},
		{Name: "FLOOR", Category: mathematical, Doc: "The greatest whole number that is not greater than x.", Examples: []Example{{"FLOOR(1.8)", "1.0"}, {"FLOOR(-1.2e0)", "-2.0"}},
			Variants: numeric(identity, math.Floor, func(n *big.Int, s int) *big.Int { return toUnit(n, s, -1) })},
		{Name: "ROUND", Category: mathematical, Doc: "The nearest whole number, or the nearest number with so many digits after the point. Halves are rounded up, also those below zero.",
			Examples: []Example{{"ROUND(2.5e0)", "3"}, {"ROUND(-2.5e0)", "-2"}, {"ROUND(1.255, 2)", "1.260"}, {"ROUND(1.005e0, 2)", "1.01"}, {"ROUND(1234.5e0, -2)", "1200.0"}, {"ROUND(9.5)", "10"}, {"ROUND(-1.5)", "-1"}},
			Variants: places(halfUp, halvesUp)},
		{Name: "TRUNC", Category: mathematical, Doc: "The whole part of a number; or the number cut after so many digits after the point.",
			Examples: []Example{{"TRUNC(2.9e0)", "2"}, {"TRUNC(1.259, 2)", "1.250"}, {"TRUNC(-1.5e0)", "-1"}},
			Variants: places(math.Trunc, cut)},
		extreme("GREATEST", "The greatest of its arguments; nulls are passed over.", 1, Example{"GREATEST(1, 3, 2)", "3"}, Example{"GREATEST('a', NULL, 'c')", `"c"`}),
		extreme("LEAST", "The least of its arguments; nulls are passed over.", -1, Example{"LEAST(4, 3, 5)", "3"}),
	}
}

// cut brings n to a smaller scale by leaving digits out.
func cut(n *big.Int, from, to int) *big.Int {
	if to >= from {
		return rescale(n, from, to)
	}
	return n.Quo(n, pow10(from-to))
}

// halfUp rounds to the next whole number, halves upwards.
func halfUp(f float64) float64 {
	down := math.Floor(f)
	if f-down >= 0.5 {
		return down + 1
	}
	return down
}

// halvesUp brings n to a smaller scale, halves upwards.
func halvesUp(n *big.Int, from, to int) *big.Int {
	if to >= from {
		return rescale(n, from, to)
	}
	unit := pow10(from - to)
	q, r := new(big.Int).DivMod(n, unit, new(big.Int)) // r is never negative.
	if r.Lsh(r, 1).Cmp(unit) >= 0 {
		q.Add(q, big.NewInt(1))
	}
	return q
}

// mostPlaces bounds the digits that are asked for, on both sides of the point.
const mostPlaces = 400

// atPlace rounds f at so many digits after the point. It works on the digits that f is
// written with, as Java's BigDecimal does: 1.005 is no less than that.
func atPlace(f float64, digits int, scaled func(n *big.Int, from, to int) *big.Int) float64 {
	var buffer [32]byte
	text := strconv.AppendFloat(buffer[:0], f, 'e', -1, 64)
	e := bytes.IndexByte(text, 'e')
	if e < 0 { // NaN and the infinities
		return f
	}
	exponent, _ := strconv.Atoi(string(text[e+1:]))
	mantissa := make([]byte, 0, 24)
	for _, c := range text[:e] {
		if c != '.' {
			mantissa = append(mantissa, c)
		}
	}
	scale := len(bytes.TrimLeft(mantissa, "-")) - 1 - exponent // f is mantissa·10^-scale.
	if digits >= scale {
		return f
	}
	n, _ := strconv.ParseInt(string(mantissa), 10, 64) // It has at most 17 digits.
	mantissa = scaled(big.NewInt(n), scale, digits).Append(mantissa[:0], 10)
	mantissa = strconv.AppendInt(append(mantissa, 'e'), int64(-digits), 10)
	out, _ := strconv.ParseFloat(string(mantissa), 64)
	return out
}

// places makes the variants of ROUND and TRUNC from a way to whole doubles and a way to bring
// decimals to a scale. A decimal without digits after the point has as many before it as
// before, so that it may have one more than its type says, as in ksqlDB.
func places(whole func(float64) float64, scaled func(n *big.Int, from, to int) *big.Int) []Variant {
	decimal := func(t Type, a []connect.Value) (connect.Value, error) {
		digits := int(max(a[1].Int(), -mostPlaces))
		if digits >= t.Scale {
			return a[0], nil
		}
		n := scaled(unscaled(a[0]), t.Scale, digits)
		return checked(n.Mul(n, pow10(t.Scale-digits)), DecimalOf(t.Precision+1, 0))
	}
	return []Variant{
		{Params: params(Bigint), Returns: of(Bigint), Call: func(a []connect.Value) (connect.Value, error) { return a[0], nil }},
		{Params: params(Double), Returns: of(Bigint), Call: func(a []connect.Value) (connect.Value, error) {
			return connect.Int64(clamp64(whole(a[0].Float()))), nil
		}},
		{Params: params(Double, Int), Returns: of(Double), Call: func(a []connect.Value) (connect.Value, error) {
			return connect.Float64(atPlace(a[0].Float(), int(max(a[1].Int(), -mostPlaces)), scaled)), nil
		}},
		{Params: params(Decimal), Result: func(args []Type) (Type, error) { return DecimalOf(max(1, args[0].Precision-args[0].Scale), 0), nil },
			Bind: func(args []Type) (Call, error) {
				return func(a []connect.Value) (connect.Value, error) {
					return decimalValue(scaled(unscaled(a[0]), args[0].Scale, 0)), nil
				}, nil
			}},
		{Params: params(Decimal, Int), Result: func(args []Type) (Type, error) { return args[0], nil },
			Bind: func(args []Type) (Call, error) {
				return func(a []connect.Value) (connect.Value, error) { return decimal(args[0], a) }, nil
			}},
	}
}

// extreme makes GREATEST (side 1) or LEAST (side -1).
func extreme(name, doc string, side int, examples ...Example) Function {
	f := Function{Name: name, Category: mathematical, Doc: doc, Examples: examples}
	for _, k := range []Kind{Int, Bigint, Double, String, Bytes, Date, Time, Timestamp} {
		f.Variants = append(f.Variants, Variant{Params: params(k), Variadic: true, Returns: of(k), Nulls: true, Call: extremeOf(of(k), side)})
	}
	all := Type{Kind: Decimal, Name: "T"}
	f.Variants = append(f.Variants, Variant{Params: []Type{all}, Variadic: true, Returns: all, Nulls: true,
		Bind: func(args []Type) (Call, error) { return extremeOf(args[0], side), nil }})
	return f
}

func extremeOf(t Type, side int) Call {
	return func(a []connect.Value) (connect.Value, error) {
		var best connect.Value
		for _, v := range a {
			if best.IsNull() || !v.IsNull() && Compare(t, v, best)*side > 0 {
				best = v
			}
		}
		return best, nil
	}
}
