package functions

import (
	"math"
	"math/big"

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
		{Name: "ROUND", Category: mathematical, Doc: "The nearest whole number, half away from zero for decimals and up for doubles; or the nearest number with so many digits after the point.",
			Examples: []Example{{"ROUND(2.5e0)", "3"}, {"ROUND(-2.5e0)", "-2"}, {"ROUND(1.255, 2)", "1.260"}, {"ROUND(1234.5e0, -2)", "1200.0"}, {"ROUND(1.5)", "2"}},
			Variants: places(func(f float64) float64 { return math.Floor(f + 0.5) }, rescale)},
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

// places makes the variants of ROUND and TRUNC from a way to whole doubles and a
// way to bring decimals to a scale.
func places(whole func(float64) float64, scaled func(n *big.Int, from, to int) *big.Int) []Variant {
	decimal := func(t Type, digits int) Call {
		return func(a []connect.Value) (connect.Value, error) {
			if len(a) > 1 {
				digits = int(a[1].Int())
			}
			n := scaled(unscaled(a[0]), t.Scale, min(digits, t.Scale))
			return checked(n.Mul(n, pow10(max(0, t.Scale-digits))), DecimalOf(t.Precision+1, 0))
		}
	}
	return []Variant{
		{Params: params(Bigint), Returns: of(Bigint), Call: func(a []connect.Value) (connect.Value, error) { return a[0], nil }},
		{Params: params(Double), Returns: of(Bigint), Call: func(a []connect.Value) (connect.Value, error) {
			return connect.Int64(clamp64(whole(a[0].Float()))), nil
		}},
		{Params: params(Double, Int), Returns: of(Double), Call: func(a []connect.Value) (connect.Value, error) {
			unit := math.Pow(10, float64(a[1].Int()))
			return connect.Float64(whole(a[0].Float()*unit) / unit), nil
		}},
		{Params: params(Decimal), Result: func(args []Type) (Type, error) { return DecimalOf(max(1, args[0].Precision-args[0].Scale+1), 0), nil },
			Bind: func(args []Type) (Call, error) {
				return func(a []connect.Value) (connect.Value, error) {
					return decimalValue(scaled(unscaled(a[0]), args[0].Scale, 0)), nil
				}, nil
			}},
		{Params: params(Decimal, Int), Result: func(args []Type) (Type, error) { return args[0], nil },
			Bind: func(args []Type) (Call, error) { return decimal(args[0], 0), nil }},
	}
}

// extreme makes GREATEST (side 1) or LEAST (side -1).
func extreme(name, doc string, side int, examples ...Example) Function {
	f := Function{Name: name, Category: mathematical, Doc: doc, Examples: examples}
	f.Variants = []Variant{{
		Params: []Type{variable("T")}, Variadic: true, Returns: variable("T"), Nulls: true,
		Bind: func(args []Type) (Call, error) {
			return func(a []connect.Value) (connect.Value, error) {
				var best connect.Value
				for _, v := range a {
					if best.IsNull() || !v.IsNull() && Compare(args[0], v, best)*side > 0 {
						best = v
					}
				}
				return best, nil
			}, nil
		},
	}}
	return f
}
