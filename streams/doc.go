// Package streams derives streams and tables from Kafka topics: filters, joins
// and aggregates that run where the program runs, keep their state beside it and
// write their results back to Kafka, at least once or exactly once.
//
// # A topology
//
// A [Builder] gathers operators. A [Stream] is a sequence of facts, a [Table] a
// set of rows that change. Methods and functions make one from the other; since
// methods of Go have no type parameters of their own, operators that change types
// are functions.
//
//	b := streams.NewBuilder()
//	orders := streams.From(b, "orders", serde.Text{}, serde.Int64{})
//	orders.Filter(func(_ string, cents int64) bool { return cents > 0 }).
//		GroupByKey(serde.Text{}, serde.Int64{}).
//		Count(streams.With{Store: "orders-by-customer"}).
//		ToStream().
//		To("order-counts", serde.Text{}, serde.Int64{})
//	topology, err := b.Build()
//
// Between the operators of a table travels a [Change]: the row before and after.
// An aggregate of a table subtracts the one and adds the other, and so always is
// the aggregate of the rows there are. [CDC] reads a topic of change events,
// with its inserts, updates, deletes and truncates, as such a table. A [GlobalTable]
// is one that every process has whole.
//
// Package join brings streams and tables together.
//
// # Topics by pattern
//
// With [With.Pattern] a stream is read from all topics whose whole names match a regular
// expression, also those that are made while the application runs:
//
//	orders := streams.From(b, "orders-.*", serde.Text{}, serde.Int64{}, streams.With{Pattern: true})
//
// Each process looks at the topics there are as often as its client looks at those it reads
// (kgo.MetadataMaxAge in [Config.Client], 5 minutes without it), and when the group gives it
// one that it does not know. When others match than before, it commits, starts anew within
// its group and reads them from their start, or where App.FromLatest says. A topic that is
// gone is not read any more.
//
// A task reads the partitions of its number of all topics that match, in one process at a
// time: a new topic's partition goes to who runs the task, and when the task moves it waits
// until the others have been given up. So a key has its rows in one task as long as all
// topics are partitioned alike, which is for those who write them to see to: topics of
// different sizes, or of another partitioner, have the records of one key in several tasks,
// each with a row of its own. There are as many tasks as the largest of the topics has
// partitions. A topic that is larger than all before it asks for more, which an application
// with stores or repartition topics cannot have: it fails with streams.topic.partitions in
// all processes, as in Kafka Streams, and nothing is lost by it. Where streams are joined,
// all topics have equally many, or the application fails with streams.copartition. Rows stay
// when the topic goes that they were made of.
//
// While no topic matches, the rest of the topology is at work, if it needs no repartition
// topic behind the pattern. The application's own topics and its dead letters never match. A
// topic that is read by its name as well, or matches two patterns, is refused.
//
// # Versions of a table
//
// A table has the rows there are. With [With.History] it also keeps those that its keys had
// before, for that long in the time of its records, and can be asked which row a key had at
// a time (KIP-889):
//
//	rates := streams.TableFrom(b, "rates", serde.Text{}, serde.Float64{}, streams.With{Store: "rates", History: 24 * time.Hour})
//
// A record is the row of its key from the record's time on, until the next one; one without
// value says that there is none. Records may come in any order, and each takes the place
// that its time has among the others. One that is older than the latest of the table's
// partition by more than the history comes too late; it is dropped and counted. The row
// that a key has is kept however old it is.
//
// Operators after such a table make use of it, or pass over what is of the past (KIP-914):
// a stream that is joined with it meets the rows of its records' times, and can wait for
// those that come late, see package join. Joins of tables, and groups of a table's rows,
// are made of the rows there are: a change of the past ([Change.Past]) is dropped. Tables that are made of it row by
// row, such as by [Table.Filter], have its history. [Table.ToStream] has all changes. A
// table with a history passes each of them on at once, cannot be held back, and is not for
// transaction mode. [View.LookupAsOf] and [View.Versions] read it from outside, and
// operators written by hand keep versions of their own with [Context.Versions].
//
// Its changelog has every version, each a record with the time from which on it holds, and
// is not compacted for as long as the history and a day; Kafka Streams can read it.
//
// # Transactions of the database
//
// Tables that are captured from one database arrive in many topics and partitions, each
// at its own pace. By records, which is how an application runs unless it says otherwise,
// each change is processed when it arrives, and a result made of several tables, or of
// several rows of one, passes through states that the database never had: a transfer is
// taken from one account and not yet added to the other.
//
// With [App.Transactions] it does not. Events wait until everything of their transaction
// is there, of all tables and partitions, which the source's transaction metadata tells
// (package txn). The transactions that are there are then processed together, in the
// order of their commits, and what comes of them, in stores, changelogs and output
// topics, is committed in one step. Each operator has all input of that step before it
// passes on what its rows have become, once for each row; a stream meets the rows of a
// table as they are at the end of the stream's own transaction. So whoever reads stores,
// or what is committed in output topics, sees the results of a state that the database
// had, and of later and later ones. A [query.Moment] reads several stores as of one
// position in the database's log, which it tells; records that are written have it in the
// header __tidemill.lsn. A snapshot is one transaction, and nothing is seen before all of
// it is there.
//
// A transaction may be larger than memory. It is held until it is whole, and so is a
// snapshot, up to [txn.Source.MaxBytes] in memory and, where the engine has a directory,
// up to [txn.Source.MaxDiskBytes] on the disk. The rows that it changes are in the
// write-back caches until the commit, each once, and those that are more than about three
// times [Config.CacheBytes] go to the disk, where only the application's own operators see
// them: they become the database's in one step. What is written to Kafka for a transaction
// is one Kafka transaction, of any size, which takes no longer than
// [txn.Source.CommitTimeout].
//
// Windows close by the time of the transactions before, of all partitions: what one
// transaction has written comes too late as a whole, or not at all.
//
// It costs this: one process of the application has all partitions and does all the
// work, with what would be in repartition topics, and alone answers for the stores,
// while the others stand by; where a stream meets a table or another stream, each
// transaction is a commit of its own.
// Tables are read with [CDC] and kept, and so are global ones, with [CDC.Global].
// Operators of which it is not known that they give only what is true at the end of a
// transaction are refused: windows that are passed on as they close and not with
// UntilClosed, and Process. Tables are joined in every way, by foreign key too, and so are
// streams. The source is one, with provide.transaction.metadata and
// transaction.metadata.snapshot, its transaction topic has one partition, no transform
// drops events, and the topics are kept for as long as an application may have to read
// them, from their beginning or from a later snapshot on, without compaction. What is
// missing is told by an error, never passed over.
//
// # Running it
//
// A topology is split at its repartition topics into sub-topologies, and each of
// these runs as one task for every partition it reads. An [Engine] runs any number
// of topologies, each a consumer group of its own, in any number of processes.
// Within a task the record with the lowest timestamp among those waiting is
// processed next.
//
// A task changes its stores through a write-back cache. A commit empties the
// caches into the changelog topics, waits for everything that was written, commits
// the consumed offsets, in one Kafka transaction with the writes when that is
// wanted, and then applies rows and offsets to the local database in one step. A
// process that dies at any moment finds the database as of some commit and catches
// up from the changelog. Stores whose rows are put once, such as those of a join of
// streams, are written to their changelogs as records are processed, so that a commit has
// less to wait for; operators ask for it with state.Spec.LogAtOnce.
//
// With [App].Standbys other processes keep copies of a task's stores from their
// changelogs, and the task goes to one of them when its process is gone. A process that
// has little of a store, such as a new one, warms up before a task is moved to it.
// With [Config].Remote the processes ask each other for rows, so that each can be asked
// for those of all; where they answer and what each has travels in the consumer group.
//
// A [View] reads stores from outside, and follow their changes, without
// standing in the way. [Local], and package streamstest around it, runs a topology
// without a broker.
package streams
