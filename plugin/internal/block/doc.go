// Package block writes batches of records as compact binary blocks and reads them
// back: what travels between a worker and a plugin in a process of its own.
//
// A block is one batch. Values say what they are (a byte for the kind, then numbers as
// varints, text and bytes with their length), so that every value travels as it is, be it
// described or not. Schemas, topics, the keys of headers and source partitions are sent
// once, where they first occur, and are numbered from then on; the two ends of a stream
// therefore keep an [Encoder] and a [Decoder] each, and blocks are read in the order in
// which they were written. Offsets of sources travel as the JSON they are stored as, less
// what they share with the one before.
//
// The reader trusts nothing: a damaged block is an error, never a panic, and allocates no
// more than its own size accounts for.
package block
