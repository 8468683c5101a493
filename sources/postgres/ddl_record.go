package postgres

import (
	"github.com/tidemill/tidemill/connect"
)

// schemaChangePlan is what is the same for all records of schema changes. Their shape
// is the one that Debezium's other connectors have: SchemaChangeKey and
// SchemaChangeValue with a list of Change, Table and Column.
type schemaChangePlan struct {
	topic                     string
	key, value                *connect.Schema
	changes, tables, columnOf *connect.Schema
}

func newSchemaChangePlan(set *settings, source *connect.Schema) *schemaChangePlan {
	str, i32, i64, yes := connect.Of(connect.KindString), connect.Of(connect.KindInt32), connect.Of(connect.KindInt64), connect.Of(connect.KindBool)
	text := str.AsOptional()
	list := func(elem *connect.Schema, optional bool) *connect.Schema {
		return connect.SchemaDef{Kind: connect.KindArray, Elem: elem, Optional: optional}.MustBuild()
	}
	const base = "io.debezium.connector.schema."
	column := connect.SchemaDef{Kind: connect.KindStruct, Name: base + "Column", Version: 1, Fields: []connect.Field{
		{Name: "name", Schema: str}, {Name: "jdbcType", Schema: i32}, {Name: "nativeType", Schema: i32.AsOptional()}, {Name: "typeName", Schema: str},
		{Name: "typeExpression", Schema: text}, {Name: "charsetName", Schema: text}, {Name: "length", Schema: i32.AsOptional()}, {Name: "scale", Schema: i32.AsOptional()},
		{Name: "position", Schema: i32}, {Name: "optional", Schema: yes.AsOptional()}, {Name: "autoIncremented", Schema: yes.AsOptional()},
		{Name: "generated", Schema: yes.AsOptional()}, {Name: "comment", Schema: text}, {Name: "defaultValueExpression", Schema: text},
		{Name: "enumValues", Schema: list(str, true)},
	}}.MustBuild()
	table := connect.SchemaDef{Kind: connect.KindStruct, Optional: true, Name: base + "Table", Version: 1, Fields: []connect.Field{
		{Name: "defaultCharsetName", Schema: text}, {Name: "primaryKeyColumnNames", Schema: list(str, true)}, {Name: "columns", Schema: list(column, false)},
		{Name: "comment", Schema: text},
	}}.MustBuild()
	change := connect.SchemaDef{Kind: connect.KindStruct, Name: base + "Change", Version: 1, Fields: []connect.Field{
		{Name: "type", Schema: str}, {Name: "id", Schema: str}, {Name: "table", Schema: table},
	}}.MustBuild()
	const own = "io.debezium.connector.postgresql.SchemaChange"
	name := set.modes.schemaName
	return &schemaChangePlan{
		topic: topicName(set.prefix),
		key: connect.SchemaDef{Kind: connect.KindStruct, Name: name(own + "Key"), Version: 1,
			Fields: []connect.Field{{Name: "databaseName", Schema: str}}}.MustBuild(),
		value: connect.SchemaDef{Kind: connect.KindStruct, Name: name(own + "Value"), Version: 1, Fields: []connect.Field{
			{Name: "source", Schema: source}, {Name: "ts_ms", Schema: i64}, {Name: "databaseName", Schema: text}, {Name: "schemaName", Schema: text},
			{Name: "ddl", Schema: text}, {Name: "tableChanges", Schema: list(change, false)},
		}}.MustBuild(),
		changes: change, tables: table, columnOf: column,
	}
}

// change returns what a message says as a struct of Change.
func (p *schemaChangePlan) change(d *ddlMessage, database string) connect.Value {
	var table connect.Value
	if d.Kind != "DROP" {
		table = p.table(d)
	}
	id := quoteIdent(database) + "." + tableName{d.Schema, d.Table}.quoted()
	return structOf(p.changes, connect.String(d.Kind), connect.String(id), table)
}

func (p *schemaChangePlan) table(d *ddlMessage) connect.Value {
	var primary, columns []connect.Value
	for _, name := range d.facts().primary {
		primary = append(primary, connect.String(name))
	}
	for i, c := range d.Columns {
		columns = append(columns, p.column(&c, i+1))
	}
	return structOf(p.tables, connect.Value{}, connect.Array(primary), connect.Array(columns), optionalText(d.Comment))
}

func (p *schemaChangePlan) column(c *ddlColumn, position int) connect.Value {
	length, scale := declaredSize(c)
	return structOf(p.columnOf,
		connect.String(c.Name), connect.Int32(jdbcType(c.TypeName)), connect.Int32(int32(c.Type)), connect.String(c.TypeName),
		connect.String(c.Expression), connect.Value{}, length, scale,
		connect.Int32(int32(position)), connect.Bool(!c.NotNull), connect.Bool(c.Counts),
		connect.Bool(c.Generated), optionalText(c.Comment), optionalText(c.Default), connect.Value{})
}

func structOf(s *connect.Schema, values ...connect.Value) connect.Value {
	st := s.MakeStruct(values)
	return connect.StructValue(&st)
}

func optionalText(text string) connect.Value {
	if text == "" {
		return connect.Value{}
	}
	return connect.String(text)
}

// declaredSize returns the length and scale that a column was declared with.
func declaredSize(c *ddlColumn) (length, scale connect.Value) {
	const header = 4 // Type modifiers count the length word of the value.
	switch {
	case c.Mod < 0:
	case c.TypeName == "numeric":
		length, scale = connect.Int32((c.Mod-header)>>16), connect.Int32((c.Mod-header)<<21>>21)
	case c.TypeName == "varchar" || c.TypeName == "bpchar":
		length = connect.Int32(c.Mod - header)
	case c.TypeName == "bit" || c.TypeName == "varbit":
		length = connect.Int32(c.Mod)
	case c.TypeName == "time" || c.TypeName == "timetz" || c.TypeName == "timestamp" || c.TypeName == "timestamptz":
		length = connect.Int32(c.Mod)
	}
	return length, scale
}

// jdbcType returns the number that JDBC's java.sql.Types gives to a type; 1111 stands
// for all others, 2003 for arrays.
func jdbcType(name string) int32 {
	if n, ok := map[string]int32{
		"bool": -7, "bit": -7, "int2": 5, "int4": 4, "int8": -5, "oid": -5, "float4": 7, "float8": 8, "money": 8, "numeric": 2, "bpchar": 1, "varchar": 12, "text": 12,
		"name": 12, "bytea": -2, "date": 91, "time": 92, "timetz": 92, "timestamp": 93, "timestamptz": 93, "xml": 2009,
	}[name]; ok {
		return n
	}
	if name[:min(1, len(name))] == "_" {
		return 2003
	}
	return 1111
}
