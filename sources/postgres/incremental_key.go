package postgres

import (
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/tidemill/tidemill/connect"
)

// rowKeys makes keys by which a row that was read and one that was streamed are found
// to be the same: the values of the columns that the log has of every change, in a form
// that does not depend on whether they came as text or in binary form, and that loses
// nothing, whatever the settings make of values. It belongs to one goroutine.
type rowKeys struct {
	columns []int
	codecs  []codec
	scratch arena
	buf     []byte
}

// exactModes are handling modes in which no two values become one.
func exactModes() *modes {
	same := func(s string) string { return s }
	return &modes{decimals: decimalsString, times: timesAdaptiveMicros, intervalText: true, unknown: true, schemaName: same, fieldName: same}
}

// newRowKeys prepares the keys of a relation's rows. types has exactModes.
func newRowKeys(r *relation, match []string, types *typeTable) (*rowKeys, error) {
	k := &rowKeys{}
	for _, name := range match {
		i := r.index(name)
		if i < 0 {
			return nil, errNoColumn
		}
		cd, err := types.compile(r.columns[i].typ, r.columns[i].mod, 0)
		if err != nil && !errors.Is(err, errUnknownType) {
			return nil, err
		}
		k.columns, k.codecs = append(k.columns, i), append(k.codecs, cd)
	}
	return k, nil
}

var errNoColumn = errors.New("a column that rows are matched by is not there any more")

// of returns the key of a row, whose unchanged columns are taken from old.
func (k *rowKeys) of(t, old tuple) string {
	const much = 1 << 16
	if k.scratch.size > much {
		k.scratch = arena{}
	}
	b := k.buf[:0]
	for n, i := range k.columns {
		raw := rawColumn{kind: columnNull}
		if i < len(t) {
			raw = t[i]
		}
		if raw.kind == columnUnchanged && i < len(old) {
			raw = old[i]
		}
		from := len(b)
		b = append(b, 0, 0, 0, 0)
		if raw.held() {
			b = k.value(b, n, raw)
		} else {
			b = append(b, columnNull)
		}
		binary.BigEndian.PutUint32(b[from:], uint32(len(b)-from))
	}
	k.buf = b
	return string(b)
}

func (k *rowKeys) value(b []byte, n int, raw rawColumn) []byte {
	read := k.codecs[n].decode
	if raw.kind == columnBinary {
		read = k.codecs[n].binary
	}
	if read != nil {
		if v, err := read(&k.scratch, raw.data); err == nil && !v.IsNull() {
			return connect.AppendJSON(b, nil, v)
		}
	}
	return append(append(b, raw.kind), raw.data...)
}

// keyText is a key as SQL can be given it: for each column t and its text, or b and
// its binary form in base64.
func (k *rowKeys) keyText(t, old tuple) []string {
	list := make([]string, len(k.columns))
	for n, i := range k.columns {
		raw := t[i]
		if raw.kind == columnUnchanged && i < len(old) {
			raw = old[i]
		}
		switch raw.kind {
		case columnText:
			list[n] = "t" + string(raw.data)
		case columnBinary:
			list[n] = "b" + base64.StdEncoding.EncodeToString(raw.data)
		}
	}
	return list
}
