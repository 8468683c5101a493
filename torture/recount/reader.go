package recount

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/torture/storm"
)

// Options say what to read.
type Options struct {
	// Kafka are options of the client, which say where the brokers are.
	Kafka    []kgo.Opt
	Registry string // The schema registry's address, http://…
	Prefix   string // Of the topics of changes.
	// Beat is told of each manifest that came through the application, and in which
	// partition; nil for nobody. It is called by the goroutine of Run.
	Beat func(txid int64, partition int32)
}

// Names of the topics of changes that the application reads.
func (o Options) transfers() string { return o.Prefix + ".public.xfer" }
func (o Options) accounts() string  { return o.Prefix + "." + storm.TableAccounts }
func (o Options) manifests() string { return o.Prefix + "." + storm.TableManifest }

func (o Options) inputs() []string { return []string{o.transfers(), o.accounts(), o.manifests()} }

// Reader follows what the application is given and what it writes, as a reader of committed
// records sees both. Its methods may be called by any goroutine.
type Reader struct {
	o      Options
	client *kgo.Client
	admin  *kadm.Client
	keys   connect.Converter
	values connect.Converter

	mu      sync.Mutex // guards the following
	in      *Inputs
	results []Result
	reached map[topicPartition]int64 // The next offset.
	latest  int64                    // The latest time of a transfer, in milliseconds.
}

type topicPartition struct {
	topic     string
	partition int32
}

// NewReader returns a reader, which reads while Run runs. The topics of results are there.
func NewReader(o Options) (*Reader, error) {
	r := &Reader{o: o, in: NewInputs(), reached: map[topicPartition]int64{}, keys: &avro.Converter{}, values: &avro.Converter{}}
	for c, isKey := range map[connect.Converter]bool{r.keys: true, r.values: false} {
		if err := c.Configure(connect.Config{"schema.registry.url": o.Registry}, isKey); err != nil {
			return nil, err
		}
	}
	var err error
	r.client, err = kgo.NewClient(append(slices.Clone(o.Kafka),
		kgo.ConsumeTopics(append(o.inputs(), Results()...)...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(50*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(2*time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))...)
	if err != nil {
		return nil, err
	}
	r.admin = kadm.NewClient(r.client)
	return r, nil
}

// Run reads until ctx is done. The error is that of a record that cannot be read.
func (r *Reader) Run(ctx context.Context) error {
	defer r.client.Close()
	for ctx.Err() == nil {
		fetches := r.client.PollFetches(ctx)
		r.mu.Lock()
		var err error
		for iter := fetches.RecordIter(); !iter.Done() && err == nil; {
			err = r.take(ctx, iter.Next())
		}
		r.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// take notes a record. The caller holds mu.
func (r *Reader) take(ctx context.Context, rec *kgo.Record) error {
	var err error
	switch {
	case rec.Attrs.IsControl():
	case !slices.Contains(r.o.inputs(), rec.Topic):
		r.result(rec)
	default:
		if err = r.input(ctx, rec); err != nil {
			return fmt.Errorf("recounting %s-%d@%d: %w", rec.Topic, rec.Partition, rec.Offset, err)
		}
	}
	r.reached[topicPartition{rec.Topic, rec.Partition}] = rec.Offset + 1
	return nil
}

func (r *Reader) result(rec *kgo.Record) {
	key := string(rec.Key)
	if n := len(key) - 8; n >= 0 && (rec.Topic == Windows || rec.Topic == Closed) {
		key = WindowKey(key[:n], int64(binary.BigEndian.Uint64(rec.Key[n:])))
	}
	r.results = append(r.results, Result{Topic: rec.Topic, Key: key, Value: string(rec.Value), Gone: rec.Value == nil})
	if rec.Topic == Beats && r.o.Beat != nil {
		if txid, err := strconv.ParseInt(key, 10, 64); err == nil {
			r.o.Beat(txid, rec.Partition)
		}
	}
}

// input takes a change in.
func (r *Reader) input(ctx context.Context, rec *kgo.Record) error {
	_, key, err := r.keys.ToConnect(ctx, rec.Topic, rec.Key)
	if err != nil {
		return err
	}
	after, err := r.after(ctx, rec)
	if err != nil {
		return err
	}
	switch rec.Topic {
	case r.o.accounts():
		id, state := strconv.FormatInt(key.Struct().Get("id").Int(), 10), Gone
		if after != nil {
			state = State(after.Get("_v").Int(), after.Get("bal").Int())
		}
		r.in.Account(id, state)
	case r.o.manifests():
		if after != nil {
			r.in.Beats[strconv.FormatInt(after.Get("txid").Int(), 10)]++
		}
	default:
		if after == nil {
			return nil
		}
		moves := MovesOf(after.Get("id").Int(), number(after.Get("a")), number(after.Get("b")), rec.Timestamp.UnixMilli())
		r.in.Moves = append(r.in.Moves, moves...)
		r.latest = max(r.latest, rec.Timestamp.UnixMilli())
	}
	return nil
}

// after returns the row after a change, nil when there is none.
func (r *Reader) after(ctx context.Context, rec *kgo.Record) (*connect.Struct, error) {
	if rec.Value == nil {
		return nil, nil
	}
	schema, value, err := r.values.ToConnect(ctx, rec.Topic, rec.Value)
	if err != nil {
		return nil, err
	}
	env, ok := connect.EnvelopeOf(schema)
	if !ok {
		return nil, fmt.Errorf("the record is no change")
	}
	if row := env.Change(value).After; row.Kind() == connect.KindStruct {
		return row.Struct(), nil
	}
	return nil, nil
}

func number(v connect.Value) *int64 {
	if v.IsNull() {
		return nil
	}
	n := v.Int()
	return &n
}

// CatchUp returns when everything that was readable when it was called has been read.
func (r *Reader) CatchUp(ctx context.Context) error {
	ends, err := r.admin.ListCommittedOffsets(ctx, append(r.o.inputs(), Results()...)...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("asking for the ends of the topics: %w", err)
	}
	for {
		behind := false
		r.mu.Lock()
		ends.Each(func(o kadm.ListedOffset) {
			behind = behind || r.reached[topicPartition{o.Topic, o.Partition}] < o.Offset
		})
		r.mu.Unlock()
		if !behind {
			return nil
		}
		if err := rest(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// Inputs returns what the application was given so far.
func (r *Reader) Inputs() *Inputs {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := &Inputs{Moves: slices.Clone(r.in.Moves), Accounts: maps.Clone(r.in.Accounts), Beats: maps.Clone(r.in.Beats)}
	return in
}

// Results returns what the application has written so far.
func (r *Reader) Results() []Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.results[:len(r.results):len(r.results)]
}

// tickAhead is how far a tick is ahead of all transfers.
const tickAhead = time.Hour

// Tick moves the time of all partitions on, so that all windows close: when everything has
// been counted, and not before, or it is late.
func (r *Reader) Tick(ctx context.Context) error {
	r.mu.Lock()
	r.latest += tickAhead.Milliseconds()
	at := time.UnixMilli(r.latest)
	r.mu.Unlock()
	var records []*kgo.Record
	for _, key := range TickKeys() {
		records = append(records, &kgo.Record{Topic: Ticks, Key: []byte(key), Value: []byte{Tick}, Timestamp: at})
	}
	return r.client.ProduceSync(ctx, records...).FirstErr()
}

// Counted tells whether none of the moves is missing among the counts: the application has
// then taken all of them in.
func (e *Expected) Counted(list []Result) bool {
	n, want := 0, 0
	for _, r := range list {
		if r.Topic == Counts && !isTick(r.Key) {
			n++
		}
	}
	for _, times := range e.counts {
		want += times
	}
	return n >= want
}

// rest waits, or returns the error of ctx when that is done before.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
