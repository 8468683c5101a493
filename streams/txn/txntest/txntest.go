package txntest

import (
	"fmt"
	"math/rand/v2"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/txn"
)

// Row is a row of any table.
type Row struct{ ID, Ref, Amount int64 }

// Record is one to be written to Kafka.
type Record struct {
	Topic      string
	Partition  int32
	Key, Value []byte // nil is null
}

// Database is a database whose tables have rows like Row, with ID as their key.
type Database struct {
	name       string
	partitions int64
	lsn, xid   uint64

	// Key, Envelope and Row are the schemas of the tables' topics.
	Key, Envelope, Row *connect.Schema
	metadata           *connect.Schema
}

// New returns a database whose tables have topics of so many partitions.
func New(name string, partitions int) *Database {
	text, i64 := connect.Of(connect.KindString), connect.Of(connect.KindInt64)
	d := &Database{name: name, partitions: int64(partitions), lsn: 1000, xid: 500}
	d.Key = connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{{Name: "id", Schema: i64}}}.MustBuild()
	d.Row = connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{
		{Name: "id", Schema: i64}, {Name: "ref", Schema: i64}, {Name: "amount", Schema: i64},
	}}.MustBuild()
	source := connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{
		{Name: "snapshot", Schema: text.AsOptional()}, {Name: "schema", Schema: text}, {Name: "table", Schema: text}, {Name: "lsn", Schema: i64.AsOptional()},
	}}.MustBuild()
	var err error
	if d.Envelope, err = connect.EnvelopeSchema(name+".Envelope", d.Row, source); err != nil {
		panic(err) // The schemas above are all there are.
	}
	collection := connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{
		{Name: "data_collection", Schema: text}, {Name: "event_count", Schema: i64},
	}}.MustBuild()
	list := connect.SchemaDef{Kind: connect.KindArray, Optional: true, Elem: collection}.MustBuild()
	d.metadata = connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{
		{Name: "status", Schema: text}, {Name: "id", Schema: text}, {Name: "event_count", Schema: i64.AsOptional()}, {Name: "data_collections", Schema: list},
	}}.MustBuild()
	return d
}

// Source is what transaction mode needs to know of the database.
func (d *Database) Source() *txn.Source {
	return &txn.Source{Topic: d.name + ".transaction", Value: serde.Row(d.metadata)}
}

// Topic is the topic of a table.
func (d *Database) Topic(table string) string { return d.name + ".public." + table }

// LSN is the position of the last transaction or snapshot.
func (d *Database) LSN() uint64 { return d.lsn }

// Transaction is one in progress, or a snapshot.
type Transaction struct {
	d        *Database
	id       string
	snapshot bool
	records  []Record
	order    int64
	tables   []string
	counts   map[string]int64
}

// Begin begins a transaction. They are committed in the order in which they begin.
func (d *Database) Begin() *Transaction {
	d.lsn += 8
	d.xid++
	return &Transaction{d: d, id: fmt.Sprintf("%d:%d", d.xid, d.lsn), counts: map[string]int64{}}
}

// Snapshot begins a snapshot.
func (d *Database) Snapshot() *Transaction {
	d.lsn += 8
	return &Transaction{d: d, id: fmt.Sprintf("%s%d", txn.SnapshotID, d.lsn), snapshot: true, counts: map[string]int64{}}
}

// Initial makes a snapshot one from which on the log is read.
func (t *Transaction) Initial() *Transaction {
	t.id += ":initial"
	return t
}

// Set inserts or updates a row; in a snapshot it is one that is read.
func (t *Transaction) Set(table string, r Row) *Transaction {
	op := connect.OpUpdate
	if t.snapshot {
		op = connect.OpRead
	}
	t.change(table, op, r.ID, t.d.row(r))
	return t
}

// Delete deletes a row.
func (t *Transaction) Delete(table string, id int64) *Transaction {
	t.change(table, connect.OpDelete, id, connect.Value{})
	last := t.records[len(t.records)-1]
	last.Value = nil
	t.records = append(t.records, last)
	return t
}

// Truncate deletes all rows of a table.
func (t *Transaction) Truncate(table string) *Transaction {
	t.change(table, connect.OpTruncate, 0, connect.Value{})
	t.records[len(t.records)-1].Key = nil
	return t
}

func (t *Transaction) change(table, op string, id int64, after connect.Value) {
	e := t.d.Envelope.NewStruct()
	e.Set(1, after)
	e.Set(4, connect.String(op))
	mark := "false"
	if t.snapshot {
		mark = "true"
	}
	e.Set(2, connect.StructValue(t.d.Envelope.Fields()[2].Schema.StructOf([]connect.Value{
		connect.String(mark), connect.String("public"), connect.String(table), connect.Int64(int64(t.d.lsn)),
	})))
	if t.counts["public."+table]++; t.counts["public."+table] == 1 {
		t.tables = append(t.tables, "public."+table)
	}
	t.order++
	if !t.snapshot {
		e.Set(3, connect.StructValue(t.d.Envelope.Fields()[3].Schema.StructOf([]connect.Value{
			connect.String(t.id), connect.Int64(t.order), connect.Int64(t.counts["public."+table]),
		})))
	}
	key := connect.StructValue(t.d.Key.StructOf([]connect.Value{connect.Int64(id)}))
	t.records = append(t.records, Record{
		Topic: t.d.Topic(table), Partition: int32(id % t.d.partitions),
		Key: bytesOf(t.d.Key, key), Value: bytesOf(t.d.Envelope, connect.StructValue(e)),
	})
}

func (d *Database) row(r Row) connect.Value {
	return connect.StructValue(d.Envelope.Fields()[1].Schema.StructOf([]connect.Value{connect.Int64(r.ID), connect.Int64(r.Ref), connect.Int64(r.Amount)}))
}

// RowOf reads a row.
func RowOf(v connect.Value) Row {
	st := v.Struct()
	return Row{st.At(0).Int(), st.At(1).Int(), st.At(2).Int()}
}

// Commit returns all records of the transaction, in the order in which the source writes
// them.
func (t *Transaction) Commit() []Record {
	end := t.metadata("END")
	counts := make([]connect.Value, len(t.tables))
	collection := t.d.metadata.Fields()[3].Schema.Elem()
	for i, table := range t.tables {
		counts[i] = connect.StructValue(collection.StructOf([]connect.Value{connect.String(table), connect.Int64(t.counts[table])}))
	}
	end.Set(2, connect.Int64(t.order))
	end.Set(3, connect.Array(counts))
	records := append([]Record{t.announce(t.metadata("BEGIN"))}, t.records...)
	return append(records, t.announce(end))
}

func (t *Transaction) metadata(status string) *connect.Struct {
	m := t.d.metadata.NewStruct()
	m.Set(0, connect.String(status))
	m.Set(1, connect.String(t.id))
	return m
}

func (t *Transaction) announce(m *connect.Struct) Record {
	return Record{Topic: t.d.name + ".transaction", Key: []byte(t.id), Value: bytesOf(t.d.metadata, connect.StructValue(m))}
}

func bytesOf(s *connect.Schema, v connect.Value) []byte {
	b, err := serde.Row(s).Append(nil, v)
	if err != nil {
		panic(err) // The value was made of the schema.
	}
	return b
}

// Mix puts records into another order in which they may arrive: those of one partition
// stay in theirs.
func Mix(rnd *rand.Rand, records []Record) []Record {
	type part struct {
		topic     string
		partition int32
	}
	queues, parts := map[part][]Record{}, []part{}
	for _, r := range records {
		p := part{r.Topic, r.Partition}
		if queues[p] == nil {
			parts = append(parts, p)
		}
		queues[p] = append(queues[p], r)
	}
	mixed := make([]Record, 0, len(records))
	for len(parts) > 0 {
		i := rnd.IntN(len(parts))
		q := queues[parts[i]]
		n := 1 + rnd.IntN(len(q))
		mixed = append(mixed, q[:n]...)
		if queues[parts[i]] = q[n:]; n == len(q) {
			parts[i] = parts[len(parts)-1]
			parts = parts[:len(parts)-1]
		}
	}
	return mixed
}
