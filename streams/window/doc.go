// Package window aggregates the records of a stream over windows of time: tumbling,
// hopping, sliding, session and unlimited ones.
//
//	orders := streams.From(b, "orders", serde.Text{}, serde.Int64{}).GroupByKey(serde.Text{}, serde.Int64{})
//	perMinute := window.Count(orders, window.Tumbling(time.Minute).Grace(10*time.Second))
//	perMinute.ToStream().To("orders-per-minute", window.TimeKeys(serde.Text{}, time.Minute), serde.Int64{})
//
// The result is a table whose key is a [Windowed] one. Everything a table has works on
// it; [View] reads it from outside by key and time.
//
// # Time
//
// Time is that of the records, as far as the operator has met them: it moves when a
// record has a later timestamp than all before, and stands still otherwise. A window
// closes when its last moment is further back than [Windows.Grace], and, of a session,
// the gap besides. Records come in any order until then; those that come later are
// dropped and counted. The operator's time is kept with its rows, so that it closes the
// same windows after a restart as it would have without.
//
// # Results
//
// Every change of a window is passed on, or the last one of each commit where the table
// is cached, or, with [Windows.OnClose], one final result when the window has closed.
// [UntilClosed] does that for any table of windows, with a buffer of its own, and
// [UntilLimit] holds the changes of any table back for a time.
//
// # What is kept
//
// Windows are kept in the store as long as they can change, and longer where
// [Windows.Keep] says so. They expire by their own times, not by the clock; the changelog
// keeps them for a day longer, by the timestamps of its records. Who reads records from
// long ago has to set retention.ms of the changelog accordingly: brokers compare it with
// the clock.
//
// Keys and values are laid out as in Kafka Streams: windows in the changelog and in
// output topics can be read by its serdes, and those it wrote by [TimeKeys] and
// [SessionKeys].
package window
