package raw

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/tidemill/tidemill/connect"
)

var (
	errNotText   = errors.New("these bytes are no UTF-8")
	errNotLatin1 = errors.New("a character is not in ISO-8859-1")
	errNotASCII  = errors.New("a character is not in US-ASCII")
)

// Text converts strings to and from their bytes in one encoding. A value that is no
// string is written as Java's toString would print it, save that bytes become
// base64 and dates and times ISO 8601, for Java's own forms of these say nothing.
type Text struct {
	// limit is the number of characters of a single-byte encoding; 0 is UTF-8.
	limit  rune
	schema *connect.Schema
}

func textConfig() *connect.ConfigDef {
	def := plainConfig()
	return connect.NewConfigDef(append(def.Keys(), connect.ConfigKey{
		Name: "converter.encoding", Default: "UTF-8", Importance: connect.High,
		Check: connect.OneOf("UTF-8", "UTF8", "ISO-8859-1", "ISO8859_1", "US-ASCII", "ASCII"),
		Doc:   "The encoding of the text, by the name Java gives it.",
	})...).OpenTo(foreign)
}

// Configure implements [connect.Converter].
func (t *Text) Configure(config connect.Config, _ bool) error {
	settings, err := textConfig().Parse(config)
	if err != nil {
		return err
	}
	switch name := strings.ToUpper(settings.String("converter.encoding")); {
	case strings.HasPrefix(name, "ISO"):
		t.limit = 256
	case strings.HasSuffix(name, "ASCII"):
		t.limit = 128
	}
	t.schema = connect.Of(connect.KindString).AsOptional()
	return nil
}

// FromConnect implements [connect.Converter].
func (t *Text) FromConnect(_ context.Context, dst []byte, topic string, s *connect.Schema, v connect.Value) ([]byte, error) {
	if v.IsNull() {
		return nil, nil
	}
	if v.Kind() == connect.KindString && t.limit == 0 {
		return append(dst, v.Str()...), nil
	}
	if t.limit == 0 {
		return appendPrinted(dst, s, v), nil
	}
	text := appendPrinted(nil, s, v)
	for _, r := range string(text) {
		if r >= t.limit {
			cause := errNotLatin1
			if t.limit == 128 {
				cause = errNotASCII
			}
			return nil, recordError(topic, "the text cannot be written in the converter.encoding", cause)
		}
		dst = append(dst, byte(r))
	}
	return dst, nil
}

// ToConnect implements [connect.Converter]. The string shares data. Bytes that the
// encoding does not have are an error of ClassRecord.
func (t *Text) ToConnect(_ context.Context, topic string, data []byte) (*connect.Schema, connect.Value, error) {
	if data == nil {
		return nil, connect.Value{}, nil
	}
	if t.limit == 0 {
		if !utf8.Valid(data) {
			return nil, connect.Value{}, recordError(topic, "the text cannot be read in the converter.encoding", errNotText)
		}
		return t.schema, connect.StringBytes(data), nil
	}
	var b strings.Builder
	for _, c := range data {
		if rune(c) >= t.limit {
			return nil, connect.Value{}, recordError(topic, "the text cannot be read in the converter.encoding", errNotASCII)
		}
		b.WriteRune(rune(c))
	}
	return t.schema, connect.String(b.String()), nil
}

// Close implements [connect.Converter].
func (t *Text) Close() error { return nil }

// appendPrinted appends v as Java's toString prints it.
func appendPrinted(dst []byte, s *connect.Schema, v connect.Value) []byte {
	switch v.Kind() {
	case connect.KindString:
		return append(dst, v.Str()...)
	case connect.KindArray:
		dst = append(dst, '[')
		for i, e := range v.Array() {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendPrinted(dst, elemOf(s), e)
		}
		return append(dst, ']')
	case connect.KindMap:
		dst = append(dst, '{')
		for i, e := range v.Map() {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = append(appendPrinted(dst, keyOf(s), e.Key), '=')
			dst = appendPrinted(dst, elemOf(s), e.Value)
		}
		return append(dst, '}')
	case connect.KindStruct:
		return appendPrintedStruct(dst, v.Struct())
	}
	return appendScalar(dst, s, v)
}

// appendPrintedStruct leaves absent fields out, as Java does.
func appendPrintedStruct(dst []byte, st *connect.Struct) []byte {
	dst = append(dst, "Struct{"...)
	first := true
	for i, f := range st.Schema().Fields() {
		if st.At(i).IsNull() {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(append(dst, f.Name...), '=')
		dst = appendPrinted(dst, f.Schema, st.At(i))
	}
	return append(dst, '}')
}
