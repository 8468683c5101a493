package postgres

import (
	"context"
	"slices"
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// transactions writes, with provide.transaction.metadata, where transactions begin
// and end and how many events they have, and puts each event's place into it.
type transactions struct {
	topic      string
	key, value *connect.Schema
	collection *connect.Schema
	block      *connect.Schema // The envelope's transaction field.

	id     connect.Value
	begun  bool // BEGIN was sent, or would have been before the resumed place.
	total  int64
	counts []collectionCount
}

// collectionCount is the number of a transaction's events for one table.
type collectionCount struct {
	name   string
	events int64
}

func newTransactions(set *settings) *transactions {
	str, i64 := connect.Of(connect.KindString), connect.Of(connect.KindInt64)
	collection := connect.SchemaDef{Kind: connect.KindStruct, Optional: true, Name: "event.collection", Version: 1, Fields: []connect.Field{
		{Name: "data_collection", Schema: str}, {Name: "event_count", Schema: i64},
	}}.MustBuild()
	list := connect.SchemaDef{Kind: connect.KindArray, Optional: true, Elem: collection}.MustBuild()
	return &transactions{
		topic: topicName(set.prefix + set.delimiter + set.transactionTopic),
		key: connect.SchemaDef{Kind: connect.KindStruct, Name: "io.debezium.connector.common.TransactionMetadataKey", Version: 1,
			Fields: []connect.Field{{Name: "id", Schema: str}}}.MustBuild(),
		value: connect.SchemaDef{Kind: connect.KindStruct, Name: "io.debezium.connector.common.TransactionMetadataValue", Version: 1, Fields: []connect.Field{
			{Name: "status", Schema: str}, {Name: "id", Schema: str}, {Name: "event_count", Schema: i64.AsOptional()},
			{Name: "data_collections", Schema: list}, {Name: "ts_ms", Schema: i64},
		}}.MustBuild(),
		collection: collection,
		block: connect.SchemaDef{Kind: connect.KindStruct, Optional: true, Name: "event.block", Version: 1, Fields: []connect.Field{
			{Name: "id", Schema: str}, {Name: "total_order", Schema: i64}, {Name: "data_collection_order", Schema: i64},
		}}.MustBuild(),
	}
}

// open begins to count a transaction. Its id is the transaction's number and the
// position of its commit, which no other transaction shares.
func (t *transactions) open(xid uint32, commit uint64) {
	b := strconv.AppendUint(nil, uint64(xid), 10)
	t.id = connect.StringBytes(strconv.AppendUint(append(b, ':'), commit, 10))
	t.begun, t.total, t.counts = false, 0, t.counts[:0]
}

// count counts one event of a table and returns its place in the transaction and
// among the table's events.
func (t *transactions) count(table string) (total, place int64) {
	t.total++
	i := slices.IndexFunc(t.counts, func(c collectionCount) bool { return c.name == table })
	if i < 0 {
		i = len(t.counts)
		t.counts = append(t.counts, collectionCount{name: table})
	}
	t.counts[i].events++
	return t.total, t.counts[i].events
}

// place returns the transaction block of the next event of a table, announcing the
// transaction before its first.
func (e *emitter) place(table tableName) connect.Value {
	t := e.tx
	if t == nil || t.id.IsNull() {
		return connect.Value{}
	}
	if !t.begun {
		t.begun = true
		e.announce("BEGIN", false)
	}
	a := &e.batch.arena
	block := a.row(3)
	total, place := t.count(table.counted())
	block[0], block[1], block[2] = t.id, connect.Int64(total), connect.Int64(place)
	return a.structure(t.block, block)
}

// count announces a snapshot, with transaction.metadata.snapshot: as a transaction 0,
// which no other has, with the rows of its tables. Who reads several topics learns by it
// when all of them are there. The rows themselves have no place in it, and the last of
// them comes after it: once that one counts as sent, nothing would announce the snapshot
// any more.
func (s *snapshot) count(ctx context.Context) error {
	if !s.set.snapshotMetadata {
		return nil
	}
	e := s.emitter()
	e.tx = newTransactions(s.set)
	e.tx.open(0, s.slot.begin)
	if s.after == nil {
		// The log is read from here on: what came between an earlier snapshot and this one,
		// deletes above all, is not told.
		e.tx.id = connect.String(e.tx.id.Str() + ":initial")
	}
	for _, t := range s.tables {
		if rows := t.rows.Load(); rows > 0 {
			e.tx.total += rows
			e.tx.counts = append(e.tx.counts, collectionCount{name: t.name.counted(), events: rows})
		}
	}
	e.announce("BEGIN", true)
	e.announce("END", true)
	return s.hand(ctx, e.batch)
}

// pass counts the events of a change that was sent in an earlier life, so that the
// places of the following ones are right.
func (s *stream) pass(typ byte, t *planned) {
	if s.em.tx == nil || s.skipTx || t == nil || t.plan == nil {
		return
	}
	e := s.em
	switch op := map[byte]string{'I': "c", 'U': "u", 'D': "d"}[typ]; {
	case s.set.skipped[op]:
	case typ == 'U' && s.set.skipUnchanged && s.msg.oldKind == 'O':
		// Whether there was an event only its values tell: it is made, and left.
		batch := e.batch
		e.newBatch()
		defer func() { e.batch = batch }()
		if err := e.update(t.plan, &s.msg); err != nil {
			e.passed(t.plan.table, 1)
		}
	case typ == 'U' && s.msg.oldKind != 0 && t.plan.key != nil && t.plan.keyChanged(&s.msg):
		e.passed(t.plan.table, 2)
	default:
		e.passed(t.plan.table, 1)
	}
}

// passTruncate is pass for the tables of a truncate.
func (s *stream) passTruncate(plans []*plan) {
	if s.skipTx {
		return
	}
	for _, p := range plans {
		s.em.passed(p.table, 1)
	}
}

// passMessage is pass for a logical message.
func (s *stream) passMessage(m *logicalMessage) {
	if !s.skipTx && s.set.filter.prefixes.match(m.prefix) {
		s.em.passed(tableName{}, 1)
	}
}

// passed counts events that were sent in an earlier life.
func (e *emitter) passed(table tableName, events int) {
	if e.tx == nil {
		return
	}
	e.tx.begun = true
	for range events {
		e.tx.count(table.counted())
	}
}

// counted is the name under which a transaction counts events of a table; logical
// messages have none.
func (t tableName) counted() string {
	if t == (tableName{}) {
		return "LOGICAL_DECODING_MESSAGE"
	}
	return t.String()
}

// announce adds a record to the transaction topic. The end carries the counts.
func (e *emitter) announce(status string, end bool) {
	t, a := e.tx, &e.batch.arena
	key, value := a.row(1), a.row(5)
	key[0] = t.id
	value[0], value[1], value[4] = connect.String(status), t.id, connect.Int64(floorDiv(e.stamp.micros, 1000))
	if end {
		list := a.row(len(t.counts))
		for i, c := range t.counts {
			entry := a.row(2)
			entry[0], entry[1] = connect.String(c.name), connect.Int64(c.events)
			list[i] = a.structure(t.collection, entry)
		}
		value[2], value[3] = connect.Int64(t.total), connect.Array(list)
	}
	e.append(connect.Record{
		Topic: t.topic, KeySchema: t.key, Key: a.structure(t.key, key), ValueSchema: t.value, Value: a.structure(t.value, value),
	}, end)
}
