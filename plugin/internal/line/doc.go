// Package line is how a worker and the process of a plugin speak: calls in both
// directions over one gRPC stream, which ends with the connector or task it is for.
//
// A [Line] is symmetrical. Each end calls the other with [Line.Call], is called through its
// [Handler], and may end a call early by its context. Calls that come back while another
// one is on its way can be served by the goroutine that waits for it
// ([Line.CallServing]): what a task asks of its worker from within Put is then done by the
// goroutine that called Put, as if the task were in the same process.
//
// Bodies are opaque: blocks of records (package block), or JSON ([Pack], [Unpack]).
// Errors keep their code, class, place, message, mend and causes.
//
// The bytes on their way are bounded: a worker asks for one batch ahead at most, gives one
// batch at a time, and behind that stand the fixed windows of the stream
// ([DialOptions], [ServerOptions]), so that an end that does not read blocks the other.
package line
