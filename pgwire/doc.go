// Package pgwire lets PostgreSQL's clients ask the SQL engine: psql, pgx, JDBC drivers, Grafana.
//
// A [Server] speaks PostgreSQL's protocol, version 3, to any number of clients. Each
// connection is a session, of two goroutines: one reads what the client sends, so that a
// client that goes away or cancels is noticed while its query runs, the other answers. What
// is sent goes through an outlet that holds a bounded part of a result and gives up on a
// client that takes nothing for a minute.
//
// The simple protocol takes texts of statements, the extended one prepared statements with
// arguments. A portal whose rows are taken by parts stands still between two of them; it ends
// with the transaction, as PostgreSQL's do.
//
// Statements are those of the engine. What clients send of PostgreSQL's own (BEGIN, SET, SHOW,
// SELECT version()) is answered here; there are no transactions, so statements that change
// something are refused between BEGIN and COMMIT.
package pgwire
