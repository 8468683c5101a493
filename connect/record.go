package connect

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

const (
	// AnyPartition as a record's partition leaves the choice to the producer: by
	// key, with Kafka's own hash.
	AnyPartition int32 = -1
	// NoTimestamp as a record's timestamp means it has none; the producer then
	// stamps the time of sending.
	NoTimestamp int64 = math.MinInt64
)

// Record is what sources give, transforms change and sinks take: a key and a value
// with their schemas, and the place in Kafka. A nil schema means the value's shape
// is not described (schemaless); a null value with a nil schema is a tombstone.
type Record struct {
	Topic       string
	Partition   int32 // AnyPartition when not chosen.
	KeySchema   *Schema
	Key         Value
	ValueSchema *Schema
	Value       Value
	Timestamp   int64 // Milliseconds since the epoch, or NoTimestamp.
	Headers     []Header
}

// Header is one header of a record.
type Header struct {
	Key    string
	Schema *Schema
	Value  Value
}

// Header returns the last header with the given key, and whether there is one.
func (r *Record) Header(key string) (Header, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == key {
			return r.Headers[i], true
		}
	}
	return Header{}, false
}

// SourceRecord is a record on its way to Kafka, with the position it came from.
//
// A SourceRecord without a topic is a position mark: nothing is produced, and its
// offset is stored in its turn, once all records before it are durable. A source
// uses it to move on over what it does not capture.
type SourceRecord struct {
	Record
	// SourcePartition names the part of the source; offsets are kept by it.
	SourcePartition SourcePartition
	// SourceOffset is the position from which to resume once this record is durable.
	SourceOffset Offset
	// Boundary tells whether a source transaction ends with this record.
	Boundary Boundary
}

// Boundary says how a record stands to the transaction of its source, for
// connectors that define transaction boundaries.
type Boundary uint8

// The boundaries. After BoundaryCommit the worker commits, together with the
// record's offset; after BoundaryAbort it drops what came since the last boundary.
const (
	BoundaryNone Boundary = iota
	BoundaryCommit
	BoundaryAbort
)

// SourcePartition names a part of a source, such as {"server":"shop"}. It is
// comparable. Make one with [NewSourcePartition]; the zero value is the empty map.
type SourcePartition struct{ json string }

// NewSourcePartition returns the partition for a map of strings, numbers and
// booleans. Keys are put in order, so that equal maps are equal partitions.
func NewSourcePartition(m map[string]any) (SourcePartition, error) {
	text, err := marshalFlat(m)
	if err != nil {
		return SourcePartition{}, fmt.Errorf("connect: source partition: %w", err)
	}
	if len(m) == 0 {
		return SourcePartition{}, nil // There is one empty map, not two.
	}
	return SourcePartition{json: string(text)}, nil
}

// JSON returns the partition as compact JSON with its keys in order.
func (p SourcePartition) JSON() string {
	if p.json == "" {
		return "{}"
	}
	return p.json
}

// Offset is a position in a source. It is rendered only when it is stored, so a
// source may give each record one without building a map for it.
//
// An offset may also have the method CommittedAt() int64, which tells when the source
// committed what it stands behind, in microseconds since the epoch, and 0 when that is not
// known: the worker tells from it how far behind the source it is.
type Offset interface {
	// AppendJSON appends the offset as a flat JSON object of strings, numbers,
	// booleans and nulls. It is called from the worker's goroutines, possibly after
	// the task has stopped.
	AppendJSON(dst []byte) []byte
}

// OffsetMap is an offset made of plain values, for sources of few records.
type OffsetMap map[string]any

// AppendJSON implements [Offset]. Values that are no JSON scalars are left out.
func (m OffsetMap) AppendJSON(dst []byte) []byte {
	text, err := marshalFlat(m)
	if err != nil {
		return append(dst, "{}"...)
	}
	return append(dst, text...)
}

// marshalFlat renders a map of scalars with its keys in order and without the
// escaping of HTML characters, as Kafka Connect's workers write it.
func marshalFlat(m map[string]any) ([]byte, error) {
	for k, v := range m {
		switch v.(type) {
		case nil, string, bool, int, int8, int16, int32, int64, uint32, float32, float64, json.Number:
		default:
			return nil, fmt.Errorf("%q holds a %T; only strings, numbers and booleans may stand here", k, v)
		}
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

// SinkRecord is a record come from Kafka. The Original fields are where it was
// read, whatever transforms have made of Topic and Partition: offsets speak of
// them.
type SinkRecord struct {
	Record
	Offset            int64
	LogAppendTime     bool // The broker stamped the record, not its producer.
	OriginalTopic     string
	OriginalPartition int32
	// RawKey, RawValue and RawHeaders are the bytes as they were read, for dead
	// letters. Nil is Kafka's null; header values are of KindBytes or null.
	RawKey, RawValue []byte
	RawHeaders       []Header
}

// TopicPartition names one partition of a topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String writes topic-partition, as Kafka's own tools do.
func (tp TopicPartition) String() string { return fmt.Sprintf("%s-%d", tp.Topic, tp.Partition) }
