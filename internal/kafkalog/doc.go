// Package kafkalog keeps small shared state in a compacted Kafka topic: the
// configurations, offsets and states of a worker, the statements of a SQL engine.
// The newest record of each key is the state; a record without a value removes its
// key.
//
// # The few types
//
// A [Log] is one such topic, opened with [Open]: created when it is missing,
// refused when it would lose state (any cleanup policy but exactly "compact"), and
// read from its start to its end. Every record read is handed to Config.Apply, in
// the order of its partition, by one goroutine at a time: by Open until it returns,
// afterwards by [Log.Run], which follows the topic as it grows.
//
// [Log.Put] and [Log.Delete] return once the brokers have acknowledged; what was
// put arrives at Apply like everybody else's records do, by being read back. To read
// one's own writes, or everything that was written before now by anybody, call
// [Log.ReadToEnd].
//
// With a TransactionalID every Put is one transaction, and opening the log shuts
// out the writer that had that identity before.
//
// [ReadTo] is for who reads any topics up to where they end, also where no record is at
// the end; it rests on [Beyond].
//
// # An example
//
//	state := map[string]string{}
//	log, err := kafkalog.Open(ctx, kafkalog.Config{
//		Client: []kgo.Opt{kgo.SeedBrokers("localhost:9092")},
//		Topic:  "connect-configs", Partitions: 1, ExactPartitions: true, Replication: 1,
//		Apply: func(r kafkalog.Record) {
//			if r.Value == nil {
//				delete(state, string(r.Key))
//				return
//			}
//			state[string(r.Key)] = string(r.Value)
//		},
//	})
package kafkalog
