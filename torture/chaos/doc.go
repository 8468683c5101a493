// Package chaos is the world that a torture run takes place in, and what goes wrong in
// it: a private PostgreSQL, a Kafka broker, a schema registry and a worker, each a
// process of its own on the loopback, with proxies between them, and a table of faults.
// Several workers may be on machines of their own, as far as networks go.
//
// There are only a few types. [World] starts everything in one directory, restarts what
// dies and takes it down again. [Fault] is one thing that goes wrong at one moment, as
// plain data; [Classes] lists the kinds there are. A [Plan] is a list of faults drawn
// from a seed, and [World.Inject] does one of them and undoes it. The [Monitor] writes a
// marker row ten times a second and follows it into Kafka: it tells how long recovery
// takes, and holds at every sample that PostgreSQL was told to forget nothing that is
// not durable in Kafka and recorded in the stored offsets. A [Journal] keeps what
// happened and when; [Anomaly] is what must not happen.
//
//	w, err := chaos.Start(ctx, chaos.Options{Dir: dir, Binary: "bin/tidemill"})
//	if err != nil {
//		return err
//	}
//	defer w.Stop()
//	for _, f := range chaos.Random(seed, time.Minute, 2*time.Second, nil, chaos.Also{}) {
//		err := w.Inject(ctx, f)
//		…
//	}
//
// Processes die with the program that started them, and are ended by their numbers
// alone.
package chaos
