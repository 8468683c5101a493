package postgres

import (
	"encoding/json"

	"github.com/tidemill/tidemill/connect"
)

// ddlMessage is what the event triggers write.
type ddlMessage struct {
	Version int    `json:"version"`
	Tag     string `json:"tag"`
	Kind    string `json:"kind"` // CREATE, ALTER or DROP.
	DDL     string `json:"ddl"`
	OID     uint32 `json:"oid"`
	Schema  string `json:"schema"`
	Table   string `json:"table"`
	Comment string `json:"comment"`
	// Root are schema and name of the partitioned table above a partition.
	Root    []string    `json:"root"`
	Columns []ddlColumn `json:"columns"`
	Indexes []ddlIndex  `json:"indexes"`
}

type ddlColumn struct {
	Name       string `json:"name"`
	Type       uint32 `json:"type"`
	Mod        int32  `json:"mod"`
	TypeName   string `json:"typname"`
	Expression string `json:"expression"` // The type as SQL writes it.
	NotNull    bool   `json:"notnull"`
	Generated  bool   `json:"generated"`
	Counts     bool   `json:"counts"` // An identity, or a default from a sequence.
	Dims       int    `json:"dims"`
	Default    string `json:"default"`
	Comment    string `json:"comment"`
}

// ddlIndex is a unique index that rows can be told apart by.
type ddlIndex struct {
	Primary  bool     `json:"primary"`
	Identity bool     `json:"identity"`
	NotNull  bool     `json:"notnull"`
	Columns  []string `json:"columns"`
}

// facts are those of the table as they are from this place of the log on.
func (m *ddlMessage) facts() *tableFacts {
	f := &tableFacts{columns: make(map[string]columnFacts, len(m.Columns))}
	if len(m.Root) == 2 {
		f.root = tableName{m.Root[0], m.Root[1]}
	}
	for _, c := range m.Columns {
		f.columns[c.Name] = columnFacts{notNull: c.NotNull, expression: c.Default, dims: c.Dims, comment: c.Comment}
	}
	for _, ix := range m.Indexes {
		if ix.Primary {
			f.primary = ix.Columns
		} else if ix.NotNull && len(ix.Columns) > 0 && (f.unique == nil || ix.Identity) {
			f.unique = ix.Columns
		}
	}
	return f
}

// schemaChanges is what the stream has learnt of changes of schema.
type schemaChanges struct {
	// facts are those of tables as the newest message before this place of the log has
	// them, by the table's number.
	facts map[uint32]*tableFacts
	plan  *schemaChangePlan // Nil: no records are wanted.
}

// prefer returns the facts that the log told of a table, or else those of today's
// catalogue.
func (c *schemaChanges) prefer(oid uint32, today *tableFacts) *tableFacts {
	if told := c.facts[oid]; told != nil {
		for name, column := range told.columns {
			column.number = today.columns[name].number // The log does not tell it.
			told.columns[name] = column
		}
		return told
	}
	return today
}

// schemaChanged deals with a message of the event triggers. It counts as a change of
// its transaction, and is taken in also when it was sent before: what follows may not
// have been.
func (s *stream) schemaChanged(at uint64, m *logicalMessage) error {
	isNew := s.counted(at)
	if len(m.content) == 0 {
		return nil // It only takes up room.
	}
	var d ddlMessage
	if err := json.Unmarshal(m.content, &d); err != nil || d.OID == 0 {
		s.log.Warn("A message about a change of schema cannot be read and is passed over; the catalogue is asked instead.", "at", lsnText(at), "error", err)
		return nil
	}
	if s.changes.facts == nil {
		s.changes.facts = map[uint32]*tableFacts{}
	}
	delete(s.changes.facts, d.OID)
	if d.Kind != "DROP" {
		s.changes.facts[d.OID] = d.facts()
	}
	captured := s.set.filter.table(d.Schema, d.Table) || len(d.Root) == 2 && s.set.filter.table(d.Root[0], d.Root[1])
	if !isNew || !captured || s.changes.plan == nil {
		return nil
	}
	s.em.schemaChange(s.changes.plan, &d, m.lsn)
	s.txBegan++
	return nil
}

// schemaChange adds the record of a change of schema.
func (e *emitter) schemaChange(p *schemaChangePlan, d *ddlMessage, lsn uint64) {
	a := &e.batch.arena
	table := tableName{d.Schema, d.Table}
	key, value := a.row(1), a.row(6)
	key[0] = connect.String(e.set.database)
	value[0] = sourceBlock(a, e.source, sourceTemplate(e.set, Version, table), &e.stamp, lsn)
	value[1], value[2], value[3] = connect.Int64(e.now/1000), connect.String(e.set.database), connect.String(d.Schema)
	value[4], value[5] = connect.String(d.DDL), connect.Array([]connect.Value{p.change(d, e.set.database)})
	e.append(connect.Record{
		Topic: p.topic, KeySchema: p.key, Key: a.structure(p.key, key), ValueSchema: p.value, Value: a.structure(p.value, value),
	}, true)
	last := &e.batch.records[len(e.batch.records)-1]
	last.Partition = 0 // One order for all of them.
}
