package postgres

import (
	"bytes"
	"errors"
	"log/slog"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// Names of headers that link the two halves of a change of key, and of those that
// name the connector.
const (
	headerNewKey = "__debezium.newkey"
	headerOldKey = "__debezium.oldkey"
)

// relaxError says that a null came for a field that is not optional. The plan is
// compiled anew with the field optional, and the change read again.
type relaxError struct {
	column string
	key    bool // In a key: a deletion does not hold what is no part of the replica identity.
}

func (e *relaxError) Error() string { return "a null in the column " + e.column }

// staleError says that an enum has a label which it did not have when its type was
// read: a new one does not make the server tell the relation again. The types are
// asked for anew, and the change read again.
type staleError struct{ label string }

func (e *staleError) Error() string { return "the new label " + e.label }

// emitter makes records of changes. It belongs to one goroutine.
type emitter struct {
	set       *settings
	log       *slog.Logger
	metrics   connect.Metrics
	partition connect.SourcePartition
	source    *connect.Schema
	context   []connect.Header // On every record, if any.
	tx        *transactions    // Nil without provide.transaction.metadata.

	pool  *pool // Nil: batches are not used again.
	fill  *fill // Nil: unavailable values have the placeholder.
	batch *batch
	// pos is behind everything that was seen so far, before behind the change before.
	pos, before position
	// sent is the position of the transaction's last record that ends a change, nil
	// before there is one. The records of one change but the last carry it, or before:
	// who divides a transaction sees that nobody can resume behind them.
	sent   *position
	stamp  stamp
	now    int64 // Microseconds since the epoch, of the last look at the clock.
	hint   int   // Records of the last batch.
	warned map[string]bool
	// What was counted since it was last told.
	events    eventCounts
	told      []*plan
	unchanged int64
}

func (e *emitter) newBatch() { e.batch = e.pool.take(e.hint) }

// carry begins a new batch with records that stay behind when the others are handed
// over. Their memory stays where it is.
func (e *emitter) carry(held []connect.SourceRecord) {
	old := e.batch
	e.newBatch()
	if len(held) > 0 {
		e.batch.records = append(e.batch.records, held...)
		e.batch.parent, old.lends = old, true
	}
}

// append adds a record. last tells whether the change ends with it.
func (e *emitter) append(r connect.Record, last bool) {
	var pos *position
	switch {
	case last:
		pos = e.batch.at(e.pos)
		e.sent = pos
	case e.sent != nil:
		pos = e.sent
	default:
		pos = e.batch.at(e.before)
	}
	r.Partition, r.Timestamp = connect.AnyPartition, connect.NoTimestamp
	switch {
	case e.context == nil:
	case r.Headers == nil:
		r.Headers = e.context
	default:
		r.Headers = append(r.Headers, e.context...)
	}
	e.batch.records = append(e.batch.records, connect.SourceRecord{
		Record: r, SourcePartition: e.partition, SourceOffset: pos,
	})
}

// mark adds a position mark: a record without a topic.
func (e *emitter) mark() {
	e.batch.records = append(e.batch.records, connect.SourceRecord{
		SourcePartition: e.partition, SourceOffset: e.batch.at(e.pos), Boundary: connect.BoundaryCommit,
	})
}

// The operations as values.
var (
	opCreate, opUpdate, opDelete = connect.String(connect.OpCreate), connect.String(connect.OpUpdate), connect.String(connect.OpDelete)
	opRead, opTruncate           = connect.String(connect.OpRead), connect.String(connect.OpTruncate)
	opMessage                    = connect.String(connect.OpMessage)
)

// change is one change of a row on its way into an envelope.
type change struct {
	plan          *plan
	op            connect.Value
	key           connect.Value
	before, after connect.Value
	headers       []connect.Header
}

// envelope adds the record of a change.
func (e *emitter) envelope(c *change, last bool) {
	if e.fill != nil {
		e.fill.follow(c, &e.pos)
	}
	a := &e.batch.arena
	values := a.room(8)
	values[0], values[1] = c.before, c.after
	values[2] = sourceBlock(a, e.source, c.plan.source, &e.stamp, e.pos.lsn)
	values[3] = connect.Value{}
	if e.tx != nil {
		values[3] = e.place(c.plan.table)
	}
	values[4] = c.op
	e.count(c.plan, c.op)
	values[5], values[6], values[7] = connect.Int64(e.now/1000), connect.Int64(e.now), connect.Int64(e.now*1000)
	r := connect.Record{
		Topic: c.plan.topic, KeySchema: c.plan.key, Key: c.key, Headers: c.headers,
		ValueSchema: c.plan.envelope, Value: a.structure(c.plan.envelope, values),
	}
	if c.key.IsNull() {
		r.KeySchema = nil
	}
	e.append(r, last)
}

// tombstone adds the null record that lets compaction remove a key.
func (e *emitter) tombstone(p *plan, key connect.Value, last bool) {
	e.append(connect.Record{Topic: p.topic, KeySchema: p.key, Key: key}, last)
}

// insert adds a new row; op is c, or r when a snapshot reads it.
func (e *emitter) insert(p *plan, op connect.Value, t tuple) error {
	if e.fill != nil {
		e.fill.wants = e.fill.wants[:0]
	}
	row, err := e.row(p, t, nil)
	if err != nil {
		return err
	}
	key, err := e.key(p, t, nil, row)
	if err != nil {
		return err
	}
	e.envelope(&change{plan: p, op: op, key: key, after: row}, true)
	return nil
}

// update adds a changed row. When its key changed, the old key is deleted and the
// new one created, each event naming the other's key.
func (e *emitter) update(p *plan, m *changeMessage) error {
	if e.fill != nil {
		e.fill.wants = e.fill.wants[:0]
	}
	after, err := e.row(p, m.new, m.old)
	if err != nil {
		return err
	}
	key, err := e.key(p, m.new, m.old, after)
	if err != nil {
		return err
	}
	var before connect.Value
	changed := m.oldKind != 0 && p.key != nil && p.keyChanged(m)
	if e.fill != nil && len(e.fill.wants) > 0 {
		if err := e.complete(p, m, key, after); err != nil {
			return err
		}
	}
	if m.oldKind == 'O' || changed {
		if before, err = e.oldRow(p, m); err != nil {
			return err
		}
	}
	if !changed {
		if e.set.skipUnchanged && m.oldKind == 'O' && before.Equal(after) {
			e.unchanged++
			return nil
		}
		e.envelope(&change{plan: p, op: opUpdate, key: key, before: before, after: after}, true)
		return nil
	}
	oldKey, err := e.key(p, m.old, nil, connect.Value{})
	if err != nil {
		return err
	}
	e.envelope(&change{plan: p, op: opDelete, key: oldKey, before: before,
		headers: []connect.Header{{Key: headerNewKey, Schema: p.key, Value: key}}}, false)
	if e.set.tombstones {
		e.tombstone(p, oldKey, false)
	}
	e.envelope(&change{plan: p, op: opCreate, key: key, after: after,
		headers: []connect.Header{{Key: headerOldKey, Schema: p.key, Value: oldKey}}}, true)
	return nil
}

// complete puts the values that the log does not hold into an updated row; see fill.
func (e *emitter) complete(p *plan, m *changeMessage, key, after connect.Value) (err error) {
	if m.oldKind != 0 && p.key != nil && p.keyChanged(m) {
		if key, err = e.key(p, m.old, nil, connect.Value{}); err != nil {
			return err
		}
	}
	err = e.fill.complete(&e.batch.arena, p, key, after, &e.pos)
	if unknown := len(e.fill.wants); unknown > 0 {
		e.metrics.Add("values_unavailable_total", int64(unknown))
	}
	return err
}

// delete adds a deletion and its tombstone.
func (e *emitter) delete(p *plan, m *changeMessage) error {
	before, err := e.oldRow(p, m)
	if err != nil {
		return err
	}
	key, err := e.key(p, m.old, nil, connect.Value{})
	if err != nil {
		return err
	}
	bury := e.set.tombstones && !key.IsNull()
	e.envelope(&change{plan: p, op: opDelete, key: key, before: before}, !bury)
	if bury {
		e.tombstone(p, key, true)
	}
	return nil
}

// truncate adds the event of an emptied table, which has neither key nor rows.
func (e *emitter) truncate(p *plan, last bool) {
	e.envelope(&change{plan: p, op: opTruncate}, last)
}

// keyChanged tells whether an update changed a key column. Columns that the old
// tuple does not hold because they are no part of the identity cannot be compared.
func (p *plan) keyChanged(m *changeMessage) bool {
	for _, part := range p.keyParts {
		if part.column >= len(m.new) || part.column >= len(m.old) {
			return false
		}
		before, after := m.old[part.column], m.new[part.column]
		if after.kind == columnUnchanged || m.oldKind == 'K' && !p.relation.columns[part.column].key {
			continue
		}
		if before.kind != after.kind || !bytes.Equal(before.data, after.data) {
			return true
		}
	}
	return false
}

var (
	errTupleWidth = errors.New("a row has another number of columns than its relation")
	errBinary     = errors.New("a column came in a form that was not asked for")
)

// row reads a whole row. Values that the log does not hold are taken from old, if
// it has them.
func (e *emitter) row(p *plan, t, old tuple) (connect.Value, error) {
	if len(t) != len(p.columns) {
		return connect.Value{}, malformed('R', errTupleWidth)
	}
	a := &e.batch.arena
	values := a.room(p.fields) // Each is that of one column.
	for i := range t {
		cp := &p.columns[i]
		if cp.field < 0 {
			continue
		}
		raw := t[i]
		if raw.kind == columnUnchanged {
			if len(old) != len(t) || !old[i].held() {
				values[cp.field] = cp.missing
				if e.fill != nil {
					e.fill.wants = append(e.fill.wants, cp.field)
				}
				continue
			}
			raw = old[i]
		}
		v, err := e.column(p, cp, raw)
		if err != nil {
			return connect.Value{}, err
		}
		values[cp.field] = v
	}
	return a.structure(p.row, values), nil
}

// column reads one column of a row.
func (e *emitter) column(p *plan, cp *columnPlan, raw rawColumn) (connect.Value, error) {
	switch raw.kind {
	case columnText, columnBinary:
		read := cp.decode
		if raw.kind == columnBinary {
			read = cp.binary
		}
		if read == nil {
			return connect.Value{}, &binaryError{p.table.String() + "." + cp.name}
		}
		v, err := read(&e.batch.arena, raw.data)
		if err == nil {
			return v, nil
		}
		if _, stale := errors.AsType[*staleError](err); stale {
			return connect.Value{}, err
		}
		return connect.Value{}, e.unreadable(p, cp, err)
	case columnNull:
		if cp.required {
			return connect.Value{}, &relaxError{column: cp.name}
		}
		return cp.null, nil
	}
	return connect.Value{}, malformed(raw.kind, errBinary)
}

// unreadable deals with a value that could not be converted, as
// event.converting.failure.handling.mode says; nil makes it null. Invariant 5: a
// value that is lost is never lost silently.
func (e *emitter) unreadable(p *plan, cp *columnPlan, cause error) error {
	place := p.table.String() + "." + cp.name
	if e.set.modes.onFault == "fail" {
		err := fatal("pg.value", "a value cannot be converted", cause, "set event.converting.failure.handling.mode=warn to send null instead, or choose another handling mode for its type")
		err.Place = place
		return err
	}
	if cp.required {
		return &relaxError{column: cp.name}
	}
	e.metrics.Add("values_unreadable_total", 1)
	if e.set.modes.onFault == "warn" && !e.warned[place] {
		e.warned[place] = true
		e.log.Warn("A value cannot be converted and is sent as null; further ones of this column are counted only.", "column", place, "error", cause)
	}
	return nil
}

// oldRow reads a before image: the whole row under replica identity FULL, and
// otherwise the key columns, with nothing made up for the others unless
// before.missing.values asks for it.
func (e *emitter) oldRow(p *plan, m *changeMessage) (connect.Value, error) {
	if m.oldKind == 'O' {
		return e.row(p, m.old, nil)
	}
	if len(m.old) != len(p.columns) {
		return connect.Value{}, malformed('R', errTupleWidth)
	}
	a := &e.batch.arena
	values := a.row(len(p.row.Fields()))
	for i := range m.old {
		cp := &p.columns[i]
		if cp.field < 0 {
			continue
		}
		if !m.old[i].held() {
			values[cp.field] = cp.absent
			continue
		}
		v, err := e.column(p, cp, m.old[i])
		if err != nil {
			return connect.Value{}, err
		}
		values[cp.field] = v
	}
	return a.structure(p.row, values), nil
}

// key makes the key of a row: from its values, if there is a row, and else from
// the tuple.
func (e *emitter) key(p *plan, t, old tuple, row connect.Value) (connect.Value, error) {
	if p.key == nil {
		return connect.Value{}, nil
	}
	a := &e.batch.arena
	values := a.row(len(p.keyParts))
	for i, part := range p.keyParts {
		if part.field >= 0 && !row.IsNull() {
			values[i] = row.Struct().At(part.field)
			continue
		}
		if part.column >= len(t) {
			return connect.Value{}, malformed('R', errTupleWidth)
		}
		raw := t[part.column]
		if raw.kind == columnUnchanged && part.column < len(old) {
			raw = old[part.column]
		}
		read := part.decode
		switch raw.kind {
		case columnText:
		case columnBinary:
			if read = part.binary; read == nil {
				return connect.Value{}, &binaryError{p.table.String() + "." + p.columns[part.column].name}
			}
		default:
			if part.required {
				return connect.Value{}, &relaxError{column: p.columns[part.column].name, key: true}
			}
			continue
		}
		v, err := read(a, raw.data)
		if err != nil {
			place := p.table.String() + "." + p.columns[part.column].name
			bad := fatal("pg.value", "a key cannot be converted", err, "choose another handling mode for its type, or other key columns in message.key.columns")
			bad.Place = place
			return connect.Value{}, bad
		}
		values[i] = v
	}
	return a.structure(p.key, values), nil
}

// contextHeaders are the headers of extended.headers.enabled.
func contextHeaders(set *settings, connector string, task int) []connect.Header {
	if !set.headers {
		return nil
	}
	str := connect.Of(connect.KindString)
	return []connect.Header{
		{Key: "__debezium.context.connectorLogicalName", Schema: str, Value: connect.String(set.prefix)},
		{Key: "__debezium.context.taskId", Schema: str, Value: connect.String(strconv.Itoa(task))},
		{Key: "__debezium.context.connectorName", Schema: str, Value: connect.String(connector)},
	}
}
