// Package connecttest holds the suites that every plugin passes, and the small
// harnesses with which a room runs its own tasks in its own tests.
//
// [Source] and [Sink] check what the contracts of package connect promise: a
// source's order and resumption, a sink's repeatability, who stops when a context
// ends, what is left running after Stop. A plugin's author calls one function:
//
//	func TestConformance(t *testing.T) {
//		connecttest.Source(t, connecttest.SourceCase{
//			New:     func() connect.SourceConnector { return datagen.New() },
//			Config:  func(testing.TB) connect.Config { return connect.Config{"topic": "t", "quickstart": "orders"} },
//			Records: 20,
//			Bad:     connect.Config{"quickstart": "no such"},
//		})
//	}
//
// [Transform] checks what a transform makes of records. [Converter] checks a converter with
// values of many shapes; [RandomSchema] and
// [RandomValue] make them, and [ChangeSample] is a change as sources make it, for
// benchmarks.
//
// [StartSource] runs the task of a source with its offsets in an [Offsets], and
// [StartSink] feeds the task of a sink, in the way a worker does:
//
//	run := connecttest.StartSource(t, connector, config, &offsets)
//	first := run.Take(10) // Polls until there are ten.
//	run.Commit()          // Stores their offsets, then tells the task.
//	run.Stop()
//
// Both call the methods of a task from the test's goroutine, so a harness belongs
// to one goroutine.
package connecttest
