//go:build kafka

package kafka_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// TestCompaction lets a real broker compact a log and reads the state again.
// The in-process broker compacts nothing, so this runs with the tag alone.
func TestCompaction(t *testing.T) {
	brokers, ctx := devstack.TestKafka(t), deadline(t)
	policy, soon, often := "compact", "100", "0.01"
	createTopic(t, brokers, "compacted", 1, map[string]*string{
		"cleanup.policy": &policy, "segment.ms": &soon, "min.cleanable.dirty.ratio": &often, "delete.retention.ms": &soon,
	})
	log, _ := openLog(t, brokers, "compacted")
	adm := kadm.NewClient(client(t, brokers))
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	// Each round makes old records that the broker may drop; the last round's
	// stay whatever it does.
	for round := 0; ; round++ {
		for i := range 20 {
			if err := log.Put(ctx, kafkalog.Entry{Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Append(nil, round)}); err != nil {
				t.Fatal(err)
			}
		}
		ends, err := adm.ListEndOffsets(ctx, "compacted")
		if err != nil {
			t.Fatal(err)
		}
		end, _ := ends.Lookup("compacted", 0)
		reader, count := 0, map[string]string{}
		again, err := kafkalog.Open(ctx, kafkalog.Config{
			Client: []kgo.Opt{kgo.SeedBrokers(brokers...)}, Topic: "compacted", Partitions: 1, ExactPartitions: true, Replication: 1,
			Apply: func(r kafkalog.Record) { reader++; state(count).apply(r) },
		})
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
		if len(count) != 20 || count["k19"] != fmt.Sprint(round) {
			t.Fatalf("after round %d the state is %v", round, count)
		}
		if int64(reader) < end.Offset {
			t.Logf("%d of %d records are left", reader, end.Offset)
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the broker compacted nothing of %d records", end.Offset)
		}
	}
}
