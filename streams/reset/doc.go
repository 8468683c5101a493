// Package reset takes an application of package streams back to before it ran, as
// kafka-streams-application-reset and KafkaStreams.cleanUp do together: the offsets
// it has committed, its internal topics and its local state. A [Plan] says what there
// is and what is to become of it; carrying it out is a step of its own.
//
//	plan, err := reset.Prepare(ctx, reset.Options{App: "orders", Brokers: brokers, Dir: "/var/lib/orders"})
//	fmt.Print(plan)
//	err = plan.Run(ctx)
//
// What the application has written to topics of others stays.
package reset
