package transforms

import (
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// side is the part of a record that a transform works on.
type side bool

const (
	onValue side = false
	onKey   side = true
)

// of returns the side's schema and value.
func (k side) of(r *connect.Record) (*connect.Schema, connect.Value) {
	if k == onKey {
		return r.KeySchema, r.Key
	}
	return r.ValueSchema, r.Value
}

// set replaces the side's schema and value.
func (k side) set(r *connect.Record, s *connect.Schema, v connect.Value) {
	if k == onKey {
		r.KeySchema, r.Key = s, v
		return
	}
	r.ValueSchema, r.Value = s, v
}

// base is what transforms without anything to release embed.
type base struct{}

// Close implements connect.Transform.
func (base) Close() error { return nil }

// bad returns the error for a record that a transform cannot deal with.
func bad(transform, format string, args ...any) error {
	return &connect.Error{Code: "transform." + transform, Class: connect.ClassRecord, Message: fmt.Sprintf(format, args...)}
}

// wrongSetting returns the error for a setting that cannot be understood.
func wrongSetting(name, format string, args ...any) error {
	return connect.ConfigError(name, format, args...)
}

// structOf returns v as a struct, or an error that says what it is instead.
func structOf(transform string, s *connect.Schema, v connect.Value) (*connect.Struct, error) {
	if v.Kind() != connect.KindStruct {
		return nil, bad(transform, "only structs can be dealt with; this is %s holding %s", s, v.Kind())
	}
	return v.Struct(), nil
}

// entriesOf returns v, which has no schema, as the entries of a map.
func entriesOf(transform string, v connect.Value) ([]connect.MapEntry, error) {
	if v.Kind() != connect.KindMap {
		return nil, bad(transform, "without a schema only maps can be dealt with; this is %s", v.Kind())
	}
	return v.Map(), nil
}

// lookup returns the value of a key among entries, and whether it is there.
func lookup(entries []connect.MapEntry, key string) (connect.Value, bool) {
	for _, e := range entries {
		if e.Key.Kind() == connect.KindString && e.Key.Str() == key {
			return e.Value, true
		}
	}
	return connect.Value{}, false
}

// put returns entries with key set to v, in a new slice.
func put(entries []connect.MapEntry, key string, v connect.Value) []connect.MapEntry {
	out := make([]connect.MapEntry, 0, len(entries)+1)
	found := false
	for _, e := range entries {
		if e.Key.Kind() == connect.KindString && e.Key.Str() == key {
			e.Value, found = v, true
		}
		out = append(out, e)
	}
	if !found {
		out = append(out, connect.MapEntry{Key: connect.String(key), Value: v})
	}
	return out
}

// field returns the value of a struct's field; a null is its default if asked for.
func field(st *connect.Struct, i int, withDefault bool) connect.Value {
	v := st.At(i)
	if v.IsNull() && withDefault {
		return st.Schema().Fields()[i].Schema.Default()
	}
	return v
}

// derive returns a struct schema with other fields and everything else as it was.
func derive(s *connect.Schema, fields []connect.Field) (*connect.Schema, error) {
	d := s.Def()
	d.Fields = fields
	d.Default = connect.Value{}
	return d.Build()
}

// replaceNull is the setting that most transforms share.
func replaceNull() connect.ConfigKey {
	return connect.ConfigKey{
		Name: "replace.null.with.default", Type: connect.TypeBoolean, Default: "true", Importance: connect.Medium,
		Doc: "Whether a null is replaced with the default of its field, if it has one.",
	}
}
