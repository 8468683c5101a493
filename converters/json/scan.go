package json

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits on what is read, so that a hostile record costs no more than its size.
const (
	maxDepth  = 500  // Of arrays and objects in one another.
	maxNumber = 1000 // Bytes of one number.
)

var (
	errEnvelope = errors.New(`schemas.enable asks for an object with the fields "schema" and "payload" and no others`)
	errDepth    = fmt.Errorf("arrays and objects stand in one another more than %d deep", maxDepth)
	errNumber   = fmt.Errorf("a number has more than %d characters", maxNumber)
)

// scanner walks over JSON text without building a tree of it. at is the next byte.
type scanner struct {
	data []byte
	at   int
}

// fault returns an error that names the place.
func (s *scanner) fault(what string) error {
	if s.at >= len(s.data) {
		return fmt.Errorf("it ends where %s should stand", what)
	}
	return fmt.Errorf("at byte %d stands %q, not %s", s.at, s.data[s.at], what)
}

// space passes over white space.
func (s *scanner) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// peek returns the next byte that is not white space, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

// take passes over c if it comes next.
func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// literal passes over a word such as null if it comes next.
func (s *scanner) literal(word string) bool {
	if s.peek() != word[0] || len(s.data)-s.at < len(word) || string(s.data[s.at:s.at+len(word)]) != word {
		return false
	}
	s.at += len(word)
	return true
}

// end checks that nothing follows.
func (s *scanner) end() error {
	if s.space(); s.at < len(s.data) {
		return s.fault("the end")
	}
	return nil
}

// object reads an object. visit is called before each value with its key, and reads
// the value.
func (s *scanner) object(visit func(key []byte) error) error {
	if !s.take('{') {
		return s.fault("an object")
	}
	for first := true; !s.take('}'); first = false {
		if !first && !s.take(',') {
			return s.fault("a comma or the object's end")
		}
		key, err := s.string()
		if err != nil {
			return err
		}
		if !s.take(':') {
			return s.fault("a colon")
		}
		if err := visit(key); err != nil {
			return err
		}
	}
	return nil
}

// array reads an array. visit reads an element.
func (s *scanner) array(visit func() error) error {
	if !s.take('[') {
		return s.fault("an array")
	}
	for first := true; !s.take(']'); first = false {
		if !first && !s.take(',') {
			return s.fault("a comma or the array's end")
		}
		if err := visit(); err != nil {
			return err
		}
	}
	return nil
}

// string reads a string. What it returns shares the text unless there are escapes.
func (s *scanner) string() ([]byte, error) {
	if !s.take('"') {
		return nil, s.fault("a string")
	}
	start, ascii := s.at, true
	for ; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; {
		case c == '"':
			b := s.data[start:s.at:s.at]
			if !ascii && !utf8.Valid(b) {
				return nil, fmt.Errorf("the string at byte %d is no UTF-8", start)
			}
			s.at++
			return b, nil
		case c == '\\':
			return s.escaped(start)
		case c < 0x20:
			return nil, s.fault("a character of a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, s.fault("the string's end")
}

// escaped reads the rest of a string with escapes into memory of its own.
func (s *scanner) escaped(start int) ([]byte, error) {
	out := append([]byte(nil), s.data[start:s.at]...)
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == '"':
			s.at++
			if !utf8.Valid(out) {
				return nil, fmt.Errorf("the string at byte %d is no UTF-8", start)
			}
			return out, nil
		case c == '\\':
			var err error
			if out, err = s.escape(out); err != nil {
				return nil, err
			}
		case c < 0x20:
			return nil, s.fault("a character of a string")
		default:
			out = append(out, c)
			s.at++
		}
	}
	return nil, s.fault("the string's end")
}

// escape reads one escape.
func (s *scanner) escape(out []byte) ([]byte, error) {
	if s.at++; s.at >= len(s.data) {
		return nil, s.fault("an escape")
	}
	c := s.data[s.at]
	s.at++
	switch c {
	case '"', '\\', '/':
		return append(out, c), nil
	case 'b':
		return append(out, '\b'), nil
	case 'f':
		return append(out, '\f'), nil
	case 'n':
		return append(out, '\n'), nil
	case 'r':
		return append(out, '\r'), nil
	case 't':
		return append(out, '\t'), nil
	case 'u':
		r, err := s.hex()
		if err != nil {
			return nil, err
		}
		if utf16.IsSurrogate(r) {
			r = s.surrogate(r)
		}
		return utf8.AppendRune(out, r), nil
	}
	s.at--
	return nil, s.fault("an escape")
}

// surrogate puts a surrogate together with its other half; one without is the
// replacement character.
func (s *scanner) surrogate(high rune) rune {
	if len(s.data)-s.at < 6 || s.data[s.at] != '\\' || s.data[s.at+1] != 'u' {
		return utf8.RuneError
	}
	back := s.at
	s.at += 2
	low, err := s.hex()
	if r := utf16.DecodeRune(high, low); err == nil && r != utf8.RuneError {
		return r
	}
	s.at = back
	return utf8.RuneError
}

// hex reads four hexadecimal digits.
func (s *scanner) hex() (rune, error) {
	if len(s.data)-s.at < 4 {
		return 0, s.fault("four hexadecimal digits")
	}
	n, err := strconv.ParseUint(string(s.data[s.at:s.at+4]), 16, 16)
	if err != nil {
		return 0, s.fault("four hexadecimal digits")
	}
	s.at += 4
	return rune(n), nil
}

// number reads a number and tells whether it has neither fraction nor exponent.
func (s *scanner) number() (text []byte, whole bool, err error) {
	s.space()
	start := s.at
	if s.at < len(s.data) && s.data[s.at] == '-' {
		s.at++
	}
	lead := s.at
	if s.digits() == 0 || s.data[lead] == '0' && s.at-lead > 1 {
		s.at = lead
		return nil, false, s.fault("a number")
	}
	whole = true
	if s.at < len(s.data) && s.data[s.at] == '.' {
		whole = false
		s.at++
		if s.digits() == 0 {
			return nil, false, s.fault("a digit")
		}
	}
	if s.at < len(s.data) && s.data[s.at]|0x20 == 'e' {
		whole = false
		s.at++
		if s.at < len(s.data) && (s.data[s.at] == '+' || s.data[s.at] == '-') {
			s.at++
		}
		if s.digits() == 0 {
			return nil, false, s.fault("a digit")
		}
	}
	if s.at-start > maxNumber {
		return nil, false, errNumber
	}
	return s.data[start:s.at], whole, nil
}

func (s *scanner) digits() int {
	start := s.at
	for s.at < len(s.data) && s.data[s.at]-'0' <= 9 {
		s.at++
	}
	return s.at - start
}

// skip passes over a value of any kind.
func (s *scanner) skip(depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	var err error
	switch s.peek() {
	case '{':
		return s.object(func([]byte) error { return s.skip(depth + 1) })
	case '[':
		return s.array(func() error { return s.skip(depth + 1) })
	case '"':
		_, err = s.string()
	case 't', 'f', 'n':
		if !s.literal("true") && !s.literal("false") && !s.literal("null") {
			err = s.fault("a value")
		}
	default:
		_, _, err = s.number()
	}
	return err
}

// text reads a string to keep.
func (s *scanner) text() (string, error) {
	b, err := s.string()
	return string(b), err
}

// textOrNull reads a string to keep, or null, which is empty.
func (s *scanner) textOrNull() (string, error) {
	if s.literal("null") {
		return "", nil
	}
	return s.text()
}

// splitEnvelope finds the two parts of {"schema":…,"payload":…}. What it returns
// has been checked to be JSON.
func splitEnvelope(data []byte) (schema, payload span, err error) {
	s := scanner{data: data}
	if s.peek() != '{' {
		return schema, payload, errEnvelope
	}
	err = s.object(func(key []byte) error {
		part := &schema
		if string(key) == "payload" {
			part = &payload
		} else if string(key) != "schema" {
			return errEnvelope
		}
		s.space()
		part.from = s.at
		err := s.skip(1)
		part.to = s.at
		return err
	})
	if err == nil {
		err = s.end()
	}
	if err == nil && (schema.to == 0 || payload.to == 0) {
		err = errEnvelope
	}
	return schema, payload, err
}
