package avro

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// defaultText returns a default as the JSON that Avro's specification asks for:
// bytes as the characters of ISO-8859-1. It is false for what JSON cannot write.
func (m mapping) defaultText(s *connect.Schema, v connect.Value) (json.RawMessage, bool) {
	d := defaultWriter{mapping: m, ok: true}
	text := d.append(nil, s, v)
	return text, d.ok
}

type defaultWriter struct {
	mapping
	ok bool
}

func (d *defaultWriter) append(dst []byte, s *connect.Schema, v connect.Value) []byte {
	switch v.Kind() {
	case connect.KindFloat32, connect.KindFloat64:
		if math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0) {
			d.ok = false
		}
		bits := 64
		if v.Kind() == connect.KindFloat32 {
			bits = 32
		}
		return connect.AppendFloat(dst, v.Float(), bits)
	case connect.KindString:
		return quote(dst, v.Str())
	case connect.KindBytes:
		text := make([]rune, 0, v.Len())
		for _, b := range v.Bytes() {
			text = append(text, rune(b))
		}
		return quote(dst, string(text))
	case connect.KindArray:
		dst = append(dst, '[')
		for i, e := range v.Array() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = d.append(dst, s.Elem(), e)
		}
		return append(dst, ']')
	case connect.KindMap:
		return d.entries(dst, s, v.Map())
	case connect.KindStruct:
		dst = append(dst, '{')
		for i, f := range s.Fields() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(quote(dst, f.Name), ':')
			dst = d.append(dst, f.Schema, v.Struct().Get(f.Name))
		}
		return append(dst, '}')
	}
	return connect.AppendJSON(dst, nil, v)
}

func (d *defaultWriter) entries(dst []byte, s *connect.Schema, entries []connect.MapEntry) []byte {
	open, shut := byte('['), byte(']')
	plain := d.plainMap(s)
	if plain {
		open, shut = '{', '}'
	}
	dst = append(dst, open)
	for i, e := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		if plain {
			dst = append(quote(dst, e.Key.Str()), ':')
			dst = d.append(dst, s.Elem(), e.Value)
			continue
		}
		dst = append(d.append(append(dst, '['), s.Key(), e.Key), ',')
		dst = append(d.append(dst, s.Elem(), e.Value), ']')
	}
	return append(dst, shut)
}

var errNoDefault = errors.New("the default does not fit its type")

// defaultValue reads a default of a schema from its JSON.
func defaultValue(s *connect.Schema, raw json.RawMessage) (connect.Value, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return connect.Value{}, err
	}
	return valueOf(s, v)
}

func valueOf(s *connect.Schema, v any) (connect.Value, error) {
	switch v := v.(type) {
	case nil:
		return connect.Value{}, nil
	case bool:
		if s.Kind() == connect.KindBool {
			return connect.Bool(v), nil
		}
	case json.Number:
		return numberOf(s.Kind(), v)
	case string:
		switch s.Kind() {
		case connect.KindString:
			return connect.String(v), nil
		case connect.KindBytes:
			return latin1(v)
		}
	case []any:
		return listOf(s, v)
	case map[string]any:
		if s.Kind() == connect.KindMap && s.Key().Kind() == connect.KindString {
			return mapOf(s, v)
		}
		if s.Kind() == connect.KindStruct {
			return rowOf(s, v)
		}
	}
	return connect.Value{}, errNoDefault
}

func numberOf(k connect.Kind, n json.Number) (connect.Value, error) {
	switch {
	case k <= connect.KindInt64:
		i, err := strconv.ParseInt(string(n), 10, 64)
		if err != nil || connect.IntOf(k, i).Int() != i {
			return connect.Value{}, errNoDefault
		}
		return connect.IntOf(k, i), nil
	case k == connect.KindFloat32:
		f, err := strconv.ParseFloat(string(n), 32)
		return connect.Float32(float32(f)), err
	case k == connect.KindFloat64:
		f, err := strconv.ParseFloat(string(n), 64)
		return connect.Float64(f), err
	}
	return connect.Value{}, errNoDefault
}

func latin1(text string) (connect.Value, error) {
	b := make([]byte, 0, len(text))
	for _, r := range text {
		if r > 0xff {
			return connect.Value{}, errNoDefault
		}
		b = append(b, byte(r))
	}
	return connect.Bytes(b), nil
}

func listOf(s *connect.Schema, list []any) (connect.Value, error) {
	if s.Kind() == connect.KindMap {
		return pairsOf(s, list)
	}
	if s.Kind() != connect.KindArray {
		return connect.Value{}, errNoDefault
	}
	elems := make([]connect.Value, len(list))
	for i, e := range list {
		var err error
		if elems[i], err = valueOf(s.Elem(), e); err != nil {
			return connect.Value{}, err
		}
	}
	return connect.Array(elems), nil
}

func pairsOf(s *connect.Schema, list []any) (connect.Value, error) {
	entries := make([]connect.MapEntry, len(list))
	for i, e := range list {
		pair, ok := e.([]any)
		if !ok || len(pair) != 2 {
			return connect.Value{}, errNoDefault
		}
		var err, err2 error
		entries[i].Key, err = valueOf(s.Key(), pair[0])
		entries[i].Value, err2 = valueOf(s.Elem(), pair[1])
		if err := errors.Join(err, err2); err != nil {
			return connect.Value{}, err
		}
	}
	return connect.Map(entries), nil
}

// mapOf puts the entries in the order of their keys, since JSON has none.
func mapOf(s *connect.Schema, m map[string]any) (connect.Value, error) {
	entries := make([]connect.MapEntry, 0, len(m))
	for _, k := range sortedKeys(m) {
		v, err := valueOf(s.Elem(), m[k])
		if err != nil {
			return connect.Value{}, fmt.Errorf("entry %q: %w", k, err)
		}
		entries = append(entries, connect.MapEntry{Key: connect.String(k), Value: v})
	}
	return connect.Map(entries), nil
}

// rowOf reads a struct; a field that is not there has its own default.
func rowOf(s *connect.Schema, m map[string]any) (connect.Value, error) {
	st := s.NewStruct()
	for i, f := range s.Fields() {
		st.Set(i, f.Schema.Default())
		part, ok := m[f.Name]
		if !ok {
			continue
		}
		v, err := valueOf(f.Schema, part)
		if err != nil {
			return connect.Value{}, fmt.Errorf("field %s: %w", f.Name, err)
		}
		st.Set(i, v)
	}
	return connect.StructValue(st), nil
}
