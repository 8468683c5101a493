// Package join brings streams and tables together by their keys: the joins of Kafka
// Streams, with its results, timestamps and rules for nulls.
//
//	left      right        function    results come from        time of a result
//	stream    table        StreamTable records of the stream    that of the record
//	stream    global table Global      records of the stream    that of the record
//	stream    stream       Streams     both, within a window    the later of the two
//	table     table        Tables      both                     the later of the two
//	table     table        ForeignKey  both                     the later of the two
//
// A [Joiner] says what a join has results for and what they are: [Inner] those of
// pairs, [Left] also those of the left side alone, [Outer] those of either side
// alone. Its function gets a [Pair].
//
//	join.StreamTable(orders, customers, join.Left(func(_ string, p join.Pair[Order, Customer]) Invoice {
//		return invoice(p.Left, p.Right, p.HasRight)
//	}), orderSerde)
//
// Where the table has a history, StreamTable looks up the row of the record's time, and
// With.Grace lets records wait for rows that come late:
//
//	rates := streams.TableFrom(b, "rates", serde.Text{}, rateSerde, streams.With{History: time.Hour})
//	join.StreamTable(orders, rates, convert, orderSerde, streams.With{Grace: time.Minute})
//
// Except for Global and ForeignKey, both sides have to lie in equally many
// partitions, cut by the same keys; [streams.Topology] is checked for that when it
// starts. A stream whose keys may have changed goes through a repartition topic
// first.
//
// A record of a stream without value joins nothing and is dropped. One without key
// has no partner: Left and Outer joins have its result alone, Inner ones drop it.
package join
