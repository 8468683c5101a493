package block

import (
	"github.com/tidemill/tidemill/connect"
)

// What a record has in common with the one before it, or lacks.
const (
	sameTopic = 1 << iota
	sameKeySchema
	sameValueSchema
	samePartition
	hasTimestamp
	hasHeaders
	// The two bits above are a source record's boundary.
	boundaryShift = 6
)

// What a source record's second byte says.
const (
	sameSourcePartition = 1 << iota
	noOffset
)

// What a sink record's second byte says.
const (
	sameOriginalTopic = 1 << iota
	sameOriginalPartition
	hasRawKey
	hasRawValue
	hasRawHeaders
	nextOffset
	logAppendTime
)

// Source writes records of a source. Their offsets are rendered here. first is the number
// of the first record; those behind it follow.
func (e *Encoder) Source(first uint64, records []connect.SourceRecord) []byte {
	e.begin()
	e.uvarint(first)
	e.uvarint(uint64(len(records)))
	var scratch []byte
	for i := range records {
		r := &records[i]
		e.common(&r.Record, byte(r.Boundary)<<boundaryShift)
		scratch = e.position(r, scratch)
	}
	return e.end()
}

// position writes where a record came from. scratch takes the offset's text, and holds
// the one before when this returns.
func (e *Encoder) position(r *connect.SourceRecord, scratch []byte) []byte {
	at := len(e.b)
	e.b = append(e.b, 0)
	var flags byte
	if e.prev.hasSource && r.SourcePartition == e.prev.sourcePartition {
		flags |= sameSourcePartition
	} else {
		e.partition(r.SourcePartition)
		e.prev.sourcePartition, e.prev.hasSource = r.SourcePartition, true
	}
	if r.SourceOffset == nil {
		e.b[at] = flags | noOffset
		return scratch
	}
	scratch = r.SourceOffset.AppendJSON(scratch[:0])
	shared := 0
	for shared < min(len(scratch), len(e.prev.offsetText)) && scratch[shared] == e.prev.offsetText[shared] {
		shared++
	}
	e.uvarint(uint64(shared))
	e.bytes(scratch[shared:])
	e.b[at] = flags
	scratch, e.prev.offsetText = e.prev.offsetText, scratch
	return scratch
}

// partition writes a source partition as it writes a name.
func (e *Encoder) partition(p connect.SourcePartition) {
	if n, known := e.partitions[p]; known {
		e.uvarint(n)
		return
	}
	n := uint64(len(e.partitions))
	e.partitions[p] = n
	e.uvarint(n)
	e.text(p.JSON())
}

// common writes what records of both directions have.
func (e *Encoder) common(r *connect.Record, flags byte) {
	p := &e.prev
	at := len(e.b)
	e.b = append(e.b, 0)
	if p.spare && r.Topic == p.topic {
		flags |= sameTopic
	} else {
		e.name(r.Topic)
	}
	if p.spare && r.KeySchema == p.key {
		flags |= sameKeySchema
	} else {
		e.schema(r.KeySchema)
	}
	if p.spare && r.ValueSchema == p.value {
		flags |= sameValueSchema
	} else {
		e.schema(r.ValueSchema)
	}
	if p.spare && r.Partition == p.partition {
		flags |= samePartition
	} else {
		e.varint(int64(r.Partition))
	}
	p.spare, p.topic, p.key, p.value, p.partition = true, r.Topic, r.KeySchema, r.ValueSchema, r.Partition
	if r.Timestamp != connect.NoTimestamp {
		flags |= hasTimestamp
		e.varint(r.Timestamp - p.timestamp)
		p.timestamp = r.Timestamp
	}
	e.value(r.Key)
	e.value(r.Value)
	if len(r.Headers) > 0 {
		flags |= hasHeaders
		e.headers(r.Headers)
	}
	e.b[at] = flags
}

func (e *Encoder) headers(headers []connect.Header) {
	e.uvarint(uint64(len(headers)))
	for i := range headers {
		e.name(headers[i].Key)
		e.schema(headers[i].Schema)
		e.value(headers[i].Value)
	}
}

// Sink writes records for a sink, the bytes they were read as included.
func (e *Encoder) Sink(records []connect.SinkRecord) []byte {
	e.begin()
	e.uvarint(uint64(len(records)))
	for i := range records {
		r := &records[i]
		e.common(&r.Record, 0)
		e.origin(r)
	}
	return e.end()
}

// origin writes where a record was read.
func (e *Encoder) origin(r *connect.SinkRecord) {
	at := len(e.b)
	e.b = append(e.b, 0)
	var flags byte
	if r.LogAppendTime {
		flags |= logAppendTime
	}
	if r.OriginalTopic == r.Topic {
		flags |= sameOriginalTopic
	} else {
		e.name(r.OriginalTopic)
	}
	if r.OriginalPartition == r.Partition {
		flags |= sameOriginalPartition
	} else {
		e.varint(int64(r.OriginalPartition))
	}
	if r.Offset == e.prev.offset+1 {
		flags |= nextOffset
	} else {
		e.varint(r.Offset)
	}
	e.prev.offset = r.Offset
	if r.RawKey != nil {
		flags |= hasRawKey
		e.bytes(r.RawKey)
	}
	if r.RawValue != nil {
		flags |= hasRawValue
		e.bytes(r.RawValue)
	}
	if len(r.RawHeaders) > 0 {
		flags |= hasRawHeaders
		e.headers(r.RawHeaders)
	}
	e.b[at] = flags
}
