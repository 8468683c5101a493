//go:build !kafka

package devstack

import "context"

// TestKafka returns the addresses of a fresh broker in memory for one test.
// With the build tag kafka and the variable TIDEMILL_TEST_BROKERS it returns
// those brokers instead, and deletes at the end of the test what appeared on
// them meanwhile; so the same tests show that we work with a real Kafka.
func TestKafka(tb TB) []string {
	tb.Helper()
	k, err := StartKafka(KafkaOptions{})
	if err != nil {
		tb.Fatalf("starting the in-process broker for this test: %v", err)
	}
	tb.Cleanup(k.Stop)
	return k.Brokers()
}

// TestRegistry returns the URL of a fresh registry in memory for one test.
// With the build tag kafka and the variable TIDEMILL_TEST_REGISTRY it returns
// that registry instead, and deletes at the end of the test the subjects that
// appeared in it meanwhile.
func TestRegistry(tb TB) string {
	tb.Helper()
	r, err := StartRegistry("127.0.0.1:0", "")
	if err != nil {
		tb.Fatalf("starting the schema registry for this test: %v", err)
	}
	tb.Cleanup(func() {
		if err := r.Stop(context.Background()); err != nil {
			tb.Fatalf("%v", err)
		}
	})
	return r.URL()
}
