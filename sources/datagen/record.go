package datagen

import (
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// table makes records of the changes of one template.
type table struct {
	template
	rows
	topic     string
	connector string
	start     int64 // Milliseconds since the epoch of the first row.
	step      int64 // Milliseconds from row to row.

	row, keySchema, source, envelope *connect.Schema // envelope is nil for plain rows.
	partition                        connect.SourcePartition
}

// build makes the schemas, with the names Debezium gives.
func (t *table) build(plain bool) error {
	base := schemaName(t.topic)
	var err error
	if t.row, err = (connect.SchemaDef{Kind: connect.KindStruct, Name: base + ".Value", Fields: t.fields}).Build(); err != nil {
		return err
	}
	if t.keySchema, err = (connect.SchemaDef{Kind: connect.KindStruct, Name: base + ".Key", Fields: t.fields[t.key : t.key+1]}).Build(); err != nil {
		return err
	}
	if plain {
		return nil
	}
	str, i64 := connect.Of(connect.KindString), connect.Of(connect.KindInt64)
	snapshot := connect.SchemaDef{
		Kind: connect.KindString, Optional: true, Name: "io.debezium.data.Enum", Version: 1, Default: connect.String("false"),
		Params: []connect.Param{{Key: "allowed", Value: "true,last,false,incremental"}},
	}.MustBuild()
	t.source, err = connect.SchemaDef{Kind: connect.KindStruct, Name: "tidemill.datagen.Source", Version: 1, Fields: []connect.Field{
		{Name: "version", Schema: str}, {Name: "connector", Schema: str}, {Name: "name", Schema: str}, {Name: "ts_ms", Schema: i64},
		{Name: "snapshot", Schema: snapshot}, {Name: "db", Schema: str}, {Name: "table", Schema: str}, {Name: "row", Schema: i64},
	}}.Build()
	if err != nil {
		return err
	}
	t.envelope, err = connect.EnvelopeSchema(base+".Envelope", t.row, t.source)
	return err
}

// schemaName makes a topic's name one that Avro takes as well.
func schemaName(topic string) string {
	return strings.Map(func(r rune) rune {
		if r == '.' || r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '_'
	}, topic)
}

// position is the offset of a record: the next row, and whether the tombstone of the
// row before it is still to come.
type position struct {
	row       uint64
	tombstone bool
}

// AppendJSON implements connect.Offset.
func (p position) AppendJSON(dst []byte) []byte {
	dst = strconv.AppendUint(append(dst, `{"row":`...), p.row, 10)
	if p.tombstone {
		dst = append(dst, `,"tombstone":true`...)
	}
	return append(dst, '}')
}

// record appends the record at the position to out and returns the next position.
func (t *table) record(out []connect.SourceRecord, s *slab, at position) ([]connect.SourceRecord, position) {
	n := at.row
	if at.tombstone {
		n--
	}
	c := t.at(n)
	r := connect.SourceRecord{SourcePartition: t.partition}
	r.Topic, r.Partition, r.Timestamp = t.topic, connect.AnyPartition, connect.NoTimestamp
	before, after := t.content(s, c)
	key := s.row(1)
	if c.born {
		key[0] = after.Struct().At(t.key)
	} else {
		key[0] = before.Struct().At(t.key)
	}
	r.KeySchema, r.Key = t.keySchema, s.structOf(t.keySchema, key)
	next := position{row: n + 1}
	switch {
	case at.tombstone:
	case t.envelope != nil:
		r.ValueSchema, r.Value = t.envelope, t.change(s, c, n, [2]connect.Value{before, after})
		next.tombstone = !c.born
	case c.born:
		r.ValueSchema, r.Value = t.row, after
	}
	r.SourceOffset = next
	return append(out, r), next
}

// content returns the row before and after a change, null where there is none.
func (t *table) content(s *slab, c change) (before, after connect.Value) {
	if c.until {
		before = t.version(s, c.key, c.round-1)
	}
	if c.born {
		after = t.version(s, c.key, c.round)
	}
	return before, after
}

func (t *table) version(s *slab, key, round uint64) connect.Value {
	values := s.row(len(t.fields))
	t.fill(s, values, version{seed: t.seed, key: key, round: round, ms: t.start + int64(round*t.rows.keys+key)*t.step})
	return s.structOf(t.row, values)
}

// change puts a change into its envelope.
func (t *table) change(s *slab, c change, n uint64, row [2]connect.Value) connect.Value {
	ms := t.start + int64(n)*t.step
	src := s.row(8)
	src[0], src[1], src[2] = connect.String("1"), connect.String("datagen"), connect.String(t.connector)
	src[3], src[4], src[5] = connect.Int64(ms), connect.String("false"), connect.String("datagen")
	src[6], src[7] = connect.String(t.name), connect.Int64(int64(n))
	env := s.row(8)
	env[0], env[1], env[2] = row[0], row[1], s.structOf(t.source, src)
	env[4] = connect.String(c.op)
	env[5], env[6], env[7] = connect.Int64(ms), connect.Int64(ms*1000), connect.Int64(ms*1000_000)
	return s.structOf(t.envelope, env)
}
