// Package datagen makes rows from nothing: orders, users, page views, an inventory.
// It is for demonstrations and measurements, and it is the second implementation of
// the source contract, small enough to be read before writing another.
//
// Every row is a function of the seed and the row's number. Keys come in rounds: in
// each round every key is changed once, in an order that differs from round to
// round. What a row was before is therefore what the function gives for the same key
// one round earlier, and nothing needs to be remembered: a task that restarts goes
// on exactly where its stored offset says.
//
// The pieces: [Plugin] is the entry for the list of plugins, with the settings
// (connector.go). task.go keeps the pace. rows.go says which key comes when, and what
// happens to it. templates.go holds the tables, and record.go puts a row into a
// record: a change envelope as Debezium writes it, or the row alone.
//
//	{"connector.class": "tidemill.Datagen", "topic": "shop.orders", "quickstart": "orders", "rate": "100"}
package datagen
