package functions

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tidemill/tidemill/connect"
)

// maxPadding bounds what one call may make.
const maxPadding = 1 << 24

func paddingFunctions() []Function {
	return []Function{
		{Name: "LPAD", Category: stringCategory, Doc: "The string filled up on the left, or cut, to so many characters.", Examples: []Example{{"LPAD('foo', 7, 'Bar')", `"BarBfoo"`}, {"LPAD('foo', 2, 'x')", `"fo"`}},
			Variants: padding(true)},
		{Name: "RPAD", Category: stringCategory, Doc: "The string filled up on the right, or cut, to so many characters.", Examples: []Example{{"RPAD('foo', 7, 'Bar')", `"fooBarB"`}, {"RPAD('foo', 5, '')", "null"}},
			Variants: padding(false)},
		{Name: "CHR", Category: stringCategory, Doc: "The character with a code point, given as a number or as \\uXXXX.", Examples: []Example{{"CHR(75)", `"K"`}, {`CHR('\u004b')`, `"K"`}, {`CHR('\ud83d\ude00')`, `"😀"`}, {"CHR(2000000)", "null"}},
			Variants: []Variant{
				{Params: params(Int), Returns: of(String), Call: func(a []connect.Value) (connect.Value, error) {
					if r := rune(a[0].Int()); utf8.ValidRune(r) {
						return connect.String(string(r)), nil
					}
					return connect.Value{}, nil
				}},
				{Params: params(String), Returns: of(String), Call: unescape}}},
		{Name: "ELT", Category: stringCategory, Doc: "The so-many-th of its further arguments, counted from 1.", Examples: []Example{{"ELT(2, 'a', 'b')", `"b"`}, {"ELT(3, 'a', 'b')", "null"}},
			Variants: []Variant{{Params: params(Int, String), Variadic: true, Returns: of(String), Nulls: true, Call: func(a []connect.Value) (connect.Value, error) {
				if a[0].IsNull() || a[0].Int() < 1 || a[0].Int() >= int64(len(a)) {
					return connect.Value{}, nil
				}
				return a[a[0].Int()], nil
			}}}},
		{Name: "FIELD", Category: stringCategory, Doc: "The position of the first argument among the others, counted from 1, or 0.", Examples: []Example{{"FIELD('b', 'a', 'b')", "2"}, {"FIELD('x', 'a')", "0"}},
			Variants: []Variant{{Params: params(String, String), Variadic: true, Returns: of(Int), Nulls: true, Call: func(a []connect.Value) (connect.Value, error) {
				for i, v := range a[1:] {
					if !v.IsNull() && v.Equal(a[0]) {
						return connect.Int32(int32(i + 1)), nil
					}
				}
				return connect.Int32(0), nil
			}}}},
	}
}

// unescape reads a text that begins with \uXXXX. Characters beyond the first 65536 are two
// of them.
func unescape(a []connect.Value) (connect.Value, error) {
	s := a[0].Str()
	if len(s) < 6 || !strings.HasPrefix(s, `\u`) {
		return connect.Value{}, nil
	}
	var text string
	if json.Unmarshal([]byte(`"`+strings.ReplaceAll(s, `"`, `\"`)+`"`), &text) != nil {
		return connect.Value{}, nil
	}
	return connect.String(text), nil
}

// padding makes the variants of LPAD and RPAD.
func padding(left bool) []Variant {
	pad := func(s, with []rune, n int) []rune {
		if n <= len(s) {
			return s[:n]
		}
		fill := make([]rune, 0, n)
		for i := range n - len(s) {
			fill = append(fill, with[i%len(with)])
		}
		if left {
			return append(fill, s...)
		}
		return append(append(make([]rune, 0, n), s...), fill...)
	}
	check := func(a []connect.Value) (bool, error) {
		n := a[1].Int()
		if n > maxPadding {
			return false, fmt.Errorf("a string is padded to at most %d characters", maxPadding)
		}
		return n >= 0 && a[2].Len() > 0, nil
	}
	return []Variant{
		{Params: params(String, Int, String), Returns: of(String), Call: func(a []connect.Value) (connect.Value, error) {
			if ok, err := check(a); !ok {
				return connect.Value{}, err
			}
			return connect.String(string(pad([]rune(a[0].Str()), []rune(a[2].Str()), int(a[1].Int())))), nil
		}},
		{Params: params(Bytes, Int, Bytes), Returns: of(Bytes), Call: func(a []connect.Value) (connect.Value, error) {
			if ok, err := check(a); !ok {
				return connect.Value{}, err
			}
			out := pad(byteRunes(a[0].Bytes()), byteRunes(a[2].Bytes()), int(a[1].Int()))
			b := make([]byte, len(out))
			for i, r := range out {
				b[i] = byte(r)
			}
			return connect.Bytes(b), nil
		}},
	}
}

// byteRunes widens bytes so that one padding serves both strings and bytes.
func byteRunes(b []byte) []rune {
	out := make([]rune, len(b))
	for i, c := range b {
		out[i] = rune(c)
	}
	return out
}
