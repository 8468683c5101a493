// Package storm writes to a PostgreSQL database what is hard to capture, and has the
// truth about it travel with the data: the last statement of every transaction is a row
// of the table manifest that says how many row events the transaction has and what they
// add up to. Whoever reads the captured events can tell a transaction that is lost, torn
// or changed from one that is whole, without asking the database.
//
// There are only a few types. [Storm] writes: transfers between accounts whose sum stays
// the same, keys that move, COPY, large values that are not touched, savepoints that are
// rolled back, large transactions, sessions that interleave, changes of schema between
// changes of rows, clients that die in mid-transaction. [Event] is one row event as it
// must appear, [Digest] what the events of a transaction add up to; the reader of the
// topics makes the same digest of what it reads. [ConnectorConfig] is the configuration
// of a connector that captures it all.
//
//	s := storm.New(storm.Options{Seed: 42, Connect: connect})
//	if err := s.Setup(ctx); err != nil {
//		return err
//	}
//	err := s.Run(ctx) // Until ctx is done.
//	final, err := s.Finish(context.Background())
//
// Clients draw from generators seeded each with the seed and its number, so that a seed
// tells what each of them does; how they interleave is the server's affair.
package storm
