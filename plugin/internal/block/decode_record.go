package block

import "github.com/tidemill/tidemill/connect"

// Offset is the offset of a record that came in a block: its text, and the number of the
// record, by which the other end knows it.
type Offset struct {
	Seq  uint64
	text []byte
}

// AppendJSON implements [connect.Offset].
func (o *Offset) AppendJSON(dst []byte) []byte { return append(dst, o.text...) }

// Source reads a block of a source and appends its records to dst. Their offsets are of
// type *[Offset] and share no memory with the block.
func (d *Decoder) Source(block []byte, dst []connect.SourceRecord) ([]connect.SourceRecord, error) {
	d.begin(block)
	first := d.uvarint()
	n := d.count()
	offsets := make([]Offset, n)
	// Most offsets differ from the one before in a few digits.
	texts := make([]byte, 0, min(d.left(), 64*n))
	for i := range n {
		dst = append(dst, connect.SourceRecord{})
		r := &dst[len(dst)-1]
		flags := d.common(&r.Record)
		r.Boundary = connect.Boundary(flags >> boundaryShift)
		texts = d.position(r, &offsets[i], texts)
		offsets[i].Seq = first + uint64(i)
		if d.err != nil {
			return nil, d.err
		}
	}
	return dst, d.over()
}

// over tells whether the block was read to its end.
func (d *Decoder) over() error {
	if d.err == nil && d.left() > 0 {
		d.fail("%d bytes are left over", d.left())
	}
	return d.err
}

func (d *Decoder) position(r *connect.SourceRecord, o *Offset, texts []byte) []byte {
	flags := d.byte()
	if flags&sameSourcePartition == 0 {
		d.prev.sourcePartition = d.partition()
	}
	r.SourcePartition = d.prev.sourcePartition
	if flags&noOffset != 0 {
		return texts
	}
	shared := d.uvarint()
	if shared > uint64(len(d.prev.offsetText)) {
		d.fail("an offset shares more than there is")
		return texts
	}
	start := len(texts)
	texts = append(append(texts, d.prev.offsetText[:shared]...), d.bytes()...)
	o.text = texts[start:len(texts):len(texts)]
	d.prev.offsetText, r.SourceOffset = o.text, o
	return texts
}

func (d *Decoder) partition() connect.SourcePartition {
	n := d.uvarint()
	if n == uint64(len(d.partitions)) {
		p, err := ParsePartition(d.text())
		if err != nil {
			d.fail("a source partition is no flat JSON object")
			return p
		}
		d.partitions = append(d.partitions, p)
	}
	if n >= uint64(len(d.partitions)) {
		d.fail("it speaks of an unknown source partition")
		return connect.SourcePartition{}
	}
	return d.partitions[n]
}

func (d *Decoder) common(r *connect.Record) (flags byte) {
	flags = d.byte()
	p := &d.prev
	if flags&sameTopic == 0 {
		p.topic = d.name()
	}
	if flags&sameKeySchema == 0 {
		p.key = d.schema(0)
	}
	if flags&sameValueSchema == 0 {
		p.value = d.schema(0)
	}
	if flags&samePartition == 0 {
		p.partition = int32(d.varint())
	}
	r.Topic, r.KeySchema, r.ValueSchema, r.Partition, r.Timestamp = p.topic, p.key, p.value, p.partition, connect.NoTimestamp
	if flags&hasTimestamp != 0 {
		p.timestamp += d.varint()
		r.Timestamp = p.timestamp
	}
	r.Key = d.value(0)
	r.Value = d.value(0)
	if flags&hasHeaders != 0 {
		r.Headers = d.headerList()
	}
	return flags
}

func (d *Decoder) headerList() []connect.Header {
	list := d.headers.take(d.count())
	for i := range list {
		list[i] = connect.Header{Key: d.name(), Schema: d.schema(0), Value: d.value(0)}
	}
	return list
}

// Sink reads a block for a sink and appends its records to dst.
func (d *Decoder) Sink(block []byte, dst []connect.SinkRecord) ([]connect.SinkRecord, error) {
	d.begin(block)
	for range d.count() {
		dst = append(dst, connect.SinkRecord{})
		r := &dst[len(dst)-1]
		d.common(&r.Record)
		d.origin(r)
		if d.err != nil {
			return nil, d.err
		}
	}
	return dst, d.over()
}

func (d *Decoder) origin(r *connect.SinkRecord) {
	flags := d.byte()
	r.LogAppendTime = flags&logAppendTime != 0
	r.OriginalTopic, r.OriginalPartition = r.Topic, r.Partition
	if flags&sameOriginalTopic == 0 {
		r.OriginalTopic = d.name()
	}
	if flags&sameOriginalPartition == 0 {
		r.OriginalPartition = int32(d.varint())
	}
	r.Offset = d.prev.offset + 1
	if flags&nextOffset == 0 {
		r.Offset = d.varint()
	}
	d.prev.offset = r.Offset
	if flags&hasRawKey != 0 {
		r.RawKey = d.bytes()
	}
	if flags&hasRawValue != 0 {
		r.RawValue = d.bytes()
	}
	if flags&hasRawHeaders != 0 {
		r.RawHeaders = d.headerList()
	}
}
