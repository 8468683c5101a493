// Package devstack starts the outside world on one machine: a private
// PostgreSQL cluster, an in-process Kafka broker and a schema registry. The
// demo, the development mode and the tests stand on it.
//
// There are only a few types. [Postgres] is a real PostgreSQL server made with
// the machine's own binaries in a directory of its own; [StartPostgres] makes
// it ready in about half a second with logical decoding switched on. It never
// outlives the process that started it, even when that process is killed, and
// when started by root it runs as an unprivileged account.
//
//	pg, err := devstack.StartPostgres(ctx, devstack.PostgresOptions{NoSync: true})
//	if err != nil {
//		return err
//	}
//	defer pg.Stop(ctx)
//	conn, err := pgx.Connect(ctx, pg.DSN("postgres"))
//
// Tests ask for a database rather than for a server. All calls of one test
// process share one cluster, and each gets a database that no other test sees:
//
//	func TestSomething(t *testing.T) {
//		dsn := devstack.TestPostgres(t)
//		…
//	}
//
// The shared cluster lives until the test process ends; its owner goroutine
// does too, so a test that counts goroutines should start counting after the
// first call (goleak.IgnoreCurrent does that).
//
// [Kafka] is a broker inside this process. It speaks the protocol to any client
// on the machine and keeps its data in memory or in a directory; what it cannot
// do safely, compaction and expiry, it does not do. Tests use [TestKafka].
//
//	kafka, err := devstack.StartKafka(devstack.KafkaOptions{Port: 9092, Dir: "data/kafka"})
//	if err != nil {
//		return err
//	}
//	defer kafka.Stop()
//
// [Registry] serves the schema registry of package registry; tests use
// [TestRegistry].
//
// Nothing here is meant for production, and what users see of it says so.
package devstack
