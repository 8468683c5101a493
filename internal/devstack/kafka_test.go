package devstack_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
)

func client(t *testing.T, brokers []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.AllowAutoTopicCreation()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// values reads all of a topic's committed records.
func values(t *testing.T, brokers []string, topic string) (got []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	// A record behind everything wanted ends the reading, whatever control
	// records stand between.
	marker := fmt.Sprint("end ", time.Now().UnixNano())
	if err := client(t, brokers).ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(marker)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cl := client(t, brokers, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	for {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("after %d records from %v: %v", len(got), brokers, err)
		}
		for _, r := range fetches.Records() {
			if string(r.Value) == marker {
				return got
			}
			if !strings.HasPrefix(string(r.Value), "end ") {
				got = append(got, string(r.Value))
			}
		}
	}
}

func produce(t *testing.T, cl *kgo.Client, topic string, n int) {
	t.Helper()
	for i := range n {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte(strconv.Itoa(i))}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKafkaCompactsNothing shows that a compacted topic keeps all its records
// and its start, and that a topic springs up with one partition.
func TestKafkaCompactsNothing(t *testing.T) {
	brokers := devstack.TestKafka(t)
	cl := client(t, brokers)
	adm := kadm.NewClient(cl)
	policy := "compact"
	if _, err := adm.CreateTopic(t.Context(), -1, -1, map[string]*string{"cleanup.policy": &policy}, "compacted"); err != nil {
		t.Fatal(err)
	}
	produce(t, cl, "compacted", 10)
	produce(t, cl, "sprung", 1)
	if got := values(t, brokers, "compacted"); len(got) != 10 {
		t.Fatalf("got %q", got)
	}
	topics, err := adm.ListTopics(t.Context())
	if err != nil || len(topics["sprung"].Partitions) != 1 || len(topics["compacted"].Partitions) != 1 {
		t.Fatalf("topics %v, error %v", topics, err)
	}
}

// TestKafkaKeepsItsDirectory stops and starts a broker on a fixed port, and
// wants a second one in the same directory refused.
func TestKafkaKeepsItsDirectory(t *testing.T) {
	dir := t.TempDir()
	opts := devstack.KafkaOptions{Dir: dir, Partitions: 3}
	first, err := devstack.StartKafka(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Stop()
	produce(t, client(t, first.Brokers()), "kept", 5)

	wantCode(t, "devstack.dir.locked", opts)
	_, port, _ := strings.Cut(first.Brokers()[0], ":")
	opts.Port, _ = strconv.Atoi(port)
	wantCode(t, "devstack.kafka.port", devstack.KafkaOptions{Port: opts.Port})

	first.Stop()
	second, err := devstack.StartKafka(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Stop()
	topics, err := kadm.NewClient(client(t, second.Brokers())).ListTopics(t.Context(), "kept")
	if err != nil || len(topics["kept"].Partitions) != 3 {
		t.Fatalf("topics %v, error %v", topics, err)
	}
}

func wantCode(t *testing.T, code string, opts devstack.KafkaOptions) {
	t.Helper()
	k, err := devstack.StartKafka(opts)
	var coded *connect.Error
	if !errors.As(err, &coded) || coded.Code != code || coded.Mend == "" {
		t.Errorf("got %v, want code %s and a mend", err, code)
	}
	if k != nil {
		k.Stop()
	}
}

// TestKafkaCrashes takes the directory as a kill would leave it, with a
// transaction open, several times over: what was acknowledged is there and
// what was never committed is not, though the same producer comes back and
// commits what it does next.
func TestKafkaCrashes(t *testing.T) {
	dir := t.TempDir()
	want := 0
	for round := range 4 {
		k, err := devstack.StartKafka(devstack.KafkaOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Stop)
		if got := values(t, k.Brokers(), "t"); len(got) != want {
			t.Fatalf("round %d: %d records, want %d: %q", round, len(got), want, got)
		}
		produce(t, client(t, k.Brokers()), "t", 7)
		tx := client(t, k.Brokers(), kgo.TransactionalID("tx"))
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, tx, "t", 3)
		if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, tx, "t", 10)
		want += 10
		image := t.TempDir()
		if err := os.CopyFS(filepath.Join(image, "log"), os.DirFS(filepath.Join(dir, "log"))); err != nil {
			t.Fatal(err)
		}
		dir = image
	}
}
