// Package kafka_test holds what we rely on from a broker and a schema registry,
// as tests that pass on the in-process ones and, run by the script beside them,
// on a real Apache Kafka and a foreign registry.
package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func client(t *testing.T, brokers []string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func createTopic(t *testing.T, brokers []string, name string, partitions int32, settings map[string]*string) {
	t.Helper()
	if _, err := kadm.NewClient(client(t, brokers)).CreateTopic(deadline(t), partitions, 1, settings, name); err != nil {
		t.Fatal(err)
	}
}

func produce(t *testing.T, cl *kgo.Client, topic string, values ...string) {
	t.Helper()
	for _, v := range values {
		if err := cl.ProduceSync(deadline(t), &kgo.Record{Topic: topic, Key: []byte(v), Value: []byte(v)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// read returns the values of the first n records of a topic.
func read(t *testing.T, brokers []string, topic string, n int, opts ...kgo.Opt) (values []string) {
	t.Helper()
	cl := client(t, brokers, append(opts, kgo.ConsumeTopics(topic))...)
	for ctx := deadline(t); len(values) < n; {
		fetches := cl.PollRecords(ctx, n-len(values))
		if err := fetches.Err0(); err != nil {
			t.Fatalf("after %q: %v", values, err)
		}
		for _, r := range fetches.Records() {
			values = append(values, string(r.Value))
		}
	}
	return values
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// TestTransactions shows what a reader of committed records sees of a
// committed, an aborted and an open transaction, and that a newer producer
// shuts out an older one of the same identity.
func TestTransactions(t *testing.T) {
	brokers, ctx := devstack.TestKafka(t), deadline(t)
	createTopic(t, brokers, "tx", 1, nil)
	old := client(t, brokers, kgo.TransactionalID("writer"), kgo.DefaultProduceTopic("tx"))
	for _, tx := range []struct {
		value string
		end   kgo.TransactionEndTry
	}{{"committed", kgo.TryCommit}, {"aborted", kgo.TryAbort}} {
		if err := old.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, old, "tx", tx.value)
		if err := old.EndTransaction(ctx, tx.end); err != nil {
			t.Fatal(err)
		}
	}
	if err := old.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, old, "tx", "open")
	equal(t, read(t, brokers, "tx", 1, kgo.FetchIsolationLevel(kgo.ReadCommitted())), "committed")
	equal(t, read(t, brokers, "tx", 3, kgo.FetchIsolationLevel(kgo.ReadUncommitted())), "committed", "aborted", "open")

	newer := client(t, brokers, kgo.TransactionalID("writer"))
	if err := newer.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, newer, "tx", "after")
	if err := newer.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	err := old.ProduceSync(ctx, &kgo.Record{Topic: "tx", Value: []byte("zombie")}).FirstErr()
	if err == nil {
		err = old.EndTransaction(ctx, kgo.TryCommit)
	}
	if !errors.Is(err, kerr.InvalidProducerEpoch) && !errors.Is(err, kerr.ProducerFenced) {
		t.Fatalf("the older producer was not shut out: %v", err)
	}
	equal(t, read(t, brokers, "tx", 2, kgo.FetchIsolationLevel(kgo.ReadCommitted())), "committed", "after")
}

// TestGroupHandsOver moves the work of a group's member to the next one, with
// the offsets that the first committed in a transaction.
func TestGroupHandsOver(t *testing.T) {
	brokers, ctx := devstack.TestKafka(t), deadline(t)
	createTopic(t, brokers, "in", 4, nil)
	createTopic(t, brokers, "out", 1, nil)
	const each = 20
	writer := client(t, brokers)
	for round := range 2 {
		for i := range each {
			produce(t, writer, "in", fmt.Sprint(round*each+i))
		}
		session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(brokers...), kgo.TransactionalID(fmt.Sprint("member", round)),
			kgo.ConsumerGroup("group"), kgo.ConsumeTopics("in"), kgo.RequireStableFetchOffsets(), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		if err != nil {
			t.Fatal(err)
		}
		copyAll(ctx, t, session, each)
		session.Close()
	}
	seen := map[string]int{}
	for _, v := range read(t, brokers, "out", 2*each, kgo.FetchIsolationLevel(kgo.ReadCommitted())) {
		seen[v]++
	}
	if len(seen) != 2*each {
		t.Fatalf("%d of %d records came through: %v", len(seen), 2*each, seen)
	}
}

// copyAll copies n records from a session's input to the topic "out".
func copyAll(ctx context.Context, t *testing.T, session *kgo.GroupTransactSession, n int) {
	t.Helper()
	for n > 0 {
		fetches := session.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		if err := session.Begin(); err != nil {
			t.Fatal(err)
		}
		records := fetches.Records()
		for _, r := range records {
			session.Produce(ctx, &kgo.Record{Topic: "out", Value: r.Value}, nil)
		}
		committed, err := session.End(ctx, kgo.TryCommit)
		if err != nil {
			t.Fatal(err)
		}
		if committed {
			n -= len(records)
		}
	}
}

// state collects what a log's records say.
type state map[string]string

func (s state) apply(r kafkalog.Record) {
	if r.Value == nil {
		delete(s, string(r.Key))
		return
	}
	s[string(r.Key)] = string(r.Value)
}

func openLog(t *testing.T, brokers []string, topic string) (*kafkalog.Log, state) {
	t.Helper()
	s := state{}
	log, err := kafkalog.Open(deadline(t), kafkalog.Config{
		Client: []kgo.Opt{kgo.SeedBrokers(brokers...)},
		Topic:  topic, Partitions: 1, ExactPartitions: true, Replication: 1, Apply: s.apply,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	return log, s
}

// TestLog keeps state in a compacted topic that the broker makes as asked.
func TestLog(t *testing.T) {
	brokers, ctx := devstack.TestKafka(t), deadline(t)
	log, _ := openLog(t, brokers, "configs")
	for i := range 10 {
		entry := kafkalog.Entry{Key: fmt.Appendf(nil, "k%d", i%3), Value: fmt.Append(nil, i)}
		if err := log.Put(ctx, entry); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Delete(ctx, []byte("k1")); err != nil {
		t.Fatal(err)
	}
	if _, s := openLog(t, brokers, "configs"); len(s) != 2 || s["k0"] != "9" || s["k2"] != "8" {
		t.Fatalf("the next reader sees %v", s)
	}
}

// TestRegistryRefuses registers schemas in a registry that holds them against
// each other.
func TestRegistryRefuses(t *testing.T) {
	base := devstack.TestRegistry(t)
	post := func(path, fields string) (int, string) {
		t.Helper()
		body := `{"schema":"{\"type\":\"record\",\"name\":\"R\",\"fields\":[` + strings.ReplaceAll(fields, `"`, `\"`) + `]}"}`
		resp, err := http.Post(base+path, "application/vnd.schemaregistry.v1+json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	const id, more, wrong = `{"name":"id","type":"int"}`, `,{"name":"m","type":"string","default":""}`, `,{"name":"m","type":"string"}`
	_, first := post("/subjects/testenv-value/versions", id)
	status, again := post("/subjects/testenv-value/versions", id)
	if status != http.StatusOK || again != first {
		t.Errorf("registering again: %d %s, at first %s", status, again, first)
	}
	if status, text := post("/subjects/testenv-value/versions", id+wrong); status != http.StatusConflict {
		t.Errorf("an incompatible schema: %d %s", status, text)
	}
	if status, text := post("/subjects/testenv-value/versions", id+more); status != http.StatusOK {
		t.Errorf("a compatible schema: %d %s", status, text)
	}
	if status, text := post("/subjects/testenv-value", id+wrong); status != http.StatusNotFound || !strings.Contains(text, "40403") {
		t.Errorf("looking up an unknown schema: %d %s", status, text)
	}
	if status, text := post("/subjects/testenv-value", id); status != http.StatusOK || !strings.Contains(text, `"version":1`) {
		t.Errorf("looking up the first schema: %d %s", status, text)
	}
}
