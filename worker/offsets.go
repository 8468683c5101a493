package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf16"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// offsetStore keeps the offsets of source connectors. A record's key is
// ["<connector>",{<source partition>}] and its value the offset, both plain JSON; no
// value forgets the partition.
//
// Kafka compacts by the bytes of the key, and other workers write the fields of a
// partition in an order of their own. So partitions are compared by what they mean,
// and written with the very bytes that are in the topic already.
type offsetStore struct {
	journal journal

	mu     sync.Mutex // Guards what follows; never held while the journal is called.
	stored map[string]map[connect.SourcePartition]storedOffset
}

// storedOffset is an offset and the key it is stored under.
type storedOffset struct {
	key, value []byte
}

func newOffsetStore() *offsetStore {
	return &offsetStore{stored: map[string]map[connect.SourcePartition]storedOffset{}}
}

// apply takes a record of the topic. Keys that are no offsets are passed over.
func (s *offsetStore) apply(r kafkalog.Record) {
	connector, p, err := parseOffsetKey(r.Key)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.stored[connector]
	if r.Value == nil {
		delete(of, p)
		return
	}
	if of == nil {
		of = map[connect.SourcePartition]storedOffset{}
		s.stored[connector] = of
	}
	of[p] = storedOffset{key: r.Key, value: r.Value}
}

// parseOffsetKey reads a record's key.
func parseOffsetKey(key []byte) (string, connect.SourcePartition, error) {
	var parts []json.RawMessage
	var connector string
	if err := json.Unmarshal(key, &parts); err != nil {
		return "", connect.SourcePartition{}, err
	}
	if len(parts) != 2 {
		return "", connect.SourcePartition{}, fmt.Errorf("a key of %d parts", len(parts))
	}
	if err := json.Unmarshal(parts[0], &connector); err != nil {
		return "", connect.SourcePartition{}, err
	}
	p, err := parsePartition(parts[1])
	return connector, p, err
}

// parsePartition reads a source partition from flat JSON in any order.
func parsePartition(text []byte) (connect.SourcePartition, error) {
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return connect.SourcePartition{}, err
	}
	return connect.NewSourcePartition(m)
}

// get returns the offset stored for a partition, nil for none.
func (s *offsetStore) get(connector string, p connect.SourcePartition) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored[connector][p].value
}

// list returns a connector's offsets, sorted by partition.
func (s *offsetStore) list(connector string) []OffsetEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries := make([]OffsetEntry, 0, len(s.stored[connector]))
	for p, o := range s.stored[connector] {
		entries = append(entries, OffsetEntry{Partition: json.RawMessage(p.JSON()), Offset: o.value})
	}
	slices.SortFunc(entries, func(a, b OffsetEntry) int { return bytes.Compare(a.Partition, b.Partition) })
	return entries
}

// entry returns the record that stores an offset; a nil value forgets it.
func (s *offsetStore) entry(connector string, p connect.SourcePartition, value []byte) kafkalog.Entry {
	s.mu.Lock()
	key := s.stored[connector][p].key
	s.mu.Unlock()
	if key == nil {
		key = offsetKey(connector, p)
	}
	return kafkalog.Entry{Key: key, Value: value}
}

// alter stores offsets of a connector that does not run, or forgets those that are
// null, and returns once that is known here as well.
func (s *offsetStore) alter(ctx context.Context, connector string, changes map[connect.SourcePartition][]byte) error {
	records := make([]kafkalog.Entry, 0, len(changes))
	for p, value := range changes {
		if isNull(value) {
			value = nil
		}
		records = append(records, s.entry(connector, p, value))
	}
	return s.put(ctx, records)
}

// put writes records, and returns once they are known here as well.
func (s *offsetStore) put(ctx context.Context, records []kafkalog.Entry) error {
	if len(records) > 0 {
		if err := s.journal.Put(ctx, records...); err != nil {
			return err
		}
	}
	return s.journal.ReadToEnd(ctx)
}

// entries returns the records that store the positions.
func (s *offsetStore) entries(connector string, positions map[connect.SourcePartition]connect.Offset) []kafkalog.Entry {
	list := make([]kafkalog.Entry, 0, len(positions))
	for p, o := range positions {
		list = append(list, s.entry(connector, p, o.AppendJSON(nil)))
	}
	return list
}

// write stores the positions and returns when they are durable.
func (s *offsetStore) write(ctx context.Context, connector string, positions map[connect.SourcePartition]connect.Offset) error {
	err := failpoint.Fail("worker.offsets.write")
	if err == nil {
		err = s.journal.Put(ctx, s.entries(connector, positions)...)
	}
	if err != nil {
		return fmt.Errorf("store offsets of %s: %w", connector, err)
	}
	return nil
}

// offsetKey writes the key of a partition that is not in the topic yet, with its
// fields in the order a Java worker would give them.
func offsetKey(connector string, p connect.SourcePartition) []byte {
	var fields map[string]json.RawMessage
	key := append(appendJSON(append([]byte(nil), '['), connector), ',')
	if json.Unmarshal([]byte(p.JSON()), &fields) != nil || len(fields) < 2 {
		return append(append(key, p.JSON()...), ']')
	}
	key = append(key, '{')
	for i, name := range javaOrder(fields) {
		if i > 0 {
			key = append(key, ',')
		}
		key = append(append(appendJSON(key, name), ':'), fields[name]...)
	}
	return append(key, '}', ']')
}

// javaOrder returns the keys in the order in which java.util.HashMap iterates over
// them: by the slots of its table, whose size is the power of two, at least 16, that
// leaves a quarter free. Keys of one slot stand in order of their insertion, which
// for us is the alphabet.
func javaOrder[V any](m map[string]V) []string {
	size := uint32(16)
	for uint32(len(m)) > size/4*3 {
		size *= 2
	}
	slot := func(name string) uint32 {
		var h uint32
		for _, c := range utf16.Encode([]rune(name)) {
			h = 31*h + uint32(c)
		}
		return (h ^ h>>16) & (size - 1)
	}
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := int(slot(a)) - int(slot(b)); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names
}

// appendJSON appends v as compact JSON that leaves <, > and & as they are, like
// Java's writers. v holds nothing that cannot be written.
func appendJSON(dst []byte, v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return append(dst, "null"...)
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}
