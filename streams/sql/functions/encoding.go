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

// An encoding is a way to write bytes as text.
type encoding struct {
	decode func(s string) ([]byte, error)
	encode func(b []byte) string
}

var (
	errNoEncoding = errors.New("the encodings are hex, utf8, ascii and base64")
	errSameTwice  = errors.New("an encoding is encoded in another one")
)

// encodingOf returns the encoding of a name.
func encodingOf(name string) (encoding, error) {
	switch strings.ToLower(name) {
	case "hex":
		return encoding{hex.DecodeString, func(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }}, nil
	case "utf8":
		return encoding{func(s string) ([]byte, error) { return []byte(s), nil }, func(b []byte) string { return string([]rune(string(b))) }}, nil
	case "ascii":
		return encoding{func(s string) ([]byte, error) { return asciiBytes(s), nil }, asciiText}, nil
	case "base64":
		return encoding{decodeBase64, base64.StdEncoding.EncodeToString}, nil
	}
	return encoding{}, fmt.Errorf("%w: '%s' is none", errNoEncoding, name)
}

// asciiBytes writes a question mark for what is not ASCII, as Java does.
func asciiBytes(s string) []byte {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r >= utf8.RuneSelf {
			r = '?'
		}
		b = append(b, byte(r))
	}
	return b
}

// asciiText writes the replacement character for bytes that are not ASCII.
func asciiText(b []byte) string {
	out := make([]rune, len(b))
	for i, c := range b {
		if out[i] = rune(c); c >= utf8.RuneSelf {
			out[i] = utf8.RuneError
		}
	}
	return string(out)
}

// decodeBase64 reads base64 with or without its padding.
func decodeBase64(s string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
}

// encode is ENCODE. Its hex has small letters, and may be written 0x… or X'…' where it is read.
func encode(a []connect.Value) (connect.Value, error) {
	from, err := encodingOf(a[1].Str())
	if err != nil {
		return connect.Value{}, err
	}
	to, err := encodingOf(a[2].Str())
	if err != nil {
		return connect.Value{}, err
	}
	s := a[0].Str()
	switch names := [2]string{strings.ToLower(a[1].Str()), strings.ToLower(a[2].Str())}; {
	case names[0] == names[1]:
		return connect.Value{}, errSameTwice
	case names[0] == "hex":
		s = stripHex(s)
	case names[0] == "base64":
		s = plainBase64(s)
	}
	b, err := from.decode(s)
	if err != nil {
		return connect.Value{}, err
	}
	if strings.EqualFold(a[2].Str(), "hex") {
		return connect.String(hex.EncodeToString(b)), nil
	}
	return connect.String(to.encode(b)), nil
}

// stripHex takes away what marks hex in programs. Where 0x stands before an odd number of
// digits a zero is missing.
func stripHex(s string) string {
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		if len(digits)%2 == 1 {
			digits = "0" + digits
		}
		return digits
	}
	if len(s) >= 3 && s[0]|0x20 == 'x' && s[1] == '\'' && s[len(s)-1] == '\'' {
		return s[2 : len(s)-1]
	}
	return s
}

// plainBase64 leaves out what is not base64, and reads that of URLs too.
func plainBase64(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '-':
			return '+'
		case r == '_':
			return '/'
		case r == '+', r == '/', r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
			return r
		}
		return -1
	}, s)
}

func encodingFunctions() []Function {
	return []Function{
		{Name: "ENCODE", Category: stringCategory, Doc: "Text from one encoding (hex, utf8, ascii, base64) in another.", Examples: []Example{{"ENCODE('hello', 'ascii', 'hex')", `"68656c6c6f"`}, {"ENCODE('0x68', 'hex', 'base64')", `"aA=="`}},
			Variants: []Variant{{Params: params(String, String, String), Returns: of(String), Call: encode}}},
		{Name: "TO_BYTES", Category: stringCategory, Doc: "Text in an encoding (hex, utf8, ascii, base64) as bytes.", Examples: []Example{{"TO_BYTES('6869', 'hex')", `"aGk="`}},
			Variants: []Variant{{Params: params(String, String), Returns: of(Bytes), Call: func(a []connect.Value) (connect.Value, error) {
				enc, err := encodingOf(a[1].Str())
				if err != nil {
					return connect.Value{}, err
				}
				b, err := enc.decode(a[0].Str())
				return connect.Bytes(b), err
			}}}},
		{Name: "FROM_BYTES", Category: stringCategory, Doc: "Bytes as text in an encoding (hex, utf8, ascii, base64).", Examples: []Example{{"FROM_BYTES(TO_BYTES('hi', 'utf8'), 'hex')", `"6869"`}},
			Variants: []Variant{{Params: params(Bytes, String), Returns: of(String), Call: func(a []connect.Value) (connect.Value, error) {
				enc, err := encodingOf(a[1].Str())
				if err != nil {
					return connect.Value{}, err
				}
				return connect.String(enc.encode(a[0].Bytes())), nil
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
		if len(a) > 1 && strings.EqualFold(a[1].Str(), "LITTLE_ENDIAN") {
			for i := range wide {
				wide[i] = b[len(b)-1-i]
			}
		} else if len(a) > 1 && !strings.EqualFold(a[1].Str(), "BIG_ENDIAN") {
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
		for _, sign := range signs {
			if !sign.IsNull() && length(sign.Str()) != 1 {
				return connect.Value{}, fmt.Errorf("%s takes one character for each sort, not '%s'", name, sign.Str())
			}
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
