// Package txntest writes what a source of change events writes for the transactions of a
// database that exists in a test alone: envelopes with their places in the transactions,
// snapshots, and transaction metadata. Records of different partitions may be mixed as
// they arrive, independently of each other.
package txntest
