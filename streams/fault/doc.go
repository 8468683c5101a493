// Package fault says what becomes of a record that cannot be read, processed or
// written. A function decides, for each [Fault] anew, with a [Verdict]:
//
//	streams.App{
//		ID: "orders", Topology: topology,
//		OnFault: func(f *fault.Fault) fault.Verdict {
//			if f.Stage == fault.Reading {
//				return fault.Continue
//			}
//			return fault.Fail
//		},
//		DeadLetters: "orders-dead",
//	}
//
// [Skip] and [SkipUnreadable] are such functions. Without one everything fails the
// application, as Kafka Streams does by default. The records that are passed over go
// to the dead letter topic, if there is one, with headers that tell why, named as
// Kafka names them (KIP-1034).
package fault
