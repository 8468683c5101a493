package oracle

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/torture/storm"
)

// place is where a change stands: its transaction by the position of the commit, and its
// ordinal in it. It is the identity of a change, and their order.
type place struct {
	commit  uint64
	ordinal uint32
}

// The ordinals of the records that announce a transaction and say that it is over.
const (
	ordinalBegin = 0
	ordinalEnd   = math.MaxUint32
)

func (p place) compare(q place) int {
	switch {
	case p.commit < q.commit || p.commit == q.commit && p.ordinal < q.ordinal:
		return -1
	case p == q:
		return 0
	}
	return 1
}

// record is one record of a topic, read.
type record struct {
	*kgo.Record
	place
	xid   int64 // Its 32 bits.
	table string
	op    string // That of the envelope; begin, end, tombstone, or nothing for what is no event.
	lsn   uint64
	// beside tells that a snapshot has read the row while the log was read, too.
	beside bool
	key    []storm.Column
	// row is the row after the change, or of a deletion from a table without a key before
	// it; before is the whole row before, where the log has it.
	row, before []storm.Column
	events      int64 // Of a transaction that is over.
}

// Operations beside those of envelopes.
const (
	opBegin, opEnd, opTombstone = "begin", "end", "tombstone"
)

// at says where the record stands.
func (r *record) at() string { return fmt.Sprintf("%s-%d@%d", r.Topic, r.Partition, r.Offset) }

// streamed tells whether the record is an event of a transaction.
func (r *record) streamed() bool { return r.commit != 0 }

// event is the record as the storm has it.
func (r *record) event() *storm.Event {
	return &storm.Event{Table: r.table, Op: r.op, Row: r.row}
}

// decoder reads records.
type decoder struct {
	key, value connect.Converter
	prefix     string
	keys       map[string][]string // Key columns by table.
}

// decode reads one record.
func (d *decoder) decode(ctx context.Context, raw *kgo.Record) (*record, error) {
	r := &record{Record: raw}
	if len(raw.Key) > 0 {
		_, key, err := d.key.ToConnect(ctx, raw.Topic, raw.Key)
		if err != nil {
			return nil, fmt.Errorf("the key: %w", err)
		}
		r.key = columnsOf(key, nil)
	}
	if raw.Value == nil {
		r.op = opTombstone
		return r, nil
	}
	schema, value, err := d.value.ToConnect(ctx, raw.Topic, raw.Value)
	if err != nil {
		return nil, fmt.Errorf("the value: %w", err)
	}
	if value.Kind() != connect.KindStruct {
		return r, nil
	}
	st := value.Struct()
	switch raw.Topic {
	case d.prefix + ".transaction":
		return r, r.announcement(st)
	case d.prefix + ".message":
		if err := r.origin(schema, st); err != nil {
			return nil, err
		}
		r.table, r.op, r.row = storm.TableMessages, connect.OpMessage, columnsOf(st.Get("message"), nil)
		for i := range r.row {
			r.row[i].Text = unhex(r.row[i])
		}
		return r, nil
	}
	env, ok := connect.EnvelopeOf(schema)
	if !ok {
		return r, nil
	}
	if err := r.origin(schema, st); err != nil {
		return nil, err
	}
	d.change(r, env.Change(value))
	return r, nil
}

// change takes in the rows of a change.
func (d *decoder) change(r *record, c connect.Change) {
	source := c.Source.Struct()
	r.op, r.table = c.Op, source.Get("schema").Str()+"."+source.Get("table").Str()
	keys, ok := d.keys[r.table]
	if !ok {
		for _, name := range storm.KeyOf(r.table) {
			keys = append(keys, storm.Plain(name))
		}
		d.keys[r.table] = keys
	}
	r.before = columnsOf(c.Before, nil)
	switch {
	case c.Op != connect.OpDelete:
		r.row = columnsOf(c.After, nil)
	case len(keys) > 0:
		r.row = columnsOf(c.Before, keys)
	default:
		r.row = r.before
	}
}

// origin takes in the source and the transaction of an event.
func (r *record) origin(schema *connect.Schema, st *connect.Struct) error {
	source := st.Get("source")
	if source.Kind() != connect.KindStruct {
		return nil
	}
	if lsn := source.Struct().Get("lsn"); !lsn.IsNull() {
		r.lsn = uint64(lsn.Int())
	}
	if s := source.Struct().Get("snapshot"); s.Kind() == connect.KindString {
		r.beside = s.Str() == "incremental"
	}
	if schema.Index("transaction") < 0 {
		return nil
	}
	block := st.Get("transaction")
	if block.IsNull() {
		return nil
	}
	r.ordinal = uint32(block.Struct().Get("total_order").Int())
	if err := r.transaction(block.Struct().Get("id").Str()); err != nil {
		return err
	}
	if xid := source.Struct().Get("txId"); xid.IsNull() || xid.Int() != r.xid {
		return fmt.Errorf("the source block names another transaction than the transaction block")
	}
	return nil
}

// transaction reads the identity of a transaction: its number and its commit position.
func (r *record) transaction(id string) (err error) {
	xid, commit, _ := strings.Cut(id, ":")
	if r.xid, err = strconv.ParseInt(xid, 10, 64); err != nil {
		return err
	}
	r.commit, err = strconv.ParseUint(commit, 10, 64)
	return err
}

func (r *record) announcement(st *connect.Struct) error {
	if r.op, r.ordinal = opBegin, ordinalBegin; st.Get("status").Str() == "END" {
		r.op, r.ordinal = opEnd, ordinalEnd
		r.events = st.Get("event_count").Int()
	}
	return r.transaction(st.Get("id").Str())
}

// columnsOf returns the columns of a row, or those of some names.
func columnsOf(row connect.Value, only []string) []storm.Column {
	if row.Kind() != connect.KindStruct {
		return nil
	}
	st := row.Struct()
	fields := st.Schema().Fields()
	list := make([]storm.Column, 0, len(fields))
	for i, f := range fields {
		if only != nil && !slices.Contains(only, f.Name) {
			continue
		}
		v := st.At(i)
		c := storm.Column{Name: f.Name, Null: v.IsNull()}
		if !c.Null {
			c.Text = textOf(v)
		}
		list = append(list, c)
	}
	return list
}

// textOf writes a value as the storm's digests have it.
func textOf(v connect.Value) string {
	switch v.Kind() {
	case connect.KindString:
		return strings.Clone(v.Str())
	case connect.KindBool:
		return strconv.FormatBool(v.Bool())
	case connect.KindBytes:
		return `\x` + hex.EncodeToString(v.Bytes())
	case connect.KindFloat32, connect.KindFloat64:
		return strconv.FormatFloat(v.Float(), 'f', -1, 64)
	case connect.KindArray:
		parts := make([]string, v.Len())
		for i, e := range v.Array() {
			if parts[i] = "NULL"; !e.IsNull() {
				parts[i] = textOf(e)
			}
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	if v.IsInt() {
		return strconv.FormatInt(v.Int(), 10)
	}
	return v.String()
}

// unhex turns the content of a message back into the text that it was.
func unhex(c storm.Column) string {
	if b, err := hex.DecodeString(strings.TrimPrefix(c.Text, `\x`)); err == nil && strings.HasPrefix(c.Text, `\x`) {
		return string(b)
	}
	return c.Text
}
