package connect

// Operations of a change, as the op field of an envelope writes them.
const (
	OpCreate   = "c"
	OpUpdate   = "u"
	OpDelete   = "d"
	OpRead     = "r" // A row read by a snapshot.
	OpTruncate = "t"
	OpMessage  = "m"
)

// Envelope is where the parts of a change stand in its struct: the row before and
// after, where it came from, what was done. -1 stands for a part that is not there.
// The shape is Debezium's change event, version 2.
type Envelope struct {
	Schema                    *Schema
	Before, After, Source, Op int
	Transaction, TsMs         int
}

// EnvelopeOf tells whether s describes changes, and where their parts stand. It is
// one if it has a string field op, and fields before or after that are structs.
func EnvelopeOf(s *Schema) (Envelope, bool) {
	if s == nil || s.Kind() != KindStruct {
		return Envelope{}, false
	}
	e := Envelope{
		Schema: s,
		Before: s.Index("before"), After: s.Index("after"), Source: s.Index("source"), Op: s.Index("op"),
		Transaction: s.Index("transaction"), TsMs: s.Index("ts_ms"),
	}
	if e.Op < 0 || s.Fields()[e.Op].Schema.Kind() != KindString || e.Row() == nil {
		return Envelope{}, false
	}
	return e, true
}

// Row returns the schema of the rows in before and after, nil when they are no
// structs.
func (e Envelope) Row() *Schema {
	for _, i := range []int{e.After, e.Before} {
		if i >= 0 && e.Schema.Fields()[i].Schema.Kind() == KindStruct {
			return e.Schema.Fields()[i].Schema
		}
	}
	return nil
}

// Change is one change taken out of its envelope.
type Change struct {
	Op            string
	Before, After Value // Structs, or null.
	Source        Value
}

// Change returns the change in v, a struct of the envelope's schema. It allocates
// nothing.
func (e Envelope) Change(v Value) Change {
	st := v.Struct()
	at := func(i int) Value {
		if i < 0 {
			return Value{}
		}
		return st.At(i)
	}
	c := Change{Before: at(e.Before), After: at(e.After), Source: at(e.Source)}
	if op := at(e.Op); op.Kind() == KindString {
		c.Op = op.Str()
	}
	return c
}

// EnvelopeSchema builds the schema of changes to a table: before, after, source,
// transaction, op, ts_ms, ts_us, ts_ns, in this order. name is the full name of
// the envelope, row the schema of a row and source that of the source block.
func EnvelopeSchema(name string, row, source *Schema) (*Schema, error) {
	row = row.AsOptional()
	str, i64 := Of(KindString), Of(KindInt64)
	block, err := SchemaDef{
		Kind: KindStruct, Optional: true, Name: "event.block", Version: 1,
		Fields: []Field{{"id", str}, {"total_order", i64}, {"data_collection_order", i64}},
	}.Build()
	if err != nil {
		return nil, err
	}
	return SchemaDef{
		Kind: KindStruct, Name: name, Version: 2,
		Fields: []Field{
			{"before", row}, {"after", row}, {"source", source}, {"transaction", block}, {"op", str},
			{"ts_ms", i64.AsOptional()}, {"ts_us", i64.AsOptional()}, {"ts_ns", i64.AsOptional()},
		},
	}.Build()
}
