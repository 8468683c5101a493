package worker

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestRecordsThatAreRefusedTogetherAreNotLeftOut has brokers that find whole batches too
// large: the task fails, although it tolerates errors, since nothing is wrong with the
// records in them. Smaller batches get through.
func TestRecordsThatAreRefusedTogetherAreNotLeftOut(t *testing.T) {
	for name, settings := range map[string]map[string]string{"at least once": nil, "exactly once": exact} {
		t.Run(name, func(t *testing.T) {
			l := newFakeLab(t)
			most := "600"
			_, err := l.admin.CreateTopic(t.Context(), 1, 1, map[string]*string{"max.message.bytes": &most}, "numbers")
			must(t, err)
			w := l.start(settings)
			c := counter("numbers", "count", "203", "batch", "203", "errors.tolerance", "all")
			w.create("c", c)
			w.waitState("c", "RUNNING FAILED")
			s, err := w.Status("c")
			must(t, err)
			if !strings.Contains(s.Tasks[0].Trace, "producer.override.max.request.size") {
				t.Error(s.Tasks[0].Trace)
			}
			if safe := l.lastSafe("c"); safe != "" {
				t.Errorf("%s is safe", safe)
			}
			_, _, err = w.PutConfig(t.Context(), "c", with(c, "producer.override.max.request.size", most))
			must(t, err)
			wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":203}` })
			if got := l.values("numbers"); !same(got, numbers(1, 203)) {
				t.Errorf("%d values", len(got))
			}
		})
	}
}

// TestRecordThatTheClientRefusesIsRefusedAlone asks the client for the error of a record
// that is too large for it, which concerns no other.
func TestRecordThatTheClientRefusesIsRefusedAlone(t *testing.T) {
	l := newFakeLab(t)
	_, err := l.admin.CreateTopic(t.Context(), 1, 1, nil, "t")
	must(t, err)
	client, err := kgo.NewClient(kgo.SeedBrokers(l.brokers), kgo.ProducerBatchMaxBytes(600))
	must(t, err)
	defer client.Close()
	results := client.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("a")}, &kgo.Record{Topic: "t", Value: make([]byte, 1000)}, &kgo.Record{Topic: "t", Value: []byte("b")})
	for _, r := range results {
		if large := len(r.Record.Value) > 1; large != errors.Is(r.Err, kerr.MessageTooLarge) || refusedTogether(r.Err) {
			t.Error(r.Err)
		}
	}
}
