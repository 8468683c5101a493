package failpoint

// Point is a failpoint: its name, where it stands, and whether it may return an error.
type Point struct {
	Name, About string
	Fails       bool
}

func at(name, about string) Point    { return Point{Name: name, About: about} }
func fails(name, about string) Point { return Point{Name: name, About: about, Fails: true} }

// Points returns all failpoints, in the order in which a row passes them.
func Points() []Point {
	return []Point{
		at("source.publication", "The publication is about to be made, or tables are about to be added to it."),
		at("source.slot.make", "The slot is about to be made; nothing of it is on the server."),
		at("source.slot.made", "The slot is there and its view is exported; nothing is read or stored yet."),
		at("source.snapshot.begin", "The tables are measured, and their reading begins."),
		at("source.snapshot.hand", "A batch of the snapshot is about to be handed over."),
		at("source.snapshot.table", "All of a table has been read, but its last row has not been handed over."),
		at("source.snapshot.last", "All tables have been read; the last row, which carries the position behind the snapshot, is about to be handed over."),
		at("source.snapshot.read", "The whole snapshot was handed over; the log is not read yet."),
		at("source.stream.started", "The server was asked for the log from the position on."),
		at("source.stream.relation", "The log has told the shape of a table, which is about to be taken in."),
		at("source.stream.begin", "A transaction begins that was not sent before."),
		at("source.stream.commit", "A transaction has ended; its last record has the position behind it and waits to be handed over."),
		at("source.stream.mark", "A mark was made that carries a position without a record."),
		at("source.stream.hand", "A batch of changes is about to be handed over."),
		at("source.spill.block", "A block of a transaction in progress begins."),
		fails("source.spill.write", "A part of a transaction in progress is about to go to its file; may fail."),
		at("source.spill.written", "A part of a transaction in progress went to its file."),
		at("source.spill.replay", "A transaction that came in progress has committed, and its replay begins."),
		at("source.spill.replayed", "The replay is over, and the commit comes."),
		at("source.fill.commit", "Large values are about to be made lasting, before the position that needs them."),
		at("source.incremental.window", "The window of a chunk that is read beside the log opens."),
		at("source.incremental.read", "A chunk was read; its mark is not in the log yet."),
		at("source.incremental.send", "A chunk is about to be reconciled with the changes around it."),
		at("source.incremental.sent", "The rows of a chunk wait to be handed over."),
		at("source.commit", "The worker has told the source what is stored."),
		at("source.report", "A position is about to be confirmed to the server."),
		at("source.reported", "A position was confirmed to the server."),
		at("worker.source.opened", "A source task has its producer and knows its offsets; the plugin is not started."),
		at("worker.produce", "A batch is about to be produced (at least once)."),
		at("worker.produced", "A batch is with the producer (at least once)."),
		at("worker.acked", "The brokers have acknowledged a record, which is not marked as finished yet (at least once)."),
		at("worker.offsets.store", "Offsets are about to be stored (at least once)."),
		fails("worker.offsets.write", "Offsets are about to be written to their topic; may fail (at least once)."),
		at("worker.offsets.stored", "Offsets are durable; the source does not know yet."),
		at("worker.source.drain", "A source task stops, and waits for what is on its way."),
		at("worker.transaction.begun", "A Kafka transaction was begun, and nothing was produced in it."),
		at("worker.transaction.offsets", "All records of a transaction are with the producer, and its offsets are about to follow."),
		fails("worker.transaction.flushed", "Records and offsets are acknowledged; the transaction is not committed; may fail."),
		at("worker.transaction.committed", "The transaction is committed; nobody was told."),
		at("worker.transaction.told", "Those who want to know of each record were told; the source was not."),
		at("worker.transaction.split", "A source transaction is divided: a part of it is about to be committed."),
		at("worker.transaction.rollback", "What is open is about to be rolled back."),
		at("worker.config.write", "Configurations are about to be written to their topic."),
		at("worker.config.written", "Configurations were written, and are about to be read back."),
		at("worker.config.tasks", "The configurations of tasks were written, but not the commit that makes them count."),
		fails("kafkalog.write", "Records are about to be written to an internal topic; may fail."),
		at("kafkalog.commit", "Records of an internal topic are acknowledged; their transaction is not committed."),
		at("kafkalog.written", "Records are in an internal topic."),
		at("worker.sink.put", "A batch is about to be handed to a sink."),
		at("sink.write", "A batch is about to be sent to the target database in one transaction."),
		at("sink.positions", "The positions kept in the target are about to move."),
		at("sink.written", "The target database has committed a batch."),
		at("worker.sink.written", "A sink has taken a batch; its offsets are not committed."),
		at("worker.sink.commit", "The offsets of a sink are about to be committed."),
		at("worker.sink.committed", "The offsets of a sink are committed."),
	}
}
