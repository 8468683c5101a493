// Package oracle reads the topics of a connector that captures a storm (package
// torture/storm) and names what is wrong with them. It knows what is right from the data
// themselves: from the manifest that is the last row of every transaction, from the
// places of events in their transactions, from the versions that rows carry; and at the
// end from the source: its tables, its manifests, and a second replication slot that
// another plugin, test_decoding, has read.
//
// [Reader] reads while the storm goes on and keeps little: 24 bytes for each event, a
// number for each transaction that came whole, a hash for each column of each row.
// [Reader.Check] says, when all is quiet, what does not agree with the source.
//
//	r, err := oracle.New(oracle.Options{Brokers: brokers, Registry: url, ExactlyOnce: true})
//	go r.Run(ctx)
//	…
//	err = r.Wait(ctx, final) // The last transaction of the storm has come whole.
//	anomalies, err := r.Check(ctx, oracle.Truth{Source: conn, Decoded: d})
//
// # What is checked
//
//	partition.go    order of events by (commit position, ordinal), repetitions, writers
//	transactions.go every transaction whole, once, and as its manifest says
//	bank.go         the sum of the accounts, and the versions of each
//	fold.go         the topics folded come to the tables
//	decoding.go     what test_decoding says, event by event, in the order of commits
//	ack.go          nothing is confirmed to the source before it can be read in Kafka
//
// The names of anomalies are those of Jepsen's Kafka tests where there is one.
package oracle
