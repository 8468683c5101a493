package functions

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tidemill/tidemill/connect"
)

// toBytes reads text in an encoding: hex, utf8, ascii or base64.
func toBytes(s, encoding string) ([]byte, error) {
	switch strings.ToLower(encoding) {
	case "hex":
		s = strings.TrimSuffix(strings.TrimPrefix(s, "X'"), "'")
		s = strings.TrimPrefix(strings.TrimPrefix(s, "0x"), "0X")
		if len(s)%2 == 1 {
			s = "0" + s
		}
		return hex.DecodeString(s)
	case "utf8", "ascii":
		return []byte(s), nil
	case "base64":
		return base64.StdEncoding.DecodeString(s)
	}
	return nil, fmt.Errorf("the encoding '%s' is none of hex, utf8, ascii, base64", encoding)
}

// fromBytes writes bytes as text in an encoding.
func fromBytes(b []byte, encoding string) (string, error) {
	switch strings.ToLower(encoding) {
	case "hex":
		return strings.ToUpper(hex.EncodeToString(b)), nil
	case "utf8":
		if !utf8.Valid(b) {
			return "", errors.New("the bytes are not UTF-8")
		}
		return string(b), nil
	case "ascii":
		for _, c := range b {
			if c >= 0x80 {
				return "", errors.New("the bytes are not ASCII")
			}
		}
		return string(b), nil
	case "base64":
		return base64.StdEncoding.EncodeToString(b), nil
	}
	return "", fmt.Errorf("the encoding '%s' is none of hex, utf8, ascii, base64", encoding)
}

func encodingFunctions() []Function {
	return []Function{
		{Name: "ENCODE", Category: stringCategory, Doc: "Text from one encoding (hex, utf8, ascii, base64) in another.", Examples: []Example{{"ENCODE('hello', 'ascii', 'hex')", `"68656C6C6F"`}, {"ENCODE('0x68', 'hex', 'base64')", `"aA=="`}},
			Variants: []Variant{{Params: params(String, String, String), Returns: of(String), Call: func(a []connect.Value) (connect.Value, error) {
				b, err := toBytes(a[0].Str(), a[1].Str())
				if err != nil {
					return connect.Value{}, err
				}
				s, err := fromBytes(b, a[2].Str())
				return connect.String(s), err
			}}}},
		{Name: "TO_BYTES", Category: stringCategory, Doc: "Text in an encoding (hex, utf8, ascii, base64) as bytes.", Examples: []Example{{"TO_BYTES('6869', 'hex')", `"aGk="`}},
			Variants: []Variant{{Params: params(String, String), Returns: of(Bytes), Call: func(a []connect.Value) (connect.Value, error) {
				b, err := toBytes(a[0].Str(), a[1].Str())
				return connect.Bytes(b), err
			}}}},
		{Name: "FROM_BYTES", Category: stringCategory, Doc: "Bytes as text in an encoding (hex, utf8, ascii, base64).", Examples: []Example{{"FROM_BYTES(TO_BYTES('hi', 'utf8'), 'hex')", `"6869"`}},
			Variants: []Variant{{Params: params(Bytes, String), Returns: of(String), Call: func(a []connect.Value) (connect.Value, error) {
				s, err := fromBytes(a[0].Bytes(), a[1].Str())
				return connect.String(s), err
			}}}},
		oneString("MD5", "The MD5 sum of a string's UTF-8 bytes, in hex.", func(s string) string {
			sum := md5.Sum([]byte(s))
			return hex.EncodeToString(sum[:])
		}, Example{"MD5('hello')", `"5d41402abc4b2a76b9719d911017c592"`}),
		{Name: "UUID", Category: stringCategory, Doc: "A new random UUID, or the UUID of sixteen bytes.", Examples: []Example{{"UUID(TO_BYTES('000102030405060708090a0b0c0d0e0f', 'hex'))", `"00010203-0405-0607-0809-0a0b0c0d0e0f"`}, {"LEN(UUID())", "36"}},
			Variants: []Variant{
				{Returns: of(String), Call: func([]connect.Value) (connect.Value, error) { return connect.String(randomUUID()), nil }},
				{Params: params(Bytes), Returns: of(String), Call: func(a []connect.Value) (connect.Value, error) {
					if a[0].Len() != 16 {
						return connect.Value{}, nil
					}
					return connect.String(uuidText([16]byte(a[0].Bytes()))), nil
				}}}},
		number("BIGINT_FROM_BYTES", Bigint, 8, func(u uint64) connect.Value { return connect.Int64(int64(u)) }, Example{"BIGINT_FROM_BYTES(TO_BYTES('000000000000000F', 'hex'))", "15"}),
		number("INT_FROM_BYTES", Int, 4, func(u uint64) connect.Value { return connect.Int32(int32(uint32(u))) }, Example{"INT_FROM_BYTES(TO_BYTES('0F000000', 'hex'), 'LITTLE_ENDIAN')", "15"}),
		number("DOUBLE_FROM_BYTES", Double, 8, func(u uint64) connect.Value { return connect.Float64(math.Float64frombits(u)) }, Example{"DOUBLE_FROM_BYTES(TO_BYTES('4000000000000000', 'hex'))", "2.0"}),
	}
}

func randomUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // It never fails: the program ends before it would.
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return uuidText(b)
}

func uuidText(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// number makes a function that reads bytes as a number, big-endian unless told
// otherwise.
func number(name string, k Kind, size int, make func(uint64) connect.Value, examples ...Example) Function {
	call := func(a []connect.Value) (connect.Value, error) {
		b := a[0].Bytes()
		if len(b) != size {
			return connect.Value{}, fmt.Errorf("%s takes %d bytes, not %d", name, size, len(b))
		}
		wide := append([]byte(nil), b...)
		if len(a) > 1 && a[1].Str() == "LITTLE_ENDIAN" {
			for i := range wide {
				wide[i] = b[len(b)-1-i]
			}
		} else if len(a) > 1 && a[1].Str() != "BIG_ENDIAN" {
			return connect.Value{}, fmt.Errorf("the order of bytes is BIG_ENDIAN or LITTLE_ENDIAN, not '%s'", a[1].Str())
		}
		if size == 4 {
			return make(uint64(binary.BigEndian.Uint32(wide))), nil
		}
		return make(binary.BigEndian.Uint64(wide)), nil
	}
	return Function{Name: name, Category: "CONVERSIONS", Doc: fmt.Sprintf("The %s that %d bytes are, in BIG_ENDIAN order unless LITTLE_ENDIAN is given.", k, size), Examples: examples,
		Variants: []Variant{{Params: params(Bytes), Returns: of(k), Call: call}, {Params: params(Bytes, String), Returns: of(k), Call: call}}}
}

// masking makes a MASK function: which says how many characters from the left and
// from the right, or else from neither, are masked (or with keep left alone).
func masking(name, doc string, span func(n, length int) (from, to int), counted bool, examples ...Example) Function {
	call := func(a []connect.Value) (connect.Value, error) {
		s := []rune(a[0].Str())
		n, signs := 0, a[1:]
		if counted {
			if n = int(a[1].Int()); n < 0 {
				return connect.Value{}, fmt.Errorf("%s takes a number of characters that is not negative", name)
			}
			signs = a[2:]
		}
		from, to := span(min(n, len(s)), len(s))
		for i := from; i < to; i++ {
			s[i] = masked(s[i], signs)
		}
		return connect.String(string(s)), nil
	}
	base := params(String)
	if counted {
		base = params(String, Int)
	}
	long := append(append([]Type{}, base...), params(String, String, String, String)...)
	return Function{Name: name, Category: stringCategory, Doc: doc, Examples: examples, Variants: []Variant{
		{Params: base, Returns: of(String), Call: call},
		{Params: long, Returns: of(String), Nulls: true, Call: func(a []connect.Value) (connect.Value, error) {
			if a[0].IsNull() || counted && a[1].IsNull() {
				return connect.Value{}, nil
			}
			return call(a)
		}}}}
}

// masked replaces a character by the sign for its sort: upper case, lower case,
// digit or other. A null sign leaves the sort alone.
func masked(r rune, signs []connect.Value) rune {
	defaults := [4]rune{'X', 'x', 'n', '-'}
	sort := 3
	switch {
	case unicode.IsUpper(r):
		sort = 0
	case unicode.IsLower(r):
		sort = 1
	case unicode.IsDigit(r):
		sort = 2
	}
	if len(signs) == 0 {
		return defaults[sort]
	}
	if signs[sort].IsNull() {
		return r
	}
	for _, sign := range signs[sort].Str() {
		return sign
	}
	return r
}

func maskFunctions() []Function {
	return []Function{
		masking("MASK", "The string with each character replaced by X, x, n or - for its sort, or by the four signs given.", func(_, l int) (int, int) { return 0, l }, false,
			Example{"MASK('My Test $123')", `"Xx-Xxxx--nnn"`}, Example{"MASK('My Test $123', '*', NULL, '1', NULL)", `"*y *est $111"`}),
		masking("MASK_LEFT", "The string with its first characters masked.", func(n, _ int) (int, int) { return 0, n }, true, Example{"MASK_LEFT('My Test $123', 4)", `"Xx-Xest $123"`}),
		masking("MASK_RIGHT", "The string with its last characters masked.", func(n, l int) (int, int) { return l - n, l }, true, Example{"MASK_RIGHT('My Test $123', 4)", `"My Test -nnn"`}),
		masking("MASK_KEEP_LEFT", "The string with all but its first characters masked.", func(n, l int) (int, int) { return n, l }, true, Example{"MASK_KEEP_LEFT('My Test $123', 4)", `"My Txxx--nnn"`}),
		masking("MASK_KEEP_RIGHT", "The string with all but its last characters masked.", func(n, l int) (int, int) { return 0, l - n }, true, Example{"MASK_KEEP_RIGHT('My Test $123', 4)", `"Xx-Xxxx-$123"`}),
	}
}
