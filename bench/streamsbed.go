package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/bench/apps"
	"github.com/tidemill/tidemill/streams/serde"
)

// streamsBed is what applications need: a broker, a registry, and records.
type streamsBed struct {
	*stack
	apps.Formats
	application string // The program of the applications.
}

// applicationName is the program of the applications, beside this one.
const applicationName = "bench-application"

// findApplication returns the path of the program of the applications.
func findApplication() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), applicationName)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the program of the applications is missing; build it with go build -o %s ./bench/application: %w", path, err)
	}
	return path, nil
}

func newStreamsBed(ctx context.Context, o options) (*streamsBed, error) {
	s, err := startStack(ctx, o.binary, o.kafka)
	if err != nil {
		return nil, err
	}
	b := &streamsBed{stack: s}
	if b.application, err = findApplication(); err != nil {
		s.stop()
		return nil, err
	}
	if b.Formats, err = apps.NewFormats(s.registry.URL()); err != nil {
		s.stop()
		return nil, err
	}
	return b, nil
}

// trial is one application with topics of its own.
type trial struct {
	topologyLoad
	name   string // The application id, with which the names of its topics begin.
	inputs []string
	output string
	begins int64           // The time of the first record, in milliseconds.
	made   int             // Records made so far.
	latest map[int64]int64 // The last order of each key that had one after the state was filled.
	random *rand.Rand
	orders serde.Serde[apps.Order]
}

// newTrial creates the topics of a trial.
func (b *streamsBed) newTrial(ctx context.Context, l topologyLoad) (*trial, error) {
	t := &trial{topologyLoad: l, name: b.unique(strings.ReplaceAll(l.name, ".", "-")), begins: time.Now().Add(-recordsAge - time.Duration(l.fill)*time.Millisecond).UnixMilli(), random: rand.New(rand.NewPCG(1, 2)), latest: map[int64]int64{}}
	t.output = t.name + ".out"
	for i := range max(1, l.inputs) {
		t.inputs = append(t.inputs, fmt.Sprintf("%s.in%d", t.name, i))
	}
	if l.table > 0 {
		t.inputs = append(t.inputs, t.name+".table")
	}
	t.orders = serde.Bind(b.Order, t.inputs[0], false)
	return t, b.broker.createOf(ctx, t.parts(), nil, append(t.inputs, t.output)...)
}

// parts is the number of partitions of the topics of a trial.
func (t *trial) parts() int32 { return int32(max(1, t.partitions)) }

// facts are the topics that records go to, without that of a table.
func (t *trial) facts() []string { return t.inputs[:max(1, t.topologyLoad.inputs)] }

// removeTrial deletes the topics of a trial, and those the application has made.
func (b *streamsBed) removeTrial(ctx context.Context, t *trial) error {
	names, err := b.broker.topics(ctx)
	if err != nil {
		return err
	}
	var ours []string
	for _, name := range names {
		if strings.HasPrefix(name, t.name) {
			ours = append(ours, name)
		}
	}
	return b.broker.remove(ctx, ours...)
}

// recordsAge is how long ago the first record happened, after those that fill the state.
// Brokers remove what is older than a topic's retention, and refuse what lies in the future.
const recordsAge = 6 * time.Hour

// next makes a record: a millisecond after the one before, which of two topics it goes
// to aside.
func (t *trial) next() (*kgo.Record, error) {
	facts := t.facts()
	i := t.made
	t.made++
	turn := i / len(facts)
	o := apps.Order{
		ID: int64(i), Customer: int64(turn), Product: fmt.Sprintf("product %06d", turn%5000), Cents: int64(turn % 100_000), Quantity: int32(turn%7) + 1,
		Paid: i%10 != 0, Note: fmt.Sprintf("%016x%016x%016x%016x of order %d", t.random.Uint64(), t.random.Uint64(), t.random.Uint64(), t.random.Uint64(), i),
	}
	switch {
	case i < t.fill:
		o.Customer = int64(i) * int64(max(1, t.stride)) % int64(t.fill)
		o.ID = o.Customer
	case t.keys > 0:
		o.Customer = t.random.Int64N(int64(t.keys))
	}
	if i >= t.fill && t.fill > 0 {
		t.latest[o.Customer] = o.ID
	}
	value, err := t.orders.Append(nil, o)
	return &kgo.Record{Topic: facts[i%len(facts)], Key: longKey(o.Customer), Value: value, Timestamp: time.UnixMilli(t.begins + int64(turn))}, err
}

// longKey writes a key as Kafka's LongSerializer does.
func longKey(k int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(k)) }

// write puts n records into the topics of a trial, before all others the rows of its
// table, and waits until they are there.
func (b *streamsBed) write(ctx context.Context, t *trial, n int) error {
	w, err := b.newWriter(ctx)
	if err != nil {
		return err
	}
	defer w.client.Close()
	if t.made == 0 && t.table > 0 {
		if err := b.writeTable(w, t); err != nil {
			return err
		}
	}
	for range n {
		r, err := t.next()
		if err != nil {
			return err
		}
		w.put(r)
	}
	return w.flush()
}

// writeTable writes the rows that orders are joined with.
func (b *streamsBed) writeTable(w *recordWriter, t *trial) error {
	topic := t.inputs[len(t.inputs)-1]
	rows := serde.Bind(b.Customer, topic, false)
	for i := range t.table {
		row := apps.Customer{Name: fmt.Sprintf("customer number %d", i), City: fmt.Sprintf("city %d", i%500), Email: fmt.Sprintf("customer%d@example.com", i)}
		value, err := rows.Append(nil, row)
		if err != nil {
			return err
		}
		w.put(&kgo.Record{Topic: topic, Key: longKey(int64(i)), Value: value, Timestamp: time.UnixMilli(t.begins - 1000)})
	}
	return nil
}

// recordWriter writes records and keeps the first error.
type recordWriter struct {
	ctx    context.Context
	client *kgo.Client
	failed chan error
}

func (b *streamsBed) newWriter(ctx context.Context) (*recordWriter, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker.addrs), kgo.MaxBufferedRecords(1<<17), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(5*time.Millisecond), kgo.MetadataMinAge(10*time.Millisecond))
	return &recordWriter{ctx: ctx, client: client, failed: make(chan error, 1)}, err
}

func (w *recordWriter) put(r *kgo.Record) {
	w.client.Produce(w.ctx, r, func(_ *kgo.Record, err error) {
		if err != nil {
			select {
			case w.failed <- err:
			default:
			}
		}
	})
}

// flush waits until everything is written.
func (w *recordWriter) flush() error {
	if err := w.client.Flush(w.ctx); err != nil {
		return err
	}
	select {
	case err := <-w.failed:
		return err
	default:
		return nil
	}
}

// program is an application that can be started: ours, or that of Kafka Streams.
type program struct {
	name    string
	warm    int // The share of the records after which it is warm: a half, a tenth and so on.
	command func(t *trial, dir string) (path string, args []string)
}

// committed waits until a group has processed n records of the topics of a trial.
func (b *streamsBed) committed(ctx context.Context, t *trial, p *process, n int) error {
	return b.broker.admin(func(admin *kadm.Client) error {
		for {
			offsets, err := admin.FetchOffsets(ctx, t.name)
			if err != nil && !kerr.IsRetriable(err) {
				return err // A broker that is busy may know nothing of the group for a moment.
			}
			var have int64
			for _, topic := range t.facts() {
				for p := range t.parts() {
					if o, ok := offsets.Lookup(topic, p); ok && o.Err == nil {
						have += max(o.At, 0)
					}
				}
			}
			if have >= int64(n) {
				return nil
			}
			if err := p.pause(ctx); err != nil {
				return err
			}
		}
	})
}

// stateDir is where an application keeps its state.
func (b *streamsBed) stateDir(t *trial, n int) string {
	return filepath.Join(b.dir, fmt.Sprintf("%s-state-%d", t.name, n))
}
