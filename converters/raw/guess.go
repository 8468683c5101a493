package raw

import (
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// maxNumber bounds the text of a number in bytes, and its decimal exponent: longer
// text is a string, so that "1e999999999" costs nothing.
const (
	maxNumber   = 400
	maxExponent = 400
)

// parseSimple guesses what text says. What cannot be read as anything else is a
// string.
func parseSimple(text string) (*connect.Schema, connect.Value) {
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "null":
		return nil, connect.Value{}
	case trimmed == "":
	case trimmed[0] == '[' || trimmed[0] == '{':
		p := nested{text: trimmed}
		if s, v, ok := p.value(0); ok && p.at == len(trimmed) {
			return s, v
		}
	default:
		if s, v, ok := guessWord(trimmed); ok {
			return s, v
		}
	}
	return connect.Of(connect.KindString), connect.String(text)
}

// guessWord reads a word that stands without quotes.
func guessWord(word string) (*connect.Schema, connect.Value, bool) {
	switch word {
	case "true", "false":
		return connect.Of(connect.KindBool), connect.Bool(word == "true"), true
	case "null":
		return nil, connect.Value{}, true
	}
	if s, v, ok := guessTime(word); ok {
		return s, v, true
	}
	return guessNumber(word)
}

// guessTime reads dates, times of day and timestamps. Colons may be escaped.
func guessTime(word string) (*connect.Schema, connect.Value, bool) {
	word = strings.ReplaceAll(word, `\:`, ":")
	none := connect.Value{}
	switch len(word) {
	case len(dateLayout):
		if t, err := time.Parse(dateLayout, word); err == nil {
			return logical(connect.KindInt32, connect.LogicalDate), connect.Int32(int32(t.Unix() / 86400)), true
		}
	case len(timeLayout):
		if t, err := time.Parse(timeLayout, word); err == nil {
			ms := t.Sub(t.Truncate(24 * time.Hour)).Milliseconds()
			return logical(connect.KindInt32, connect.LogicalTime), connect.Int32(int32(ms)), true
		}
	case len(timestampLayout):
		if t, err := time.Parse(timestampLayout, word); err == nil {
			return logical(connect.KindInt64, connect.LogicalTimestamp), connect.Int64(t.UnixMilli()), true
		}
	}
	return nil, none, false
}

func logical(k connect.Kind, name string) *connect.Schema {
	return connect.SchemaDef{Kind: k, Name: name, Version: 1}.MustBuild()
}

// guessNumber reads a number as the smallest kind that holds it without loss:
// integers of 8 to 64 bits, then single and double precision, then a decimal.
func guessNumber(word string) (*connect.Schema, connect.Value, bool) {
	if len(word) > maxNumber || !numberLike(word) {
		return nil, connect.Value{}, false
	}
	if n, err := strconv.ParseInt(word, 10, 64); err == nil {
		s, v := smallest(n)
		return s, v, true
	}
	mantissa, exponent := word, 0
	if i := strings.IndexAny(word, "eE"); i >= 0 {
		n, err := strconv.Atoi(word[i+1:])
		if err != nil || n > maxExponent || n < -maxExponent {
			return nil, connect.Value{}, false
		}
		mantissa, exponent = word[:i], n
	}
	d, err := connect.ParseDecimal(nil, mantissa)
	if err != nil {
		return nil, connect.Value{}, false
	}
	return exact(d.Int(), d.Scale-exponent, word)
}

// numberLike tells whether word has only what decimal numbers are written with, so
// that "Inf", "0x1" and "1_000" stay strings.
func numberLike(word string) bool {
	digits := false
	for i := 0; i < len(word); i++ {
		switch c := word[i]; {
		case c >= '0' && c <= '9':
			digits = true
		case c == '+' || c == '-':
			if i > 0 && word[i-1] != 'e' && word[i-1] != 'E' {
				return false
			}
		case c == '.' || digits && (c == 'e' || c == 'E'):
		default:
			return false
		}
	}
	return digits
}

func smallest(n int64) (*connect.Schema, connect.Value) {
	for _, k := range []connect.Kind{connect.KindInt8, connect.KindInt16, connect.KindInt32} {
		if v := connect.IntOf(k, n); v.Int() == n {
			return connect.Of(k), v
		}
	}
	return connect.Of(connect.KindInt64), connect.Int64(n)
}

// exact returns unscaled·10^-scale, which word writes, as a value of a kind that
// holds it.
func exact(unscaled *big.Int, scale int, word string) (*connect.Schema, connect.Value, bool) {
	ten := big.NewInt(10)
	for rest := new(big.Int); scale > 0; scale-- {
		whole, _ := new(big.Int).QuoRem(unscaled, ten, rest)
		if rest.Sign() != 0 {
			break
		}
		unscaled = whole
	}
	for ; scale < 0; scale++ {
		unscaled.Mul(unscaled, ten)
	}
	if scale == 0 && unscaled.IsInt64() {
		s, v := smallest(unscaled.Int64())
		return s, v, true
	}
	for _, k := range []connect.Kind{connect.KindFloat32, connect.KindFloat64} {
		bits := 32
		if k == connect.KindFloat64 {
			bits = 64
		}
		if f, err := strconv.ParseFloat(word, bits); scale != 0 && err == nil && writes(f, bits, unscaled, scale) {
			if bits == 32 {
				return connect.Of(k), connect.Float32(float32(f)), true
			}
			return connect.Of(k), connect.Float64(f), true
		}
	}
	return connect.DecimalSchema(0, scale), connect.Bytes(connect.AppendUnscaled(nil, unscaled)), true
}

// writes tells whether f, printed with the digits it needs, is unscaled·10^-scale
// again.
func writes(f float64, bits int, unscaled *big.Int, scale int) bool {
	d, err := connect.ParseDecimal(nil, strconv.FormatFloat(f, 'f', -1, bits))
	return err == nil && d.Scale == scale && d.Int().Cmp(unscaled) == 0
}
