package functions

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidemill/tidemill/connect"
)

const stringCategory = "STRING"

// oneString makes a function of one string that gives a string.
func oneString(name, doc string, f func(string) string, examples ...Example) Function {
	return Function{Name: name, Category: stringCategory, Doc: doc, Examples: examples, Variants: []Variant{{
		Params: params(String), Returns: of(String),
		Call: func(a []connect.Value) (connect.Value, error) { return connect.String(f(a[0].Str())), nil },
	}}}
}

func stringFunctions() []Function {
	return []Function{
		oneString("UCASE", "The string in upper case.", upperCase, Example{"UCASE('straße')", `"STRASSE"`}),
		oneString("LCASE", "The string in lower case.", strings.ToLower, Example{"LCASE('Ab')", `"ab"`}),
		oneString("TRIM", "The string without white space at both ends.", func(s string) string {
			return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
		}, Example{"TRIM('  a b ')", `"a b"`}),
		oneString("INITCAP", "The string with the first letter of each word in upper case and the others in lower case.", initcap, Example{"INITCAP('hello WORLD')", `"Hello World"`}),
		{Name: "LEN", Category: stringCategory, Doc: "The number of characters of a string, or of bytes.", Examples: []Example{{"LEN('abc')", "3"}, {"LEN('naïve')", "5"}}, Variants: []Variant{
			{Params: params(String), Returns: of(Int), Call: func(a []connect.Value) (connect.Value, error) { return connect.Int32(int32(length(a[0].Str()))), nil }},
			{Params: params(Bytes), Returns: of(Int), Call: func(a []connect.Value) (connect.Value, error) { return connect.Int32(int32(a[0].Len())), nil }}}},
		{Name: "CONCAT", Category: stringCategory, Doc: "Its arguments one after another; nulls are passed over.", Examples: []Example{{"CONCAT('a', NULL, 'b')", `"ab"`}},
			Variants: []Variant{joining(String, false), joining(Bytes, false)}},
		{Name: "CONCAT_WS", Category: stringCategory, Doc: "Its arguments after the first, with the first between them; nulls are passed over.",
			Examples: []Example{{"CONCAT_WS(', ', 'a', NULL, 'b')", `"a, b"`}, {"CONCAT_WS(NULL, 'a')", "null"}}, Variants: []Variant{joining(String, true), joining(Bytes, true)}},
		{Name: "REPLACE", Category: stringCategory, Doc: "The string with every occurrence of the second argument replaced by the third.", Examples: []Example{{"REPLACE('foobar', 'o', 'x')", `"fxxbar"`}},
			Variants: []Variant{{Params: params(String, String, String), Returns: of(String), Call: func(a []connect.Value) (connect.Value, error) {
				return connect.String(strings.ReplaceAll(a[0].Str(), a[1].Str(), a[2].Str())), nil
			}}}},
		{Name: "SPLIT", Category: stringCategory, Doc: "The parts of a string, or of bytes, between the delimiters; with an empty delimiter, its characters or bytes.",
			Examples: []Example{{"SPLIT('a.b.c', '.')", `["a","b","c"]`}, {"SPLIT('ab', '')", `["a","b"]`}, {"SPLIT(',', ',')", `["",""]`}},
			Variants: []Variant{{Params: params(String, String), Returns: ArrayOf(of(String)), Call: split}, {Params: params(Bytes, Bytes), Returns: ArrayOf(of(Bytes)), Call: splitBytes}}},
		{Name: "SUBSTRING", Category: stringCategory, Doc: "The part of a string from a position, counted from 1 or back from the end with a negative one, to its end or for so many characters.",
			Examples: []Example{{"SUBSTRING('stream', 2)", `"tream"`}, {"SUBSTRING('stream', 2, 3)", `"tre"`}, {"SUBSTRING('stream', -2)", `"am"`}, {"SUBSTRING('stream', 9)", `""`}},
			Variants: []Variant{
				{Params: params(String, Int), Returns: of(String), Call: substring}, {Params: params(String, Int, Int), Returns: of(String), Call: substring},
				{Params: params(Bytes, Int), Returns: of(Bytes), Call: subbytes}, {Params: params(Bytes, Int, Int), Returns: of(Bytes), Call: subbytes}}},
		{Name: "INSTR", Category: stringCategory, Doc: "The position of a part in a string, counted from 1, or 0; from a position on, and the so-many-th occurrence.",
			Examples: []Example{{"INSTR('CORPORATE FLOOR', 'OR')", "2"}, {"INSTR('CORPORATE FLOOR', 'OR', 3)", "5"}, {"INSTR('CORPORATE FLOOR', 'OR', 3, 2)", "14"}, {"INSTR('CORPORATE FLOOR', 'OR', -3)", "5"}, {"INSTR('a', NULL)", "0"}},
			Variants: []Variant{{Params: params(String, String), Returns: of(Int), Nulls: true, Call: instr}, {Params: params(String, String, Int), Returns: of(Int), Nulls: true, Call: instr},
				{Params: params(String, String, Int, Int), Returns: of(Int), Nulls: true, Call: instr}}},
	}
}

// length counts the characters of s.
func length(s string) int { return utf8.RuneCountInString(s) }

// initcap drops the white space at the start, as ksqlDB does.
func initcap(s string) string {
	const space = " \t\n\v\f\r"
	out := make([]byte, 0, len(s))
	for s = strings.TrimLeft(strings.ToLower(s), space); s != ""; {
		_, n := utf8.DecodeRuneInString(s)
		end := strings.IndexAny(s, space)
		if end < 0 {
			end = len(s)
		}
		for end < len(s) && strings.IndexByte(space, s[end]) >= 0 {
			end++
		}
		out = append(append(out, upperCase(s[:n])...), s[n:end]...)
		s = s[end:]
	}
	return string(out)
}

// upperCase knows of the one common letter that becomes two.
func upperCase(s string) string { return strings.ReplaceAll(strings.ToUpper(s), "ß", "SS") }

// joining makes the variant that puts strings or bytes together, with the first
// argument between them when ws is true.
func joining(k Kind, ws bool) Variant {
	v := Variant{Params: params(k), Variadic: true, Returns: of(k), Nulls: true}
	if ws {
		v.Params = params(k, k)
	}
	v.Call = func(a []connect.Value) (connect.Value, error) {
		var sep []byte
		if ws {
			if a[0].IsNull() {
				return connect.Value{}, nil
			}
			sep, a = a[0].Bytes(), a[1:]
		}
		out, first := []byte{}, true
		for _, e := range a {
			if e.IsNull() {
				continue
			}
			if !first {
				out = append(out, sep...)
			}
			out, first = append(out, e.Bytes()...), false
		}
		if k == Bytes {
			return connect.Bytes(out), nil
		}
		return connect.StringBytes(out), nil
	}
	return v
}

// stringArray makes an array of strings.
func stringArray(parts []string) connect.Value {
	out := make([]connect.Value, len(parts))
	for i, p := range parts {
		out[i] = connect.String(p)
	}
	return connect.Array(out)
}

func split(a []connect.Value) (connect.Value, error) {
	if a[0].Len() == 0 {
		return stringArray([]string{""}), nil
	}
	return stringArray(strings.Split(a[0].Str(), a[1].Str())), nil
}

func splitBytes(a []connect.Value) (connect.Value, error) {
	var parts [][]byte
	switch b, delimiter := a[0].Bytes(), a[1].Bytes(); {
	case len(delimiter) > 0 || len(b) == 0:
		parts = bytes.Split(b, delimiter)
	default:
		for i := range b {
			parts = append(parts, b[i:i+1])
		}
	}
	if len(parts) == 0 {
		parts = [][]byte{{}}
	}
	out := make([]connect.Value, len(parts))
	for i, p := range parts {
		out[i] = connect.Bytes(p)
	}
	return connect.Array(out), nil
}

// cutAt returns the bounds of a substring of something n long, by ksqlDB's rules.
func cutAt(n int, a []connect.Value) (from, to int) {
	pos := int(a[1].Int())
	switch {
	case pos < 0:
		from = max(n+pos, 0)
	case pos > 0:
		from = min(pos-1, n)
	}
	to = n
	if len(a) > 2 {
		to = min(n, from+max(0, int(a[2].Int())))
	}
	return from, to
}

func substring(a []connect.Value) (connect.Value, error) {
	s := a[0].Str()
	if n := length(s); n != len(s) {
		runes := []rune(s)
		from, to := cutAt(n, a)
		return connect.String(string(runes[from:to])), nil
	}
	from, to := cutAt(len(s), a)
	return connect.String(s[from:to]), nil
}

func subbytes(a []connect.Value) (connect.Value, error) {
	from, to := cutAt(a[0].Len(), a)
	return connect.Bytes(a[0].Bytes()[from:to]), nil
}

// instr finds a part. Searching from the end, it stands before the position as a whole.
func instr(a []connect.Value) (connect.Value, error) {
	pos, nth := 1, 1
	if len(a) > 2 {
		if a[2].IsNull() {
			return a[2], nil
		}
		pos = int(a[2].Int())
	}
	if len(a) > 3 {
		if a[3].IsNull() {
			return a[3], nil
		}
		nth = int(a[3].Int())
	}
	if a[0].IsNull() || a[1].IsNull() {
		return connect.Int32(0), nil
	}
	s, part := []rune(a[0].Str()), []rune(a[1].Str())
	if pos == 0 || nth < 1 || max(pos, -pos) > len(s) {
		return connect.Int32(0), nil
	}
	at, step, end := pos-1, 1, len(s)
	if pos < 0 {
		end = len(s) + pos + 1
		at, step = end-len(part), -1
	}
	for ; at >= 0 && at+len(part) <= end; at += step {
		if slices.Equal(s[at:at+len(part)], part) {
			if nth--; nth == 0 || len(part) == 0 {
				return connect.Int32(int32(at + 1)), nil
			}
		}
	}
	return connect.Int32(0), nil
}
