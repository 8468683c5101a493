// Package postgres writes records into the tables of a PostgreSQL database: it
// inserts, updates, deletes and truncates as the records say, creates the tables
// and adds the columns that are missing.
//
// It understands change envelopes (before, after, op) as well as plain rows and
// tombstones, and takes the settings of the two common JDBC sink connectors under
// their own names. [Plugins] returns the entries for the list of sinks:
//
//	plugins.Sinks = append(plugins.Sinks, postgres.Plugins()...)
//
// # The way of a batch
//
// task.go is the place to begin. Put hands the records to change.go, which says of
// each what it means: a key, and a row or the lack of one. plan.go holds what was
// worked out once for a topic and its schemas: the table (table.go), its columns and
// how a value becomes text for each of them (types.go and time.go). batch.go gathers
// the changes by table and leaves only the last one for each key; statement.go turns
// them into one statement for the upserts and one for the deletes of each table, with
// a text array for each column. writer.go runs them all in one transaction and one
// round trip.
//
// # What is kept
//
// A batch is written as a whole or not at all. Where the server refuses a row, the
// batch is halved again and again within savepoints until the row stands alone; it
// goes to the errant record reporter, all others are written, in their order.
// Changes of one key never overtake each other. A value that the source could not
// see, because PostgreSQL leaves out large values that did not change, is never
// written: the column stays as it is.
//
// Records put again give the same rows, so at-least-once delivery shows each change
// once. With offsets.table set the positions are kept in the target, in the same
// transaction as the rows, and no change is applied twice even in insert mode.
package postgres
