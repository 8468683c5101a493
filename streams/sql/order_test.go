package sql

import (
	"bytes"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// keyTypes are types that keys are drawn from.
func keyTypes() []functions.Type {
	plain := []functions.Type{{Kind: functions.Boolean}, {Kind: functions.Int}, bigint, {Kind: functions.Double}, functions.DecimalOf(30, 3),
		{Kind: functions.String}, {Kind: functions.Bytes}, {Kind: functions.Date}, {Kind: functions.Timestamp}}
	pair := functions.Type{Kind: functions.Struct, Fields: []functions.Field{{Name: "A", Type: plain[5]}, {Name: "B", Type: plain[1]}}}
	return append(plain, pair, functions.ArrayOf(plain[5]), functions.ArrayOf(plain[1]))
}

// drawValue draws a value of a type, null now and then.
func drawValue(t *rapid.T, typ functions.Type) connect.Value {
	if rapid.IntRange(0, 9).Draw(t, "null") == 0 {
		return null
	}
	switch typ.Kind {
	case functions.Boolean:
		return connect.Bool(rapid.Bool().Draw(t, "bool"))
	case functions.Double:
		return connect.Float64(rapid.Float64Range(-1e9, 1e9).Draw(t, "double") + 0)
	case functions.Decimal:
		n := big.NewInt(rapid.Int64().Draw(t, "unscaled"))
		return connect.Bytes(connect.AppendUnscaled(nil, n.Mul(n, big.NewInt(rapid.Int64Range(1, 1e9).Draw(t, "factor")))))
	case functions.String:
		return connect.String(rapid.StringOf(rapid.RuneFrom([]rune{0, 1, 'a', 'b', 0xff, 'é'})).Draw(t, "string"))
	case functions.Bytes:
		return connect.Bytes(rapid.SliceOf(rapid.SampledFrom([]byte{0, 1, 2, 0xff})).Draw(t, "bytes"))
	case functions.Array:
		elems := make([]connect.Value, rapid.IntRange(0, 3).Draw(t, "length"))
		for i := range elems {
			elems[i] = drawValue(t, *typ.Elem)
		}
		return connect.Array(elems)
	case functions.Struct:
		schema, err := typ.Schema()
		if err != nil {
			t.Fatal(err)
		}
		out := schema.NewStruct()
		for i, f := range typ.Fields {
			out.Set(i, drawValue(t, f.Type))
		}
		return connect.StructValue(out)
	}
	return connect.IntOf(carrier(typ), rapid.Int64().Draw(t, "int"))
}

// TestOrderedKeys writes pairs of keys, reads them back, and finds their bytes in
// the order of their values.
func TestOrderedKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := make([]column, rapid.IntRange(1, 3).Draw(t, "columns"))
		row := functions.Type{Kind: functions.Struct}
		for i := range columns {
			columns[i] = column{name: numbered("C", i), typ: rapid.SampledFrom(keyTypes()).Draw(t, "type")}
			row.Fields = append(row.Fields, functions.Field{Name: columns[i].name, Type: columns[i].typ})
		}
		keys, err := newOrderedKey(columns)
		if err != nil {
			t.Fatal(err)
		}
		var raw [2][]byte
		var values [2]connect.Value
		for i := range raw {
			out := keys.schema.NewStruct()
			for c := range columns {
				out.Set(c, drawValue(t, columns[c].typ))
			}
			values[i] = connect.StructValue(out)
			if raw[i], err = keys.Append(nil, values[i]); err != nil {
				t.Fatal(err)
			}
			back, err := keys.Decode(raw[i])
			if err != nil || functions.Compare(row, back, values[i]) != 0 {
				t.Fatalf("%v reads back as %v (%v)", values[i], back, err)
			}
		}
		if got, want := bytes.Compare(raw[0], raw[1]), functions.Compare(row, values[0], values[1]); got != want && !(got*want > 0) {
			t.Fatalf("%v and %v: bytes %d, values %d", values[0], values[1], got, want)
		}
	})
}

// FuzzOrderedKey looks for bytes that make reading a key panic, or that read as a
// key which is written otherwise.
func FuzzOrderedKey(f *testing.F) {
	var columns []column
	for i, typ := range keyTypes() {
		columns = append(columns, column{name: numbered("C", i), typ: typ})
	}
	keys, err := newOrderedKey(columns)
	if err != nil {
		f.Fatal(err)
	}
	empty, err := keys.Append(nil, connect.StructValue(keys.schema.NewStruct()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(empty)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := keys.Decode(b)
		if err != nil {
			return
		}
		again, err := keys.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		back, err := keys.Decode(again)
		if err != nil || !back.Equal(v) {
			t.Fatalf("%v reads back as %v (%v)", v, back, err)
		}
	})
}
