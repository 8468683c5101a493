// Package bankstorm is the torture test: it writes bank transfers and much else to a
// PostgreSQL while the database, the Kafka broker, the schema registry, the network
// between them and the worker fail over and over again, and then holds what is in Kafka
// against the truth.
//
// [Run] does it all, from an empty directory to a [Result]: it warms up, lets the storm
// go on among faults, heals everything, waits until all has come through, verifies, and
// restarts everything once more, which must emit nothing anew. [Options] say how long,
// from which seed and with which faults; the faults are drawn from the seed alone, so
// that a seed stands for a plan. When something was wrong, a bundle is left that holds
// the logs, the course of events, the state of the slots and a command that does the
// same again; and the list of faults is made shorter for as long as it still fails.
//
//	result, err := bankstorm.Run(ctx, bankstorm.Options{Seed: 1, Duration: time.Minute, Mode: bankstorm.ExactlyOnce, Binary: "bin/tidemill"})
//	if err != nil {
//		return err // The harness itself could not run.
//	}
//	fmt.Println(result.Line())
//
// What goes wrong is in package torture/chaos, what is written in torture/storm, what
// must hold in torture/oracle.
package bankstorm
