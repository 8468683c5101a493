package postgres

import (
	"strconv"

	"github.com/tidemill/tidemill/connect"
)

// The places of the source block's fields.
const (
	sourceVersion = iota
	sourceConnector
	sourceName
	sourceTsMs
	sourceSnapshot
	sourceDB
	sourceSequence
	sourceTsUs
	sourceTsNs
	sourceSchemaName
	sourceTable
	sourceTxID
	sourceLSN
	sourceXmin
	sourceOrigin
	sourceOriginLSN
	sourceFields
)

// sourceSchema is the schema of the source block, version 1 of Debezium's.
func sourceSchema() *connect.Schema {
	str, i64 := connect.Of(connect.KindString), connect.Of(connect.KindInt64)
	snapshot := connect.SchemaDef{
		Kind: connect.KindString, Optional: true, Name: "io.debezium.data.Enum", Version: 1, Default: connect.String("false"),
		Params: []connect.Param{{Key: "allowed", Value: "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"}},
	}.MustBuild()
	return connect.SchemaDef{
		Kind: connect.KindStruct, Name: "io.debezium.connector.postgresql.Source", Version: 1,
		Fields: []connect.Field{
			{Name: "version", Schema: str}, {Name: "connector", Schema: str}, {Name: "name", Schema: str}, {Name: "ts_ms", Schema: i64},
			{Name: "snapshot", Schema: snapshot}, {Name: "db", Schema: str}, {Name: "sequence", Schema: str.AsOptional()},
			{Name: "ts_us", Schema: i64.AsOptional()}, {Name: "ts_ns", Schema: i64.AsOptional()},
			{Name: "schema", Schema: str}, {Name: "table", Schema: str}, {Name: "txId", Schema: i64.AsOptional()},
			{Name: "lsn", Schema: i64.AsOptional()}, {Name: "xmin", Schema: i64.AsOptional()},
			{Name: "origin", Schema: str.AsOptional()}, {Name: "origin_lsn", Schema: i64.AsOptional()},
		},
	}.MustBuild()
}

// sourceTemplate returns the source block of a table's events with all that does
// not change from one to the next.
func sourceTemplate(set *settings, version string, table tableName) []connect.Value {
	block := make([]connect.Value, sourceFields)
	block[sourceVersion] = connect.String(version)
	block[sourceConnector] = connect.String("postgresql")
	block[sourceName] = connect.String(set.prefix)
	block[sourceSnapshot] = connect.String("false")
	block[sourceDB] = connect.String(set.database)
	block[sourceSchemaName] = connect.String(table.schema)
	block[sourceTable] = connect.String(table.name)
	return block
}

// stamp is what the source blocks of one transaction's, or one snapshot's, events
// share.
type stamp struct {
	micros    int64 // Of the commit, since the epoch.
	xid       uint32
	lastEnd   uint64 // End of the transaction before; 0 when there is none.
	origin    string
	originLSN uint64
	xmin      connect.Value // Of the slot, when that is asked for.
}

// sourceBlock returns the source block of one event at lsn.
func sourceBlock(a *arena, s *connect.Schema, template []connect.Value, st *stamp, lsn uint64) connect.Value {
	block := a.room(sourceFields)
	copy(block, template) // It has all fields.
	block[sourceTsMs] = connect.Int64(floorDiv(st.micros, 1000))
	block[sourceTsUs] = connect.Int64(st.micros)
	block[sourceTsNs] = connect.Int64(st.micros * 1000)
	block[sourceSequence] = sequence(a, st.lastEnd, lsn)
	if st.xid != 0 {
		block[sourceTxID] = connect.Int64(int64(st.xid))
	}
	block[sourceXmin] = st.xmin
	block[sourceLSN] = connect.Int64(int64(lsn))
	if st.origin != "" {
		block[sourceOrigin] = connect.String(st.origin)
		if st.originLSN != 0 { // It is not known of a transaction that came while it was in progress.
			block[sourceOriginLSN] = connect.Int64(int64(st.originLSN))
		}
	}
	return a.structure(s, block)
}

// sequence writes the end of the last transaction and the event's own position as
// a JSON array of strings.
func sequence(a *arena, lastEnd, lsn uint64) connect.Value {
	b := append(a.tail(48), '[')
	if lastEnd == 0 {
		b = append(b, "null"...)
	} else {
		b = append(strconv.AppendUint(append(b, '"'), lastEnd, 10), '"')
	}
	b = append(strconv.AppendUint(append(b, `,"`...), lsn, 10), `"]`...)
	return connect.StringBytes(a.keep(b))
}
