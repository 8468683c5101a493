package raw

import (
	"unicode/utf8"

	"github.com/tidemill/tidemill/connect"
)

// SimpleHeaders converts headers to text and back. Reading guesses the type from
// the text: null, booleans, the smallest integer that fits, floats, decimals, ISO
// 8601 dates and times, arrays and maps of these in the form of JSON; all else is a
// string. Text that is no UTF-8 is bytes.
type SimpleHeaders struct{}

// Configure implements [connect.HeaderConverter].
func (SimpleHeaders) Configure(config connect.Config) error {
	_, err := plainConfig().Parse(config)
	return err
}

// FromConnectHeader implements [connect.HeaderConverter].
func (SimpleHeaders) FromConnectHeader(dst []byte, _ string, h connect.Header) ([]byte, error) {
	if h.Value.IsNull() {
		return nil, nil
	}
	if h.Value.Kind() == connect.KindString {
		return append(dst, h.Value.Str()...), nil
	}
	return appendSimple(dst, h.Schema, h.Value), nil
}

// ToConnectHeader implements [connect.HeaderConverter].
func (SimpleHeaders) ToConnectHeader(_, key string, data []byte) (connect.Header, error) {
	switch {
	case data == nil:
		return connect.Header{Key: key}, nil
	case !utf8.Valid(data):
		return connect.Header{Key: key, Schema: connect.Of(connect.KindBytes), Value: connect.Bytes(data)}, nil
	}
	s, v := parseSimple(string(data))
	return connect.Header{Key: key, Schema: s, Value: v}, nil
}

// Close implements [connect.HeaderConverter].
func (SimpleHeaders) Close() error { return nil }

// appendSimple appends v as it stands inside another value: strings in quotes.
func appendSimple(dst []byte, s *connect.Schema, v connect.Value) []byte {
	switch v.Kind() {
	case connect.KindString:
		return appendQuoted(dst, v.Str())
	case connect.KindArray:
		dst = append(dst, '[')
		for i, e := range v.Array() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendNested(dst, elemOf(s), e)
		}
		return append(dst, ']')
	case connect.KindMap:
		dst = append(dst, '{')
		for i, e := range v.Map() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendNested(dst, keyOf(s), e.Key), ':')
			dst = appendNested(dst, elemOf(s), e.Value)
		}
		return append(dst, '}')
	case connect.KindStruct:
		dst = append(dst, '{')
		for i, f := range v.Struct().Schema().Fields() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendQuoted(dst, f.Name), ':')
			dst = appendNested(dst, f.Schema, v.Struct().Get(f.Name))
		}
		return append(dst, '}')
	}
	return appendScalar(dst, s, v)
}

// appendNested is appendSimple inside an array, map or struct, where bytes, dates
// and times stand in quotes too.
func appendNested(dst []byte, s *connect.Schema, v connect.Value) []byte {
	if !quoted(s, v) {
		return appendSimple(dst, s, v)
	}
	dst = append(dst, '"')
	return append(appendScalar(dst, s, v), '"')
}

func quoted(s *connect.Schema, v connect.Value) bool {
	if v.Kind() == connect.KindBytes {
		_, decimal := s.DecimalScale()
		return !decimal
	}
	if s == nil || !v.IsInt() {
		return false
	}
	return s.Name() == connect.LogicalDate || s.Name() == connect.LogicalTime || s.Name() == connect.LogicalTimestamp
}

func appendQuoted(dst []byte, text string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(text); i++ {
		if text[i] == '"' || text[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, text[i])
	}
	return append(dst, '"')
}
