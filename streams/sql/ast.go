package sql

import "github.com/tidemill/tidemill/streams/sql/functions"

// Statement is one parsed statement. String writes it back as SQL that parses to
// the same tree.
type Statement interface {
	String() string
	appendSQL(b []byte) []byte
}

// span is where a node stood in the text: src[pos:end].
type span struct{ pos, end int }

func (s span) place() span { return s }

// name is an identifier with its place.
type name struct {
	span
	text string
}

// property is one entry of a WITH clause; value is a literal.
type property struct {
	name
	value expr
}

// constraint says what a declared column is to its record.
type constraint uint8

const (
	plain constraint = iota
	keyColumn
	primaryKey
	allHeaders
	oneHeader
)

// element is one declared column.
type element struct {
	name
	typ        functions.Type
	typAt      span
	constraint constraint
	header     string
}

// createSource is CREATE STREAM|TABLE over a topic.
type createSource struct {
	span
	table       bool
	orReplace   bool
	readOnly    bool
	ifNotExists bool
	name        name
	// declared is false when the column list is left out, for inference.
	declared bool
	elements []element
	with     []property
}

// createAs is CREATE STREAM|TABLE … AS SELECT.
type createAs struct {
	span
	table       bool
	orReplace   bool
	ifNotExists bool
	name        name
	with        []property
	query       *query
}

// insertInto is INSERT INTO … SELECT.
type insertInto struct {
	span
	target name
	with   []property
	query  *query
}

// insertValues is INSERT INTO … VALUES.
type insertValues struct {
	span
	target  name
	columns []name
	values  []expr
}

// drop is DROP of a stream, a table, a type or a connector.
type drop struct {
	span
	what        string
	name        name
	ifExists    bool
	deleteTopic bool
}

// alterSource is ALTER STREAM|TABLE … ADD COLUMN.
type alterSource struct {
	span
	table   bool
	name    name
	columns []element
}

// createType is CREATE TYPE.
type createType struct {
	span
	name        name
	ifNotExists bool
	typ         functions.Type
}

// createConnector is CREATE SOURCE|SINK CONNECTOR.
type createConnector struct {
	span
	sink        bool
	name        name
	ifNotExists bool
	with        []property
}

// control is TERMINATE, PAUSE or RESUME of a query; an empty id means all.
type control struct {
	span
	verb string
	id   name
}

// describe is DESCRIBE of a source, a function, a connector, or of all sources of
// a kind.
type describe struct {
	span
	what     string
	name     name
	extended bool
}

// explain is EXPLAIN of a statement or of a running query.
type explain struct {
	span
	stmt Statement
	id   name
}

// show is SHOW or LIST.
type show struct {
	span
	what     string
	all      bool
	extended bool
}

// printTopic is PRINT. Interval is 1 and limit 0 when not given.
type printTopic struct {
	span
	topic         name
	fromBeginning bool
	interval      int
	limit         int
}

// set is SET, UNSET, ALTER SYSTEM, DEFINE or UNDEFINE.
type set struct {
	span
	verb  string
	key   string
	value string
}

// runScript is RUN SCRIPT.
type runScript struct {
	span
	file string
}

// assert is ASSERT [NOT EXISTS] TOPIC|SCHEMA.
type assert struct {
	span
	schema    bool
	notExists bool
	topic     name
	subject   string
	id        int
	with      []property
	timeout   duration
}

// duration is a number and its unit, as in 30 SECONDS.
type duration struct {
	span
	n    int64
	unit string
}

// emit says which rows of a query leave it.
type emit uint8

const (
	emitNone emit = iota
	emitChanges
	emitFinal
)

// query is a SELECT. Limit and offset are -1 when not given.
type query struct {
	span
	items       []item
	from        relation
	window      *windowClause
	where       expr
	groupBy     []expr
	groupAt     span
	partitionBy []expr
	partitionAt span
	having      expr
	orderBy     []ordering
	orderAt     span
	emit        emit
	limit       int
	offset      int
}

// ordering is one entry of ORDER BY. Nulls come last where smaller values come first, and
// first otherwise, unless it is said.
type ordering struct {
	expr       expr
	descending bool
	nullsFirst bool
}

// item is one entry of the select list: an expression with an optional alias, or
// a star, of everything, of one source or of a struct.
type item struct {
	span
	expr   expr
	alias  name
	star   bool
	source name
}

// relation is what a query reads: a source, or a join of a relation with a
// source.
type relation interface {
	node
	appendSQL(b []byte) []byte
}

// sourceRef is a stream or table under a name of its own.
type sourceRef struct {
	span
	name  name
	alias name
}

// joinClause is a join of what is left of it with one source.
type joinClause struct {
	span
	kind   string
	left   relation
	right  *sourceRef
	within *within
	on     expr
}

// within bounds a join of two streams in time.
type within struct {
	before, after duration
	symmetric     bool
	grace         *duration
}

// windowClause is WINDOW. Advance belongs to HOPPING alone; in a SESSION the
// size is the gap.
type windowClause struct {
	span
	kind      string
	size      duration
	advance   duration
	retention *duration
	grace     *duration
}

// node is anything with a place in the text.
type node interface{ place() span }
