package txn

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Event is the place of a change event.
type Event struct {
	Epoch Epoch
	// Collection is the table, schema and name with a dot between them.
	Collection string
	// Order is the event's number in its transaction, from 1 on; 0 for a row of a
	// snapshot.
	Order int64
	// Truncate says that the event removes the rows of all partitions.
	Truncate bool
}

// End is the end of a transaction.
type End struct {
	Epoch Epoch
	// Counts has the number of events of each table.
	Counts map[string]int64
	// Initial says that it is the end of a snapshot from which on the log is read: what
	// was before is not told.
	Initial bool
}

// Reader reads envelopes and transaction metadata. It is used by one goroutine.
type Reader struct {
	env connect.Envelope
	// at are the places of fields in the structs of one schema each.
	source, block places
}

// places finds fields by name, once for each schema.
type places struct {
	schema *connect.Schema
	at     []int
}

// in returns the values of the named fields of v, nulls where there are none.
func (p *places) in(v connect.Value, dst []connect.Value, names ...string) {
	clear(dst)
	if v.Kind() != connect.KindStruct {
		return
	}
	st := v.Struct()
	if st.Schema() != p.schema {
		p.schema, p.at = st.Schema(), p.at[:0]
		for _, name := range names {
			p.at = append(p.at, st.Schema().Index(name))
		}
	}
	for i, at := range p.at {
		if at >= 0 {
			dst[i] = st.At(at)
		}
	}
}

// Event reads the place of a change event out of its envelope. place says, for people,
// where the event is.
func (r *Reader) Event(v connect.Value, place func() string) (e Event, err error) {
	if v.Kind() != connect.KindStruct {
		return e, noEvent(place, "is no change event")
	}
	if schema := v.Struct().Schema(); r.env.Schema != schema {
		env, ok := connect.EnvelopeOf(schema)
		if !ok {
			return e, noEvent(place, "is no change event")
		}
		r.env = env
	}
	c := r.env.Change(v)
	var source [4]connect.Value // snapshot, lsn, schema, table
	r.source.in(c.Source, source[:], "snapshot", "lsn", "schema", "table")
	e.Collection = text(source[2]) + "." + text(source[3])
	e.Truncate = c.Op == connect.OpTruncate
	var block [2]connect.Value // id, total_order
	if r.env.Transaction >= 0 {
		r.block.in(v.Struct().At(r.env.Transaction), block[:], "id", "total_order")
	}
	kind := text(source[0])
	switch {
	case !block[0].IsNull():
		e.Order = block[1].Int()
		e.Epoch, err = epochOf(text(block[0]))
	case kind == "incremental":
		return e, &connect.Error{
			Code: "streams.transaction.incremental", Class: connect.ClassFatal, Place: place(),
			Message: "a row of an incremental snapshot is of no transaction, and belongs to no state of the whole database",
			Mend:    "read the tables anew by a blocking snapshot, or run the application without Transactions",
		}
	case kind != "" && kind != "false" && source[1].IsInt():
		e.Epoch = snapshotEpoch(uint64(source[1].Int()))
	default:
		return e, noEvent(place, "does not say of which transaction it is")
	}
	if err != nil {
		return e, noEvent(place, err.Error())
	}
	return e, nil
}

func noEvent(place func() string, what string) error {
	return &connect.Error{
		Code: "streams.transaction.event", Class: connect.ClassFatal, Place: place(),
		Message: "a record in a captured topic " + what,
		Mend:    "set provide.transaction.metadata=true on the source before the first event, and leave the envelopes as they are",
	}
}

// End reads transaction metadata. ok is false for what is not the end of a transaction.
func (r *Reader) End(v connect.Value) (e End, ok bool, err error) {
	if v.Kind() != connect.KindStruct {
		return e, false, fmt.Errorf("transaction metadata of kind %v", v.Kind())
	}
	var top [3]connect.Value // status, id, data_collections
	(&places{}).in(v, top[:], "status", "id", "data_collections")
	if text(top[0]) != "END" {
		return e, false, nil
	}
	id, initial := strings.CutSuffix(text(top[1]), initialMark)
	if e.Epoch, err = epochOf(id); err != nil {
		return e, false, err
	}
	e.Initial = initial && e.Epoch.snapshot()
	e.Counts = map[string]int64{}
	if top[2].Kind() != connect.KindArray {
		return e, true, nil
	}
	for _, c := range top[2].Array() {
		var entry [2]connect.Value
		(&places{}).in(c, entry[:], "data_collection", "event_count")
		if entry[1].IsInt() {
			e.Counts[text(entry[0])] = entry[1].Int()
		}
	}
	return e, true, nil
}

// text returns a string, empty for anything else.
func text(v connect.Value) string {
	if v.Kind() != connect.KindString {
		return ""
	}
	return v.Str()
}

// SnapshotID begins the id of the transaction that stands for a snapshot: there is no
// transaction 0.
const SnapshotID = "0:"

// initialMark ends the id of a snapshot from which on the log is read.
const initialMark = ":initial"

// epochOf reads the id of a transaction: its number and the position of its commit.
func epochOf(id string) (Epoch, error) {
	_, at, ok := strings.Cut(id, ":")
	lsn, err := strconv.ParseUint(at, 10, 63)
	if !ok || err != nil {
		return 0, fmt.Errorf("has a transaction id %q without the position of a commit", id)
	}
	if strings.HasPrefix(id, SnapshotID) {
		return snapshotEpoch(lsn), nil
	}
	return commitEpoch(lsn), nil
}
