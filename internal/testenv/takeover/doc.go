// Package takeover holds nothing but a test, which make test-takeover runs: a worker of the
// real Kafka Connect begins, ours goes on with what it has left in the brokers, and Kafka
// Connect comes back.
package takeover
