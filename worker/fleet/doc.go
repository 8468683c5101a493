// Package fleet divides the connectors and tasks of a cluster of workers among its
// workers, by Kafka's classic group protocol with the protocol type "connect" and in
// Kafka Connect's own formats (KIP-415, KIP-507).
//
// # The few types
//
// A [Member] is one worker's place in the group. [Member.Run] joins, shows life,
// joins again when work is to be divided anew, and gives the place up at the end. What
// is configured it asks of a [Host], and tells it what to run and what to stop. [Work]
// is a connector or a task of one; [State] is what a member knows of its group.
//
//   - codec.go has the bytes: [Metadata] is what each member says of itself when it
//     joins, [Assignment] what the leader sends to each.
//   - assign.go decides, as a pure function, who runs what.
//   - member.go and pulse.go speak to the brokers.
//
// # Who runs what
//
// What runs stays where it is. A change of the configurations only adds work, to the
// members that have the least, or takes away what is configured no more. Work moves only
// after the members themselves have changed, and then in two rounds: it is first stopped
// where there is too much, and given to another when it has stopped.
//
// Unlike Kafka Connect's leader, this one sends each member all that it is to run and not
// only what is new. Its members understand both, and so does Connect's. So a static member
// (KIP-345) that was killed and comes back within its session is told at once what it ran,
// without a rebalance.
//
// # Who has lost its place
//
// A member that has not heard of the brokers for as long as its session lasts stops all
// its work, since another may have been given it. [Member.Confirm] is for those who are
// about to do what only the right one may do: it returns when the place is certain.
//
// # An example
//
//	m := fleet.NewMember(fleet.Config{Client: client, Group: "connect", URL: "http://w1:8083/", Host: herder})
//	err := m.Run(ctx)
package fleet
