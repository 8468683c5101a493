// Package worker moves records in and out of Kafka: it runs source and sink
// connectors the way a Kafka Connect worker does, keeps their configurations,
// offsets and states in the same three compacted topics and in the same formats,
// and answers the same questions.
//
// # The few types
//
// A [Worker] is the running thing; [New] makes one from [Options] and Run runs it.
// Its [Herder] is what the REST interface talks to. Everything else stays inside:
//
//   - configs.go, status.go and offsets.go each speak the format of one internal
//     topic over a journal: a Kafka topic when distributed, memory or a file when
//     standalone.
//   - supervisor.go runs one goroutine group for each connector, which starts and
//     stops the connector and its tasks and restarts what failed for a reason that
//     may pass. A connector that blocks blocks nobody else.
//   - source_task.go polls, sends through chain.go (transforms and converters) and
//     produces; submitted.go says how far the acknowledgements reach without a gap;
//     that position is stored, and only then is the source told.
//   - sink_task.go consumes as a member of the group connect-<name>, puts, and
//     commits what the task answers for.
//   - group.go and herder_place.go follow what the group of workers has given this one to
//     run (package fleet decides who runs what), and say which worker a request is for.
//
// # Invariants kept here
//
// A source is told that a position is safe only after its records are durable in
// Kafka and the offset is stored (source_task.go). Records of one key keep their
// order: one producer for each task, idempotent, and offsets are stored only up to
// the longest finished prefix (submitted.go). Bytes in flight are bounded by the
// producer's buffer, so that a slow broker makes Poll wait.
//
// # An example
//
//	settings, err := worker.ConfigDef().Parse(raw)
//	if err != nil {
//		return err
//	}
//	w, err := worker.New(worker.Options{Config: settings, Raw: raw, Plugins: plugins, Log: log})
//	if err != nil {
//		return err
//	}
//	return w.Run(ctx) // w.Herder() answers REST meanwhile
package worker
