// Package streamstest runs a topology in a test: no broker, one partition of each
// topic, time that moves by hand, records that run to completion before the call
// that pipes them in returns.
//
//	d := streamstest.New(t, topology)
//	orders := streamstest.In(d, "orders", serde.Text{}, serde.Int64{})
//	counts := streamstest.Out(d, "order-counts", serde.Text{}, serde.Int64{})
//	orders.Pipe("ada", 120)
//	got := counts.Read() // [{Key: "ada", Value: 1, …}]
//
// Every record is followed by a commit, so that cached tables pass every update
// on; [Driver.Hold] lets several records share one, as they do in an engine.
package streamstest
