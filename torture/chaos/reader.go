package chaos

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type topicPartition struct {
	topic     string
	partition int32
}

// reader follows the markers and the stored offsets as a reader of committed records
// sees them.
type reader struct {
	markers   string // Topic.
	connector []byte
	client    *kgo.Client
	admin     *kadm.Client
	arrived   func(seen func(id int64) bool)

	mu     sync.Mutex // guards the following
	seen   map[int64]bool
	stored uint64
	// reading tells that the newest stored offset is that of a snapshot that is not over.
	reading bool
	reached map[topicPartition]int64 // The next offset.
}

func newReader(w *World, markers, connector string, arrived func(func(int64) bool)) (*reader, error) {
	client, err := kgo.NewClient(append(w.Direct(),
		kgo.ConsumeTopics(markers, offsetsTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(50*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(2*time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }), kgo.KeepControlRecords(),
	)...)
	if err != nil {
		return nil, err
	}
	return &reader{markers: markers, connector: []byte(`"` + connector + `"`), client: client, admin: kadm.NewClient(client), arrived: arrived,
		seen: map[int64]bool{}, reached: map[topicPartition]int64{}}, nil
}

func (r *reader) close() { r.client.Close() }

// run reads until ctx is done.
func (r *reader) run(ctx context.Context) error {
	for ctx.Err() == nil {
		fetches := r.client.PollFetches(ctx)
		r.mu.Lock()
		fetches.EachRecord(r.take)
		r.mu.Unlock()
		r.arrived(r.has)
	}
	return nil
}

// take notes one record. The caller holds mu.
func (r *reader) take(rec *kgo.Record) {
	r.reached[topicPartition{rec.Topic, rec.Partition}] = rec.Offset + 1
	switch {
	case rec.Attrs.IsControl():
	case rec.Topic == r.markers:
		if id, ok := markerID(rec.Key); ok {
			r.seen[id] = true
		}
	case bytes.Contains(rec.Key, r.connector):
		var offset struct {
			End       uint64 `json:"lsn_proc"`
			Snapshot  string `json:"snapshot"`
			Completed bool   `json:"snapshot_completed"`
			Backlog   string `json:"incremental"`
		}
		if json.Unmarshal(rec.Value, &offset) == nil {
			// A first reading of the tables that was cut short is repeated while the log is read.
			again := strings.Contains(offset.Backlog, `"initial":true`)
			r.stored, r.reading = max(r.stored, offset.End), offset.Snapshot != "" && !offset.Completed || again
		}
	}
}

// markerID reads the key of a marker: a schema's number and a long, as
// https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
// and https://avro.apache.org/docs/1.12.0/specification/#binary-encoding have it.
func markerID(key []byte) (int64, bool) {
	const header = 5
	if len(key) <= header || key[0] != 0 {
		return 0, false
	}
	id, n := binary.Varint(key[header:])
	return id, n > 0
}

// catchUp returns when everything that was readable when it was called has been read.
func (r *reader) catchUp(ctx context.Context) error {
	ends, err := r.admin.ListCommittedOffsets(ctx, r.markers, offsetsTopic)
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
		if !pause(ctx, 5*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// has tells whether a marker was read.
func (r *reader) has(id int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[id]
}

// storedPosition returns how far the newest stored offset reaches.
func (r *reader) storedPosition() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stored
}

// forgetPosition has the newest stored offset be the next one: the log goes on as another
// history, whose positions may be lower.
func (r *reader) forgetPosition() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored = 0
}

// renumber forgets which markers were seen, but for some.
func (r *reader) renumber(but []mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[int64]bool{}
	for _, k := range but {
		if r.seen[k.id] {
			seen[k.id] = true
		}
	}
	r.seen = seen
}

// snapshotting tells whether a snapshot is under way, as far as offsets are stored.
func (r *reader) snapshotting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reading
}
