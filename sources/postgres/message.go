package postgres

import (
	"github.com/tidemill/tidemill/connect"
)

// messagePlan is what is the same for all logical messages, those written with
// pg_logical_emit_message.
type messagePlan struct {
	topic             string
	key, value, block *connect.Schema
	source            []connect.Value
	content           decodeFunc
}

func newMessagePlan(set *settings, version string, source *connect.Schema) (*messagePlan, error) {
	str := connect.Of(connect.KindString)
	content := opaqueCodec(set.modes)
	const base = "io.debezium.connector.postgresql.Message"
	block, err := connect.SchemaDef{Kind: connect.KindStruct, Name: base, Version: 1, Fields: []connect.Field{
		{Name: "prefix", Schema: str.AsOptional()}, {Name: "content", Schema: content.schema.AsOptional()},
	}}.Build()
	if err != nil {
		return nil, err
	}
	// The transaction block is the envelope's.
	envelope, err := connect.EnvelopeSchema("e", block, source)
	if err != nil {
		return nil, err
	}
	value, err := connect.SchemaDef{Kind: connect.KindStruct, Name: base + "Value", Version: 1, Fields: []connect.Field{
		{Name: "op", Schema: str}, {Name: "ts_ms", Schema: connect.Of(connect.KindInt64).AsOptional()}, {Name: "source", Schema: source},
		envelope.Fields()[envelope.Index("transaction")], {Name: "message", Schema: block},
	}}.Build()
	if err != nil {
		return nil, err
	}
	return &messagePlan{
		topic: topicName(set.prefix + set.delimiter + "message"),
		key: connect.SchemaDef{Kind: connect.KindStruct, Name: base + "Key", Version: 1,
			Fields: []connect.Field{{Name: "prefix", Schema: str.AsOptional()}}}.MustBuild(),
		value: value, block: block, source: sourceTemplate(set, version, tableName{}), content: content.decode,
	}, nil
}

// message deals with a logical message. One outside transactions has a position of
// its own, and comes even when the transaction that wrote it was rolled back; it
// never moves the position of transactions.
func (s *stream) message(at uint64, body []byte) error {
	m, err := decodeLogicalMessage(body)
	if err != nil {
		return err
	}
	if m.transactional && m.prefix == s.set.ddlPrefix && m.prefix != "" {
		return s.schemaChanged(at, &m)
	}
	e := s.em
	if m.prefix == markPrefix {
		if m.transactional {
			s.counted(at)
		}
		s.beside.marked(m.content)
		return nil
	}
	if m.transactional {
		if !s.counted(at) {
			s.passMessage(&m)
			return nil
		}
	} else if m.lsn <= e.pos.message || m.lsn < e.pos.end {
		return nil // It was sent before.
	}
	if !s.set.filter.prefixes.match(m.prefix) {
		return nil
	}
	st, boundary := e.stamp, connect.BoundaryNone
	if !m.transactional {
		st = stamp{micros: e.now, lastEnd: e.pos.end}
		e.pos.message = m.lsn
		if !s.open() {
			boundary = connect.BoundaryCommit
		}
	}
	if err := s.addMessage(&m, &st); err != nil {
		return err
	}
	if m.transactional {
		s.txBegan++
		return nil
	}
	last := &e.batch.records[len(e.batch.records)-1]
	last.Boundary = boundary
	if s.txBegan > 0 {
		s.txBegan++ // The record of the open transaction stands before it.
	}
	return nil
}

func (s *stream) addMessage(m *logicalMessage, st *stamp) error {
	e, p, a := s.em, s.msgPlan, &s.em.batch.arena
	content, err := p.content(a, m.content)
	if err != nil {
		return fatal("pg.value", "a logical message cannot be converted", err, "")
	}
	prefix := a.text([]byte(m.prefix))
	key, block, value := a.row(1), a.row(2), a.row(5)
	key[0], block[0], block[1] = prefix, prefix, content
	e.events.add(opMessage)
	value[0], value[1] = opMessage, connect.Int64(e.now/1000)
	value[2] = sourceBlock(a, e.source, p.source, st, m.lsn)
	if m.transactional && e.tx != nil {
		value[3] = e.place(tableName{})
	}
	value[4] = a.structure(p.block, block)
	e.append(connect.Record{
		Topic: p.topic, KeySchema: p.key, Key: a.structure(p.key, key), ValueSchema: p.value, Value: a.structure(p.value, value),
	}, true)
	return nil
}
