// Package streams derives streams and tables from Kafka topics: filters, joins
// and aggregates that run where the program runs, keep their state beside it and
// write their results back to Kafka, at least once or exactly once.
//
// # A topology
//
// A [Builder] gathers operators. A [Stream] is a sequence of facts, a [Table] a
// set of rows that change. Methods and functions make one from the other; since
// methods of Go have no type parameters of their own, operators that change types
// are functions.
//
//	b := streams.NewBuilder()
//	orders := streams.From(b, "orders", serde.Text{}, serde.Int64{})
//	orders.Filter(func(_ string, cents int64) bool { return cents > 0 }).
//		GroupByKey(serde.Text{}, serde.Int64{}).
//		Count(streams.With{Store: "orders-by-customer"}).
//		ToStream().
//		To("order-counts", serde.Text{}, serde.Int64{})
//	topology, err := b.Build()
//
// Between the operators of a table travels a [Change]: the row before and after.
// An aggregate of a table subtracts the one and adds the other, and so always is
// the aggregate of the rows there are. [CDC] reads a topic of change events,
// with its inserts, updates, deletes and truncates, as such a table. A [GlobalTable]
// is one that every process has whole.
//
// Package join brings streams and tables together.
//
// # Running it
//
// A topology is split at its repartition topics into sub-topologies, and each of
// these runs as one task for every partition it reads. An [Engine] runs any number
// of topologies, each a consumer group of its own, in any number of processes.
// Within a task the record with the lowest timestamp among those waiting is
// processed next.
//
// A task changes its stores through a write-back cache. A commit empties the
// caches into the changelog topics, waits for everything that was written, commits
// the consumed offsets, in one Kafka transaction with the writes when that is
// wanted, and then applies rows and offsets to the local database in one step. A
// process that dies at any moment finds the database as of some commit and catches
// up from the changelog.
//
// A [View] reads stores from outside, and follow their changes, without
// standing in the way. [Local], and package streamstest around it, runs a topology
// without a broker.
package streams
