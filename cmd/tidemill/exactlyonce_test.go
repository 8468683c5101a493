package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
)

// TestKillNineExactlyOnce kills a worker three times in mid-stream with exactly-once
// on, once inside of a transaction that is written in parts, and its broker once: a
// reader of committed records finds every transaction whole, once and in its order.
func TestKillNineExactlyOnce(t *testing.T) {
	ctx := timeout(t, 2*time.Minute)
	dsn := devstack.TestPostgres(t)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(ctx, "CREATE TABLE ledger (id bigint PRIMARY KEY, tx bigint); CREATE TABLE manifest (tx bigint PRIMARY KEY, rows int)"); err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 2)
	base, broker := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	kafka := launch(t, "dev-kafka", "--port", fmt.Sprint(ports[1]), "--data-dir", t.TempDir())
	worker := launch(t, "worker", "-c", exactlyOnceSettings(t, broker, base))
	worker.waitHealthy(ctx, base)
	c := newClient(base)
	config := debeziumConfig(t, dsn)
	config["table.include.list"] = "public.ledger,public.manifest"
	config["exactly.once.support"] = "required"
	config["transaction.max.records"] = "500"
	if err := c.createConnector(ctx, "own", config); err != nil {
		t.Fatal(err)
	}
	if err := c.waitRunning(ctx, "own"); err != nil {
		t.Fatal(err)
	}

	var written atomic.Int64
	writing, stopWriting := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- writeManifests(writing, dsn, &written) }()
	for i := range 4 {
		if err := flowing(ctx, broker, 700); err != nil {
			t.Fatalf("%v\n%s", err, worker.stderr.String())
		}
		if i == 1 {
			kafka.kill()
			kafka.start()
			continue
		}
		worker.kill()
		worker.start()
		worker.waitHealthy(ctx, base)
	}
	stopWriting()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := readManifests(ctx, broker, written.Load()); err != nil {
		s, _ := c.status(ctx, "own")
		t.Fatalf("%v\nstatus: %+v\n%s", err, s, worker.stderr.String())
	}
}

// exactlyOnceSettings writes the properties of a worker with exactly-once on.
func exactlyOnceSettings(t *testing.T, broker, listener string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "connect-distributed.properties")
	text := fmt.Sprintf(`bootstrap.servers=%s
group.id=once
plugin.state.dir=%s
listeners=%s
exactly.once.source.support=enabled
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
config.storage.topic=once-configs
offset.storage.topic=once-offsets
status.storage.topic=once-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
`, broker, t.TempDir(), listener)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeManifests writes transactions of some rows, each with one that says how many
// they are, until ctx is done. Every hundredth is larger than a Kafka transaction may be.
func writeManifests(ctx context.Context, dsn string, written *atomic.Int64) error {
	conn, err := pgx.Connect(context.WithoutCancel(ctx), dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for id := int64(1); ctx.Err() == nil; {
		tx := written.Load() + 1
		rows := 1 + tx%17
		if tx%100 == 0 {
			rows = 1100
		}
		_, err := conn.Exec(context.WithoutCancel(ctx), fmt.Sprintf(
			"BEGIN; INSERT INTO ledger SELECT g, %[1]d FROM generate_series(%[2]d, %[3]d) g; INSERT INTO manifest VALUES (%[1]d, %[4]d); COMMIT; SELECT pg_sleep(0.003)", tx, id, id+rows-1, rows))
		if err != nil {
			return err
		}
		id += rows
		written.Store(tx)
	}
	return nil
}

// kafkaTransaction names a transaction: brokers give each an epoch of its own.
type kafkaTransaction struct {
	producer int64
	epoch    int16
}

// ledgerCheck checks what is read of the ledger and of the manifests, each in order.
type ledgerCheck struct {
	row, tx int64 // The next of each.
	rows    map[int64]int64
	within  map[int64]map[kafkaTransaction]bool
	stated  map[int64]int64
	divided map[int64]bool
	copied  map[int64]bool // By the snapshot, which knows no transactions.
}

func (l *ledgerCheck) take(r *kgo.Record) error {
	var key struct{ ID, Tx int64 }
	var value struct {
		Op    string
		After struct{ Tx, Rows int64 }
	}
	if err := json.Unmarshal(r.Key, &key); err != nil {
		return err
	}
	if err := json.Unmarshal(r.Value, &value); err != nil {
		return err
	}
	tx := value.After.Tx
	l.copied[tx] = l.copied[tx] || value.Op == "r"
	if r.Topic == "own.public.ledger" {
		if key.ID != l.row {
			return fmt.Errorf("offset %d holds row %d, not %d", r.Offset, key.ID, l.row)
		}
		l.row++
		l.rows[tx]++
	} else {
		if key.Tx != l.tx {
			return fmt.Errorf("offset %d holds manifest %d, not %d", r.Offset, key.Tx, l.tx)
		}
		l.tx++
		l.stated[tx] = value.After.Rows
	}
	if l.within[tx] == nil {
		l.within[tx] = map[kafkaTransaction]bool{}
	}
	l.within[tx][kafkaTransaction{r.ProducerID, r.ProducerEpoch}] = true
	for _, h := range r.Headers {
		l.divided[tx] = l.divided[tx] || h.Key == "__tidemill.transaction.part"
	}
	return nil
}

// complete checks that transactions 1 to last are there as they were written.
func (l *ledgerCheck) complete(last int64) error {
	for tx := int64(1); tx <= last; tx++ {
		if l.rows[tx] != l.stated[tx] {
			return fmt.Errorf("transaction %d has %d rows of %d", tx, l.rows[tx], l.stated[tx])
		}
		large, parts := l.stated[tx] > 500, len(l.within[tx])
		switch {
		case l.copied[tx]:
		case large != l.divided[tx]:
			return fmt.Errorf("headers of the %d rows of transaction %d say that it is divided: %v", l.rows[tx], tx, l.divided[tx])
		case large != (parts > 1):
			return fmt.Errorf("the %d rows of transaction %d are in %d Kafka transactions", l.rows[tx], tx, parts)
		}
	}
	return nil
}

// readManifests reads committed records until manifest last is there.
func readManifests(ctx context.Context, broker string, last int64) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(broker), kgo.ConsumeTopics("own.public.ledger", "own.public.manifest"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	l := &ledgerCheck{row: 1, tx: 1, rows: map[int64]int64{}, within: map[int64]map[kafkaTransaction]bool{}, stated: map[int64]int64{}, divided: map[int64]bool{}, copied: map[int64]bool{}}
	sum := func() (n int64) {
		for _, rows := range l.stated {
			n += rows
		}
		return n
	}
	for l.tx <= last || l.row <= sum() {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			admin := kadm.NewClient(client)
			ends, _ := admin.ListEndOffsets(context.Background(), "own.public.ledger", "own.public.manifest")
			stable, _ := admin.ListCommittedOffsets(context.Background(), "own.public.ledger", "own.public.manifest")
			return fmt.Errorf("row %d of %d or manifest %d of %d did not arrive; the topics end at %v, their transactions at %v", l.row, sum(), l.tx, last, ends, stable)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if e := l.take(r); e != nil && err == nil {
				err = e
			}
		})
		if err != nil {
			return err
		}
	}
	return l.complete(last)
}
