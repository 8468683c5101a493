package oracle

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
)

// Options say what to read.
type Options struct {
	Brokers []string
	// Kafka are further options of the client, after all others.
	Kafka    []kgo.Opt
	Registry string // The schema registry's address, http://…
	Prefix   string // Of the connector's topics. "storm".
	// ExactlyOnce reads committed records only, and allows no repetitions.
	ExactlyOnce bool
	// Secrets are texts that no record may have.
	Secrets []string
}

// Reader reads the topics of a connector and checks them as it goes. Its methods may be
// called by any goroutine.
type Reader struct {
	opts   Options
	client *kgo.Client
	ledger *ledger

	mu    sync.Mutex
	moved chan struct{} // Closed and made anew when records were taken in.
}

// New returns a reader, which reads while Run runs.
func New(o Options) (*Reader, error) {
	if o.Prefix == "" {
		o.Prefix = "storm"
	}
	d, err := newDecoder(o.Registry, o.Prefix)
	if err != nil {
		return nil, err
	}
	level := kgo.ReadUncommitted()
	if o.ExactlyOnce {
		level = kgo.ReadCommitted()
	}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(o.Brokers...), kgo.ConsumeRegex(), kgo.ConsumeTopics("^" + regexp.QuoteMeta(o.Prefix) + `\.`), kgo.FetchIsolationLevel(level), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
	}, o.Kafka...)...)
	if err != nil {
		return nil, err
	}
	return &Reader{opts: o, client: client, ledger: newLedger(o.ExactlyOnce, o.Secrets, d), moved: make(chan struct{})}, nil
}

func newDecoder(registry, prefix string) (*decoder, error) {
	d := &decoder{key: &avro.Converter{}, value: &avro.Converter{}, prefix: prefix, keys: map[string][]string{}}
	for role, c := range map[string]connect.Converter{"key": d.key, "value": d.value} {
		if err := c.Configure(connect.Config{"schema.registry.url": registry}, role == "key"); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Close gives the connections back.
func (r *Reader) Close() {
	r.client.Close()
	_ = r.ledger.decoder.key.Close()
	_ = r.ledger.decoder.value.Close()
}

// Run reads until ctx is done. Brokers and a registry that do not answer are waited for.
func (r *Reader) Run(ctx context.Context) error {
	for {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if fetches.IsClientClosed() {
			return kgo.ErrClientClosed
		}
		for _, e := range fetches.Errors() {
			if loss, ok := errors.AsType[*kgo.ErrDataLoss](e.Err); ok {
				r.ledger.found.add(Anomaly{Name: Lost, Text: "the broker: " + loss.Error(), Place: e.Topic})
			}
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			raw := iter.Next()
			for r.ledger.take(ctx, raw) != nil {
				if rest(ctx, 50*time.Millisecond) != nil {
					return nil
				}
			}
		}
		r.passed()
	}
}

// rest waits, or returns the error of ctx when that is done before.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// passed tells those who wait that records were taken in.
func (r *Reader) passed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.moved)
	r.moved = make(chan struct{})
}

// late is how long a transaction may come whole after a later one has, where no
// transaction of Kafka's holds the topics together: the first record that a producer has
// for a topic waits until it knows where to send it, while others go.
const late = 10 * time.Second

// Wait waits until the transaction with this number, as [storm.Storm.Finish] returns it,
// has come whole, and all that Kafka has by then was read; without exactly once, also, for
// ten seconds at most, until those before it have come whole. The error is ctx's, with
// what was missing: the connector is stuck.
func (r *Reader) Wait(ctx context.Context, txid int64) error {
	if err := r.until(ctx, func() bool { return r.ledger.has(txid) }); err != nil {
		return fmt.Errorf("transaction %d has not come; %+v: %w", txid, r.Stats(), err)
	}
	if !r.opts.ExactlyOnce {
		// What has not come by then is lost, which Check says.
		patience, cancel := context.WithTimeout(ctx, late)
		defer cancel()
		_ = r.until(patience, func() bool { return !r.ledger.lags(txid) })
	}
	return r.caughtUp(ctx)
}

// until waits for a condition, which records make true.
func (r *Reader) until(ctx context.Context, ok func() bool) error {
	for {
		r.mu.Lock()
		moved := r.moved
		r.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-moved:
		}
	}
}

// Has tells whether the transaction with this number has come whole.
func (r *Reader) Has(txid int64) bool { return r.ledger.has(txid) }

// Stats returns counts of what was read so far.
func (r *Reader) Stats() Stats { return r.ledger.snapshotStats() }

// Found returns the anomalies that can be told without the source, so far.
func (r *Reader) Found() []Anomaly { return r.ledger.found.all() }

// Check compares everything with the source, when nobody writes any more and the last
// transaction has come. It returns what was found before too. The error is that of a
// database that does not answer.
func (r *Reader) Check(ctx context.Context, t Truth) ([]Anomaly, error) {
	return r.ledger.check(ctx, t)
}

// Committed returns where the connector's topics end for who reads as this reader does.
func (r *Reader) Committed(ctx context.Context) (map[connect.TopicPartition]int64, error) {
	admin := kadm.NewClient(r.client)
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range topics.Names() {
		if len(name) > len(r.opts.Prefix) && name[:len(r.opts.Prefix)+1] == r.opts.Prefix+"." {
			names = append(names, name)
		}
	}
	list := admin.ListEndOffsets
	if r.opts.ExactlyOnce {
		list = admin.ListCommittedOffsets
	}
	ends := map[connect.TopicPartition]int64{}
	if len(names) == 0 {
		return ends, nil
	}
	offsets, err := list(ctx, names...)
	if err != nil {
		return nil, err
	}
	if err := offsets.Error(); err != nil {
		return nil, err
	}
	offsets.Each(func(o kadm.ListedOffset) {
		ends[connect.TopicPartition{Topic: o.Topic, Partition: o.Partition}] = o.Offset
	})
	return ends, nil
}

// Confirmed notes that the source was told, some moment ago, that all transactions which
// committed before lsn are safe (confirmed_flush_lsn of its slot): of those nothing may
// come that Kafka does not have by now. It asks the brokers where the topics end.
func (r *Reader) Confirmed(ctx context.Context, lsn uint64) error {
	ends, err := r.Committed(ctx)
	if err != nil {
		return err
	}
	r.ledger.acknowledge(lsn, ends)
	return nil
}
