package postgres

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// plan is a relation compiled: everything that is the same for all its rows. It is
// made once for each version of a table's shape, and only read after, but for the count
// of its events, which belongs to the one emitter that makes them.
type plan struct {
	relation *relation
	table    tableName
	topic    string
	columns  []columnPlan    // One for each column of the relation.
	fields   int             // Of a row.
	row      *connect.Schema // Optional, as the envelope's before and after have it.
	envelope *connect.Schema
	key      *connect.Schema // Nil when rows have no key.
	keyParts []keyPart
	source   []connect.Value // The source block with all that does not change.
	unknown  []string        // Columns left out because their types have no mapping.
	warnings []string        // What people must know of this table, told once.
	events   tableEvents
}

// columnPlan is what becomes of one column.
type columnPlan struct {
	name     string
	number   uint16 // By which the server knows it, whatever its name; 0: not known.
	masked   bool
	field    int // Where it stands in the row; -1 when the row does not have it.
	decode   decodeFunc
	binary   decodeFunc // Nil: the binary form of its type is not understood.
	required bool
	missing  connect.Value // Stands for a large value that did not change.
	absent   connect.Value // Stands for a value that the before image does not hold.
	apart    apartness
	null     connect.Value // Stands for SQL's null: null, unless a mask hides it.
}

// keyPart is one field of the key: taken from the row when it stands there as it
// is, and read anew otherwise.
type keyPart struct {
	column   int
	field    int // -1: read anew.
	decode   decodeFunc
	binary   decodeFunc
	required bool
}

// compiler makes plans.
type compiler struct {
	set     *settings
	types   *typeTable
	source  *connect.Schema
	version string
	// relaxed are columns, by table and name, in which a null came although the
	// catalogue calls them NOT NULL today.
	relaxed map[string]bool
	claims  nameClaims
}

func newCompiler(set *settings, types *typeTable, version string) *compiler {
	return &compiler{set: set, types: types, source: sourceSchema(), version: version, relaxed: map[string]bool{}, claims: nameClaims{}}
}

// compile returns the plan for a relation.
func (c *compiler) compile(r *relation, facts *tableFacts) (*plan, error) {
	p := &plan{relation: r, table: r.table(), columns: make([]columnPlan, len(r.columns))}
	p.topic = c.set.topicOf(p.table)
	if err := c.claims.claim(p.table, r.oid, p.topic, c.set.modes.schemaName(p.topic)); err != nil {
		return nil, err
	}
	if err := r.twins(c.set.filter); err != nil {
		return nil, err
	}
	keys := r.keyColumns(facts, c.set.filter.keyOf(p.table))
	isKey := make([]bool, len(r.columns))
	for _, i := range keys {
		isKey[i] = true
	}
	codecs := make([]codec, len(r.columns))
	var fields []connect.Field
	for i, col := range r.columns {
		p.columns[i] = columnPlan{name: col.name, field: -1}
		cd, err := c.columnCodec(p, col, facts.columns[col.name])
		if err != nil {
			return nil, err
		}
		codecs[i] = cd
		if cd.schema == nil || !c.set.filter.column(p.table, col.name) {
			continue
		}
		field := c.field(r, col, cd, facts.columns[col.name], isKey[i])
		p.columns[i] = c.column(p, col, cd, field.Schema)
		p.columns[i].field = len(fields)
		if p.columns[i].apart, err = c.types.apartness(col.typ); err != nil {
			return nil, err
		}
		fields = append(fields, field)
	}
	p.number(facts)
	if err := c.schemas(p, fields); err != nil {
		return nil, err
	}
	return p, c.key(p, keys, codecs, facts)
}

// number takes in which columns of the table those of the log are. The catalogue may have
// moved on: it is believed when it has all of their names, in their order.
func (p *plan) number(facts *tableFacts) {
	last := uint16(0)
	for i := range p.columns {
		n := facts.columns[p.columns[i].name].number
		if n <= last {
			for i := range p.columns {
				p.columns[i].number = 0
			}
			return
		}
		p.columns[i].number, last = n, n
	}
}

// adapts tells whether a plan compiled anew can read what gave this error, and takes
// in what has been learnt by it. Each thing is learnt once, so this comes to an end.
func (c *compiler) adapts(p *plan, err error) bool {
	if relax, ok := errors.AsType[*relaxError](err); ok {
		// The column was nullable when this row was written.
		column := p.table.String() + "." + relax.column
		if relax.key {
			column = relaxedKey(p.table, relax.column)
		}
		if c.relaxed[column] {
			return false
		}
		c.relaxed[column] = true
		return true
	}
	if stale, ok := errors.AsType[*staleError](err); ok && !c.types.asked[stale.label] {
		c.types.refresh(stale.label)
		return true
	}
	return false
}

// relaxedKey is the name under which relaxed has a column of a key.
func relaxedKey(t tableName, column string) string { return "key of " + t.String() + "." + column }

// columnCodec returns how to read a column; its schema is nil when the column is
// left out because its type has no mapping.
func (c *compiler) columnCodec(p *plan, col relationColumn, facts columnFacts) (codec, error) {
	cd, err := c.types.compile(col.typ, col.mod, facts.dims)
	if errors.Is(err, errUnknownType) && c.set.modes.unknown {
		cd, err = opaqueCodec(c.set.modes), nil
	}
	if err == nil {
		return c.propagate(p.table, col, facts, cd)
	}
	if !errors.Is(err, errUnknownType) {
		return cd, err
	}
	p.unknown = append(p.unknown, fmt.Sprintf("%s.%s (%v)", p.table, col.name, err))
	return codec{}, nil
}

// field returns the row's field for a column. It is optional when the column may be
// null, and when a before image may lack it.
func (c *compiler) field(r *relation, col relationColumn, cd codec, facts columnFacts, isKey bool) connect.Field {
	def := cd.schema.Def()
	required := facts.notNull || isKey && col.key && r.identity == 'd'
	def.Optional = !required || cd.nullable || c.relaxed[r.table().String()+"."+col.name] ||
		r.identity != 'f' && !(isKey && col.key) && !c.set.modes.fallback
	if !def.Optional {
		def.Default = defaultOf(facts.expression, cd, c.set.modes)
	}
	maskSchema(&def, c.masksOf(r.table(), col, cd))
	return connect.Field{Name: c.set.modes.fieldName(col.name), Schema: def.MustBuild()}
}

// masksOf returns the masks of a column of strings.
func (c *compiler) masksOf(t tableName, col relationColumn, cd codec) []*columnMask {
	if cd.schema.Kind() != connect.KindString {
		return nil
	}
	return c.set.filter.maskOf(t, col.name)
}

// column returns what becomes of a column that the row has.
func (c *compiler) column(p *plan, col relationColumn, cd codec, field *connect.Schema) columnPlan {
	cp := columnPlan{name: col.name, decode: cd.decode, binary: cd.binary, required: !field.Optional(), missing: cd.missing}
	if cp.missing.IsNull() {
		cp.missing = missing(cd.schema, c.set.modes.placeholder)
	}
	if cp.required {
		cp.absent = zero(cd.schema)
		if !field.Default().IsNull() {
			cp.absent = field.Default()
		}
	}
	if masks := c.masksOf(p.table, col, cd); masks != nil {
		maskColumn(&cp, masks, max(0, int(col.mod)-4))
	}
	return cp
}

// schemas builds the schemas of the row and the envelope and the source block.
func (c *compiler) schemas(p *plan, fields []connect.Field) error {
	row, err := connect.SchemaDef{Kind: connect.KindStruct, Optional: true, Name: c.set.modes.schemaName(p.topic + ".Value"), Fields: fields}.Build()
	if err != nil {
		return c.badShape(p, err)
	}
	p.row, p.fields = row, len(fields)
	if p.envelope, err = connect.EnvelopeSchema(c.set.modes.schemaName(p.topic+".Envelope"), row, c.source); err != nil {
		return c.badShape(p, err)
	}
	p.source = sourceTemplate(c.set, c.version, p.table)
	return nil
}

func (c *compiler) badShape(p *plan, err error) error {
	e := fatal("pg.table.shape", "no schema can be made for this table", err, "rename the column, leave it out with column.exclude.list or change field.name.adjustment.mode")
	e.Place = p.table.String()
	return e
}

// key builds the key's schema and says where its parts come from.
func (c *compiler) key(p *plan, keys []int, codecs []codec, facts *tableFacts) error {
	var fields []connect.Field
	var untold []string
	for _, i := range keys {
		if col := p.relation.columns[i]; !col.key {
			untold = append(untold, col.name)
		}
		if codecs[i].schema == nil {
			e := fatal("pg.key.type", "a key column has a type without a mapping", nil, "set include.unknown.datatypes=true or name other key columns in message.key.columns")
			e.Place = p.table.String() + "." + p.relation.columns[i].name
			return e
		}
		s := codecs[i].schema
		flagged := p.relation.columns[i].key && p.relation.identity != 'f' // FULL flags all columns.
		if codecs[i].nullable || !flagged && (!facts.columns[p.relation.columns[i].name].notNull || c.relaxed[relaxedKey(p.table, p.relation.columns[i].name)]) {
			s = s.AsOptional()
		}
		fields = append(fields, connect.Field{Name: c.set.modes.fieldName(p.relation.columns[i].name), Schema: s})
		part := keyPart{column: i, field: p.columns[i].field, decode: codecs[i].decode, binary: codecs[i].binary, required: !s.Optional()}
		if p.columns[i].masked {
			part.field = -1
		}
		p.keyParts = append(p.keyParts, part)
	}
	if len(fields) == 0 {
		return nil
	}
	if len(untold) > 0 && c.set.filter.keyOf(p.table) != nil {
		p.warnings = append(p.warnings, "The log does not hold the key column "+strings.Join(untold, ", ")+" of deleted rows of "+p.table.String()+
			", so deletions have null there and do not meet the row's other records. Run ALTER TABLE "+p.table.quoted()+" REPLICA IDENTITY FULL.")
	}
	s, err := connect.SchemaDef{Kind: connect.KindStruct, Name: c.set.modes.schemaName(p.topic + ".Key"), Fields: fields}.Build()
	if err != nil {
		return c.badShape(p, err)
	}
	p.key = s
	return nil
}
