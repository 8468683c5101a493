package sql

import (
	"maps"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// The name of the record schema of values in formats with a registry, which is the
// one ksqlDB gives them.
const valueSchemaName = "io.confluent.ksql.avro_schemas.KsqlDataSourceSchema"

// column is one column of a stream or table.
type column struct {
	name string
	typ  functions.Type
	key  bool
	// header is what a column over the record's headers is filled with: "*" for all
	// of them, a name for the newest of that name.
	header string
}

// source is a declared stream or table. It is not changed once it is in a catalog.
type source struct {
	name      string
	table     bool
	readOnly  bool
	topic     string
	keyFormat string
	format    string
	// columns are the key columns, then the others.
	columns []column
	// cdc says that the topic holds change events whose rows the columns describe.
	cdc bool
	// keyStruct says that a key of one column is a struct in the topic.
	keyStruct bool
	// bare says that a value of one column is not wrapped in a struct.
	bare bool
	// joined is what a query joins, for the source that it sees in that; else nil.
	joined *joining
	// windowing says of which windows the rows are; nil for none.
	windowing *windowing
	// timestamp says which column is a row's time; nil for the record's.
	timestamp *timestamp
	// query is the id of the persistent query that fills it, empty for none.
	query string
	// store says whether rows can be looked up: the query keeps them.
	materialized bool
	statement    string
}

// kind names what the source is in messages.
func (s *source) kind() string {
	if s.table {
		return "table"
	}
	return "stream"
}

// keys returns how many of the columns are the key.
func (s *source) keys() int {
	n := 0
	for n < len(s.columns) && s.columns[n].key {
		n++
	}
	return n
}

// columnNames lists the columns for messages.
func (s *source) columnNames() []string {
	out := make([]string, len(s.columns))
	for i, c := range s.columns {
		out[i] = c.name
	}
	return out
}

// rowSchema returns the schema of rows with the given columns. Fields are optional:
// a value the topic lacks is null.
func rowSchema(name string, columns []column) (*connect.Schema, error) {
	def := connect.SchemaDef{Kind: connect.KindStruct, Name: name}
	for _, c := range columns {
		s, err := c.typ.Schema()
		if err != nil {
			return nil, err
		}
		def.Fields = append(def.Fields, connect.Field{Name: c.name, Schema: s})
	}
	return def.Build()
}

// catalog holds what is declared. It is guarded by its Engine.
type catalog struct {
	sources map[string]*source
	types   map[string]functions.Type
	queries map[string]*persistent
	library *functions.Library // the functions there are; nil for those that every engine has
}

func newCatalog() *catalog {
	return &catalog{sources: map[string]*source{}, types: map[string]functions.Type{}, queries: map[string]*persistent{}}
}

func (c *catalog) functions() *functions.Library { return orBuiltin(c.library) }

// names lists the streams and tables, sorted.
func (c *catalog) names() []string { return slices.Sorted(maps.Keys(c.sources)) }

// queryIDs lists the persistent queries, sorted.
func (c *catalog) queryIDs() []string { return slices.Sorted(maps.Keys(c.queries)) }

// readers lists the queries that read a source, sorted.
func (c *catalog) readers(name string) (ids []string) {
	for _, id := range c.queryIDs() {
		if slices.Contains(c.queries[id].plan.sources(), name) {
			ids = append(ids, id)
		}
	}
	return ids
}

// writers lists the queries that fill a source, sorted.
func (c *catalog) writers(name string) (ids []string) {
	for _, id := range c.queryIDs() {
		if c.queries[id].plan.sink != nil && c.queries[id].plan.sink.name == name {
			ids = append(ids, id)
		}
	}
	return ids
}

// lookup finds a stream or table; the error suggests a near name.
func (c *catalog) lookup(src string, n name) (*source, error) {
	if s, ok := c.sources[n.text]; ok {
		return s, nil
	}
	hint := didYouMean(n.text, c.names())
	if hint == "" {
		hint = "SHOW STREAMS and SHOW TABLES list what there is"
		for _, known := range c.names() {
			if strings.EqualFold(known, n.text) {
				hint = "its name is " + functions.Quote(known) + ", which must be written in back quotes"
			}
		}
	}
	return nil, fault(src, n.span, "sql.unknown_source", "there is no stream or table "+n.text, hint)
}
