package functions

import (
	"math"
	"math/big"
	"math/rand/v2"

	"github.com/tidemill/tidemill/connect"
)

const mathematical = "MATHEMATICAL"

// doubles makes a function of one double that gives a double.
func doubles(name, doc string, f func(float64) float64, examples ...Example) Function {
	return Function{Name: name, Category: mathematical, Doc: doc, Examples: examples, Variants: []Variant{{
		Params: params(Double), Returns: of(Double),
		Call: func(a []connect.Value) (connect.Value, error) { return connect.Float64(f(a[0].Float())), nil },
	}}}
}

// doubles2 makes a function of two doubles that gives a double.
func doubles2(name, doc string, f func(a, b float64) float64, examples ...Example) Function {
	return Function{Name: name, Category: mathematical, Doc: doc, Examples: examples, Variants: []Variant{{
		Params: params(Double, Double), Returns: of(Double),
		Call: func(a []connect.Value) (connect.Value, error) {
			return connect.Float64(f(a[0].Float(), a[1].Float())), nil
		},
	}}}
}

func mathFunctions() []Function {
	return []Function{
		doubles("SQRT", "The square root; NaN of a negative number.", math.Sqrt, Example{"SQRT(16)", "4.0"}),
		doubles("CBRT", "The cube root.", math.Cbrt, Example{"CBRT(27)", "3.0"}),
		doubles("EXP", "e to the power of x.", math.Exp, Example{"EXP(0)", "1.0"}),
		doubles("LN", "The natural logarithm.", math.Log, Example{"LN(1)", "0.0"}),
		doubles("SIN", "The sine of an angle in radians.", math.Sin, Example{"SIN(0)", "0.0"}),
		doubles("COS", "The cosine of an angle in radians.", math.Cos, Example{"COS(0)", "1.0"}),
		doubles("TAN", "The tangent of an angle in radians.", math.Tan, Example{"TAN(0)", "0.0"}),
		doubles("COT", "The cotangent of an angle in radians.", func(x float64) float64 { return 1 / math.Tan(x) }, Example{"ROUND(COT(1), 4)", "0.6421"}),
		doubles("ASIN", "The angle whose sine is x.", math.Asin, Example{"ASIN(0)", "0.0"}),
		doubles("ACOS", "The angle whose cosine is x.", math.Acos, Example{"ACOS(1)", "0.0"}),
		doubles("ATAN", "The angle whose tangent is x.", math.Atan, Example{"ATAN(0)", "0.0"}),
		doubles("SINH", "The hyperbolic sine.", math.Sinh, Example{"SINH(0)", "0.0"}),
		doubles("COSH", "The hyperbolic cosine.", math.Cosh, Example{"COSH(0)", "1.0"}),
		doubles("TANH", "The hyperbolic tangent.", math.Tanh, Example{"TANH(0)", "0.0"}),
		doubles("DEGREES", "An angle in radians as degrees.", func(x float64) float64 { return x * (180 / math.Pi) }, Example{"DEGREES(PI())", "180.0"}),
		doubles("RADIANS", "An angle in degrees as radians.", radians, Example{"RADIANS(180) = PI()", "true"}),
		doubles2("ATAN2", "The angle of the point (x, y), given as y and x.", math.Atan2, Example{"ATAN2(0, 1)", "0.0"}),
		doubles2("POWER", "x to the power of y.", power, Example{"POWER(2, 10)", "1024.0"}),
		{Name: "PI", Category: mathematical, Doc: "The number π.", Examples: []Example{{"PI()", "3.141592653589793"}}, Variants: []Variant{{
			Returns: of(Double), Call: func([]connect.Value) (connect.Value, error) { return connect.Float64(math.Pi), nil }}}},
		{Name: "RANDOM", Category: mathematical, Doc: "A random number from 0 up to 1.", Examples: []Example{{"RANDOM() < 1", "true"}}, Variants: []Variant{{
			Returns: of(Double), Call: func([]connect.Value) (connect.Value, error) { return connect.Float64(rand.Float64()), nil }}}},
		{Name: "LOG", Category: mathematical, Doc: "The natural logarithm, or the logarithm to a base given first.",
			Examples: []Example{{"LOG(1)", "0.0"}, {"LOG(2, 8)", "3.0"}}, Variants: []Variant{
				{Params: params(Double), Returns: of(Double), Call: func(a []connect.Value) (connect.Value, error) { return connect.Float64(math.Log(a[0].Float())), nil }},
				{Params: params(Double, Double), Returns: of(Double), Call: logBase}}},
		{Name: "ABS", Category: mathematical, Doc: "The number without its sign.", Examples: []Example{{"ABS(-3)", "3"}, {"ABS(-1.50)", "1.50"}, {"ABS(CAST(NULL AS INT))", "null"}},
			Variants: numeric(absInt, func(f float64) float64 { return math.Abs(f) }, func(n *big.Int, _ int) *big.Int { return n.Abs(n) })},
		{Name: "SIGN", Category: mathematical, Doc: "-1, 0 or 1 for a negative number, zero or a positive one.", Examples: []Example{{"SIGN(-7)", "-1"}, {"SIGN(0.5)", "1"}},
			Variants: []Variant{{Params: params(Double), Returns: of(Int), Call: func(a []connect.Value) (connect.Value, error) {
				f := a[0].Float()
				return connect.Int32(int32(boolInt(f > 0) - boolInt(f < 0))), nil
			}}}},
	}
}

func logBase(a []connect.Value) (connect.Value, error) {
	base := a[0].Float()
	if base <= 0 || base == 1 {
		return connect.Float64(math.NaN()), nil
	}
	return connect.Float64(math.Log(a[1].Float()) / math.Log(base)), nil
}

func radians(degrees float64) float64 { return degrees * (math.Pi / 180) }

// power is NaN where Java's is and C's is 1.
func power(x, y float64) float64 {
	if math.IsNaN(y) || math.IsInf(y, 0) && math.Abs(x) == 1 {
		return math.NaN()
	}
	return math.Pow(x, y)
}

func absInt(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}

// numeric makes the four variants of a function that gives a number of the kind it
// takes.
func numeric(ints func(int64) int64, floats func(float64) float64, decimals func(n *big.Int, scale int) *big.Int) []Variant {
	same := func(args []Type) (Type, error) { return args[0], nil }
	return []Variant{
		{Params: params(Int), Returns: of(Int), Call: func(a []connect.Value) (connect.Value, error) { return connect.Int32(int32(ints(a[0].Int()))), nil }},
		{Params: params(Bigint), Returns: of(Bigint), Call: func(a []connect.Value) (connect.Value, error) { return connect.Int64(ints(a[0].Int())), nil }},
		{Params: params(Double), Returns: of(Double), Call: func(a []connect.Value) (connect.Value, error) { return connect.Float64(floats(a[0].Float())), nil }},
		{Params: params(Decimal), Result: same, Bind: func(args []Type) (Call, error) {
			return func(a []connect.Value) (connect.Value, error) {
				return decimalValue(decimals(unscaled(a[0]), args[0].Scale)), nil
			}, nil
		}},
	}
}
