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
//
// A panic of an operator's code or of a Serde is a fault like an error, of code
// streams.panic, with the operator, the record's place and the innermost calls in it. The
// first one takes the application back to its last commit, from where everything is done
// again with each operator watched, so that it is known whose the record is.
package fault
