// Package sim runs the real worker and the real PostgreSQL source in virtual time
// (testing/synctest), over a network in memory, against a server, brokers and a
// registry that fail all the time. Hours pass in a second, so that rare orders of
// events are met that no test with real processes waits for.
//
// # The parts
//
//	sim.go       one simulation: what is opened, played, mended and judged
//	network.go, half.go  the network: connections that are cut, swallow, or finish
//	database.go  the model: a log, transactions, rows, a slot that a crash sets back
//	server.go    PostgreSQL's protocol over the model; catalogue.go knows the queries
//	sender.go    the log sent to a reader, as pgoutput.go writes it
//	workload.go  who writes transactions; faults.go who makes faults
//	plant.go     the worker, one life after another
//	oracle.go    what came to Kafka compared with the model
//
// # What is judged
//
// Nothing is lost and nothing comes that never committed; changes of a partition come
// in the order of their commits; with exactly-once nothing comes twice, and without it
// only stretches that continue where they began; a confirmed position is never beyond
// what was readable in Kafka and stored at that moment; no task fails for good; and
// when the faults end, everything arrives within minutes and the topics fold to the
// tables.
//
// The same seed makes the same faults at the same times, but goroutines run in an
// order of their own, so that two runs may differ in detail.
package sim
