// Package txn puts the change events of several topics together again into the
// transactions of the database they come from.
//
// A source of change events writes the rows of one transaction to the topics of many
// tables, and to many partitions, in which they arrive independently of each other. With
// transaction metadata it also says, in a topic of one partition, where each transaction
// ends and how many events it has in each table, and notes in each event which
// transaction it is of, and as which event of it.
//
// A [Source] names that topic. A [Reader] reads the place of an event and the end of a
// transaction. A [Gate] holds events until the transaction whose turn it is, by the
// position of its commit in the log of the database, is there whole, and gives it out
// then. A snapshot is one transaction, at the position it was taken at. What comes twice
// is given out once.
package txn
