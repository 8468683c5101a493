package storm

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Unavailable stands in events for a large value that the log does not repeat.
const Unavailable = "__debezium_unavailable_value"

// long is the length from which on a text is not part of a digest: whether the log holds
// a value of such a length depends on where the server keeps it.
const long = 1000

// Column is one column of a row, with its value as text; see [Canonical].
type Column struct {
	Name, Text string
	Null       bool
}

// Event is one row event of a transaction. Op is the envelope's: c, u, d, t, or m for a
// logical message. The table has its schema before it. Of a deletion from a table with a
// key only the key is there, in Row; columns that are null do not count in it, since
// test_decoding leaves them out.
type Event struct {
	Table, Op string
	Row       []Column
}

// Digest adds up the events of one transaction, whatever the order in which they come:
// each goes in together with its place in the transaction. The zero digest is that of no
// events.
type Digest struct {
	N      int
	values [2]uint64
	shape  uint64
}

// Add adds the event at a place, the first of which is 1. It sorts the event's columns,
// and returns a hash of the event alone.
func (d *Digest) Add(place int, e *Event) uint64 {
	slices.SortFunc(e.Row, func(a, b Column) int { return strings.Compare(a.Name, b.Name) })
	values, shape := e.text()
	sum := sha256.Sum256(values)
	at := sha256.Sum256(binary.BigEndian.AppendUint64(sum[:16:16], uint64(place)))
	d.N++
	d.values[0] += binary.BigEndian.Uint64(at[:])
	d.values[1] += binary.BigEndian.Uint64(at[8:])
	form := sha256.Sum256(binary.BigEndian.AppendUint64(shape, uint64(place)))
	d.shape += binary.BigEndian.Uint64(form[:])
	return binary.BigEndian.Uint64(sum[:])
}

// text writes the event, and only its table, operation and columns.
func (e *Event) text() (values, shape []byte) {
	shape = fmt.Appendf(nil, "%q %s", e.Table, e.Op)
	values = slices.Clone(shape)
	for _, c := range e.Row {
		if c.Null && e.Op == "d" {
			continue
		}
		shape = fmt.Appendf(shape, " %q", c.Name)
		switch {
		case c.Null:
			values = fmt.Appendf(values, " %q=", c.Name)
		case len(c.Text) >= long || c.Text == Unavailable:
			values = fmt.Appendf(values, " %q=~", c.Name)
		default:
			values = fmt.Appendf(values, " %q=%q", c.Name, c.Text)
		}
	}
	return values, shape
}

// Values is the digest of places, tables, operations and values, as manifests have it.
func (d Digest) Values() string { return fmt.Sprintf("%016x%016x", d.values[0], d.values[1]) }

// Shape is the digest of places, tables, operations and names of columns alone.
func (d Digest) Shape() string { return fmt.Sprintf("%016x", d.shape) }

// Plain makes the name of a column one that Avro allows, the way of
// field.name.adjustment.mode=avro.
func Plain(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		}
		return '_'
	}, name)
}

// Types whose text the server and a consumer write in different ways.
const (
	oidBool, oidTimestamp, oidNumeric = 16, 1114, 1700
)

// Canonical turns a value in the server's text form into the one that digests have:
// booleans are true and false, timestamps microseconds since 1970 with Debezium's numbers
// for the infinities, and what is no number is NAN, as with decimal.handling.mode=string.
func Canonical(oid uint32, text string) string {
	switch oid {
	case oidBool:
		return strconv.FormatBool(text == "t" || text == "true")
	case oidNumeric:
		if text == "NaN" {
			return "NAN"
		}
	case oidTimestamp:
		switch text {
		case "infinity":
			return "9223372036825200000"
		case "-infinity":
			return "-9223372036832400000"
		}
		if at, err := time.Parse("2006-01-02 15:04:05.999999", text); err == nil {
			return strconv.FormatInt(at.UnixMicro(), 10)
		}
	}
	return text
}
