// Package topics is the little of a Kafka client that deriving tables needs beside
// the streams engine itself: make and delete topics, look at them, write single
// records and read a topic from its start or from now on.
//
//	c, err := topics.Open([]string{"localhost:9092"})
//	err = c.Create(ctx, topics.Spec{Name: "orders", Partitions: 4})
//	err = c.Produce(ctx, &topics.Record{Topic: "orders", Value: []byte("1")})
//	err = c.Read(ctx, "orders", topics.ToEnd, func(r *topics.Record) (more bool, err error) {
//		return true, nil
//	})
package topics
