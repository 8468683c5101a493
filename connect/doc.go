// Package connect is the floor everybody stands on: the records that travel,
// the schemas that describe them, and the contracts that sources, sinks,
// transforms and converters keep. It imports the standard library only, and it
// is also the data model of the streams engine.
//
// # Data
//
// A [Value] is a small tagged union: numbers, strings and bytes travel in it
// without allocation. A [Schema] says what a value means; schemas are immutable
// and interned, so two equal schemas are one pointer, and that pointer is the
// key of every cache. A [Struct] is a schema and its values in field order; no
// map stands on a row's way. A [Record] is a key and a value with their schemas,
// bound for or come from a topic. Batches of [SourceRecord] and [SinkRecord]
// travel, not single ones, and the rows of a batch may share memory.
//
// # Contracts
//
// A plugin is a [SourceConnector] or [SinkConnector] (plans the work, makes
// tasks), a [SourceTask] or [SinkTask] (does it), a [Transform], a [Predicate],
// a [Converter] or a [HeaderConverter]. Interfaces are small; further abilities
// are separate interfaces that an implementation may also have: [Prober], [Committer],
// [RecordCommitter], [PreCommitter], [PartitionOpener], [Validator],
// [OffsetAlterer], [ExactlyOnceSource].
//
// Unless a method says otherwise, the methods of one task are called by one
// goroutine, one after another, and never after Stop has returned. A method that
// blocks must return soon after its context is done.
//
// # Memory
//
// Strings and bytes in a Value are never written to after the Value was made:
// whoever makes one hands the bytes over for good. Readers may keep them as long
// as they like, but one small string keeps the whole slab it was cut from alive;
// copy it (strings.Clone) to hold it for long.
//
// # Errors
//
// An [Error] says what the caller should do ([Class]: try again, leave this
// record, wait for a person), and what a person should read: a stable code, the
// place, the cause and the mend.
//
// # A source in a few lines
//
//	func (t *task) Poll(ctx context.Context) ([]connect.SourceRecord, error) {
//		n, err := t.next(ctx) // blocks until there is something to say
//		if err != nil {
//			return nil, err
//		}
//		return []connect.SourceRecord{{
//			Record: connect.Record{
//				Topic: t.topic, Partition: connect.AnyPartition,
//				ValueSchema: connect.Of(connect.KindInt64), Value: connect.Int64(n),
//			},
//			SourcePartition: t.partition,
//			SourceOffset:    connect.OffsetMap{"n": n},
//		}}, nil
//	}
package connect
