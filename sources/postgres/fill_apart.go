package postgres

import "github.com/tidemill/tidemill/connect"

// apartness tells which values of a column the server may store apart from their row
// (TOAST), so that the log does not repeat one that an update leaves alone.
type apartness byte

const (
	apartNever apartness = iota // Values of fixed length, always in the row.
	apartLong                   // Texts and bytes, whose size we see.
	apartEver                   // Values whose size on the disk cannot be told from ours.
)

// apartBeyond is how long a text is at least that is stored apart, in bytes. The server
// moves what is longer than the reference it leaves in the row, which takes 24 bytes with
// its padding (TOAST_POINTER_SIZE); a text may be shorter in its encoding than in ours.
const apartBeyond = 12

// mayBeApart tells whether the value that a row has in a column may be stored apart. A
// masked value says nothing of the size of the one behind it.
func (c *columnPlan) mayBeApart(row *connect.Struct) bool {
	if c.field < 0 || c.apart == apartNever {
		return false
	}
	v := row.At(c.field)
	if v.IsNull() {
		return c.masked
	}
	return c.apart == apartEver || c.masked || v.Kind() != connect.KindString && v.Kind() != connect.KindBytes || v.Len() > apartBeyond
}

// apartness returns that of a type.
func (t *typeTable) apartness(oid uint32) (apartness, error) {
	info, err := t.info(oid)
	for err == nil && info != nil && info.kind == 'd' {
		info, err = t.info(info.base)
	}
	if err != nil || info == nil {
		return apartEver, err
	}
	if info.kind == 'e' {
		return apartNever, nil
	}
	if !info.builtin() || info.array {
		return apartEver, nil
	}
	switch info.name {
	case "bool", "char", "name", "int2", "int4", "int8", "float4", "float8", "money", "oid", "xid", "cid", "tid", "xid8", "pg_lsn", "date", "time", "timetz",
		"timestamp", "timestamptz", "interval", "uuid", "macaddr", "macaddr8", "point", "line", "lseg", "box", "circle":
		return apartNever, nil
	case "text", "varchar", "bytea", "json":
		return apartLong, nil
	}
	return apartEver, nil
}
