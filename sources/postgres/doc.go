// Package postgres reads PostgreSQL: a consistent snapshot of the captured tables
// first, then every committed change from the write-ahead log, in commit order. It
// takes the configuration of Debezium's PostgreSQL connector as it is and writes
// events of the same shape, so that consumers need not know who wrote them.
//
// # Where to read first
//
// task.go tells the life of a task. From there the way of one row:
//
//	session.go   connect, preflight, publication, slot, snapshot, stream, in this order
//	wire.go      the replication connection: frames in one reusable buffer
//	stream.go    the one goroutine that owns it: transactions, relations, changes
//	flow.go      the same goroutine between messages: hand-over, marks, confirmed positions
//	streamed.go  transactions that come while they are in progress (spill.go, spill_store.go)
//	format.go    whether values come as text or in binary form; options.go what is asked for
//	leaving.go   whether the server shuts down; progress.go what is shown of all this
//	decode.go    pgoutput messages, bounds-checked, without copies
//	relation.go  the columns as they were at that position in the log
//	plan.go      a relation compiled: column → field, decoder, key, topic
//	types.go     one table of types; a family of types per types_*.go file; TYPES.md lists them
//	event.go     key, envelope, headers, tombstones (message.go, transaction.go, heartbeat.go)
//	offset.go    the position each record carries, and how it is stored
//	fingerprint.go  what a stored position is compared with before reading begins;
//	             history.go acts on it, remedy.go mends it, takeover.go reads Debezium's
//	batch.go     the memory the rows of one batch share, used again
//	incremental.go  tables that are read beside the log, exactly; signal.go what users ask for
//	fill.go      large values that the log does not repeat, kept on this machine
//	view.go      the tables at one moment, to compare topics with
//
// A snapshot goes another way to the same plans, so that a column has one value
// whichever way it came:
//
//	snapshot_take.go   the view that a slot exports, and what is done with it
//	snapshot.go        several connections that share it, and the marks of records
//	snapshot_measure.go, snapshot_pieces.go  large tables divided by pages
//	snapshot_table.go  pieces read, row by row, into batches
//	snapshot_rows.go   COPY, for everybody who reads rows
//	snapshot_progress.go  how far it is; snapshot_modes.go: when it is taken
//
// slot.go, publication.go, identity.go and preflight.go set up the other side and say
// what is missing there; finding.go is how it is said, also to tidemill doctor, and a
// preflight_*.go file looks at one thing each. conn.go opens connections: hosts.go,
// login.go, tls.go (keys: tls_pkcs8.go) and jdbc.go, the properties of the Java driver.
// config_keys.go declares the settings, config_refusals.go those that have no effect
// or are refused.
//
// What the log does not tell of the other side is watched:
//
//	guard.go     how much log the server keeps for the slot, and what follows of that
//	guard_report.go  what one look finds, and what holds the log; guard_transaction.go
//	figures.go   what the reader of the log tells those who watch it
//	watch.go     looks at the catalogue at a steady pace and acts on what it finds
//	watch_standing.go  how the publication, tables and partitions stand
//	watch_compare.go   what it means that they stand otherwise
//	ddl.go       the event triggers that write changes of schema into the log;
//	             ddl_message.go reads them, ddl_record.go makes records of them
//
// # Changes of shape
//
// The columns of a row are those that the log tells at its place, whatever happens to
// the table later. What the log does not tell (NOT NULL, defaults, the order of key
// columns) comes from the catalogue of the moment in which the shape is first met, and
// is never believed against the log: the key is what the log flags, and a null in a
// column that is NOT NULL today makes the field optional. With
// ddl.capture=event_trigger the log tells these too, exactly.
//
// A column that is added with a default has that value in old rows as well, without
// any change of them in the log: they have it in the topic from their next change on,
// or from a snapshot asked for by a signal. A table that is renamed goes on in the
// topic of its new name. One that is dropped and created again is another table. The
// event triggers are removed with DROP SCHEMA tidemill CASCADE.
//
// # Positions
//
// A change is known by the commit position of its transaction and its ordinal in
// it, never by its own position in the log: rows of one COPY share one, and those
// of interleaved transactions go backwards. Reading resumes at the end of the last
// complete transaction; transactions that committed strictly before it are skipped
// whole, and of a partial one the changes that are known to be safe.
//
// A position is confirmed to the server only after Commit has said that it is
// stored. When nothing is in flight, the positions of keepalives travel the same
// way as marks without a topic, so that an idle database never keeps its log.
//
// # Large transactions
//
// A transaction that takes more memory than the server gives it comes while it is in
// progress (PostgreSQL 14). Its messages are kept, in memory while they are few and else
// in a file that is removed with the connection, and read when it has committed, through
// the same path as those of any other transaction: positions, order and boundaries are
// the same, and one that is rolled back leaves no trace. Where they cannot be kept, or
// the server fails on them, it is asked to wait for the commit itself.
//
// # What differs from Debezium
//
// The defaults of plugin.name (pgoutput) and publication.autocreate.mode
// (filtered) are the ones that work; the buffer is bounded in bytes; heartbeats are
// not needed. Values that the log does not hold are never made up: where the
// replica identity is not FULL, the before image of a deletion has its key and
// nulls, and non-key columns are optional in the schema
// (before.missing.values=fallback gives Debezium's shape). bit(n) keeps its
// leading zero bytes. Composites, multiranges and arrays of everything and of any
// depth have values; a value that no schema holds is a fault, never a guess
// (TYPES.md). The key of a row follows the primary key as the log tells it, not as
// the catalogue has it today.
//
// # Example
//
//	{
//	  "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
//	  "database.hostname": "db", "database.port": "5432",
//	  "database.user": "tidemill", "database.password": "${env:DB_PASSWORD}",
//	  "database.dbname": "shop", "topic.prefix": "shop",
//	  "table.include.list": "public.customers,public.orders"
//	}
package postgres
