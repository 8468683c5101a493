package worker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// Peeked is a record of a topic that a connector writes or reads, as people read it.
type Peeked struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Timestamp int64  `json:"timestamp"` // In milliseconds.
	// Headers are names and values in their order. They, Key and Value are what the
	// connector's converters make of the record, in JSON without schemas, and for a sink what
	// its transforms make of that. They are absent when one of the following says why.
	Headers [][2]json.RawMessage `json:"headers,omitempty"`
	Key     json.RawMessage      `json:"key,omitempty"`
	Value   json.RawMessage      `json:"value,omitempty"`
	// Dropped tells that the sink's transforms leave the record out.
	Dropped bool `json:"dropped,omitempty"`
	// TooLarge is the size of a record that has no room in the answer, in bytes.
	TooLarge int `json:"too_large,omitempty"`
	// Failure is why the record cannot be converted or transformed. What it holds follows in
	// base64, unless the connector masks fields: these would not be masked.
	Failure    *Failure    `json:"failure,omitempty"`
	RawHeaders [][2]string `json:"raw_headers,omitempty"`
	RawKey     *string     `json:"raw_key,omitempty"`
	RawValue   *string     `json:"raw_value,omitempty"`
}

// peekShown bounds the keys, values and headers of one answer, in bytes.
const peekShown = 1 << 20

// Peek returns the newest records of the topics that a source connector has written to, or
// that a sink connector reads, the newest of all last; with topic those of this one alone.
// Nothing of transactions that are open or were aborted is among them. whole is false when
// not all partitions could be read to their ends within the bounds. It fails with
// "peek.topic" for a topic that is not the connector's.
func (h *Herder) Peek(ctx context.Context, name, topic string, limit int) (records []Peeked, whole bool, err error) {
	if err := h.checkReady(); err != nil {
		return nil, false, err
	}
	d, ok := h.desired(name)
	if !ok {
		return nil, false, notFound(name)
	}
	if limit < 1 {
		return nil, false, &connect.Error{Code: "request.invalid", Class: connect.ClassConfig, Place: "limit", Message: "it must be at least 1"}
	}
	config, err := h.rt.resolve(d.config)
	if err == nil {
		err = h.rt.checkOverrides(d.config)
	}
	if err != nil {
		return nil, false, err
	}
	c, err := h.newPeekChain(ctx, config)
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	t, err := h.openTails(ctx, config, topic)
	if err != nil {
		return nil, false, h.inTime(ctx, err)
	}
	found, whole, err := t.newest(ctx, limit)
	if err != nil {
		return nil, false, h.inTime(ctx, err)
	}
	room := peekShown
	records = make([]Peeked, len(found))
	for i, r := range slices.Backward(found) {
		records[i] = c.show(ctx, r, room)
		room -= records[i].size()
	}
	return records, whole, h.inTime(ctx, ctx.Err())
}

// inTime is an error, or that the time for the request is over.
func (h *Herder) inTime(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return h.timeout()
	}
	return err
}

// peekChain shows records as a connector sees them.
type peekChain struct {
	*chain
	masks bool // Fields are hidden, or may be, by a transform.
}

// newPeekChain makes a connector's converters, and a sink's transforms. Nothing of a source
// is transformed twice, and nobody waits for a retry.
func (h *Herder) newPeekChain(ctx context.Context, config connect.Config) (*peekChain, error) {
	if h.kind(config) == "source" {
		config = maps.Clone(config)
		delete(config, "transforms")
	}
	id := TaskID{Connector: config["name"]}
	c, err := newChain(ctx, h.rt, config, &faults{id: id, metrics: &taskMetrics{id: id}, log: h.rt.log})
	if err != nil {
		return nil, err
	}
	masks := slices.ContainsFunc(c.steps, func(s step) bool {
		_, unknown := s.transform.(far)
		return unknown || strings.Contains(s.at.class, "Mask")
	})
	return &peekChain{chain: c, masks: masks}, nil
}

// show returns a record that may take as much room.
func (c *peekChain) show(ctx context.Context, in *kgo.Record, room int) Peeked {
	p := Peeked{Topic: in.Topic, Partition: in.Partition, Offset: in.Offset, Timestamp: in.Timestamp.UnixMilli()}
	size := len(in.Key) + len(in.Value)
	for _, header := range in.Headers {
		size += len(header.Key) + len(header.Value)
	}
	if size > room {
		p.TooLarge = size
		return p
	}
	shown := p
	r := sinkRecord(in)
	switch keep, bad := c.read(ctx, in, &r); {
	case bad != nil:
		shown.Failure = newFailure(&staged{bad.site.stage, bad.err}, 1, 0, false)
		if !c.masks {
			shown.raw(in)
		}
	case !keep:
		shown.Dropped = true
	default:
		shown.Key = connect.AppendJSON(nil, r.KeySchema, r.Key)
		shown.Value = connect.AppendJSON(nil, r.ValueSchema, r.Value)
		for _, header := range r.Headers {
			shown.Headers = append(shown.Headers, [2]json.RawMessage{appendJSON(nil, header.Key), connect.AppendJSON(nil, header.Schema, header.Value)})
		}
	}
	if shown.size() > room {
		p.TooLarge = size
		return p
	}
	return shown
}

// raw shows what is in a record as it is.
func (p *Peeked) raw(in *kgo.Record) {
	encode := base64.StdEncoding.EncodeToString
	if in.Key != nil {
		text := encode(in.Key)
		p.RawKey = &text
	}
	if in.Value != nil {
		text := encode(in.Value)
		p.RawValue = &text
	}
	for _, header := range in.Headers {
		p.RawHeaders = append(p.RawHeaders, [2]string{header.Key, encode(header.Value)})
	}
}

// size is how much room what is shown takes, in bytes.
func (p *Peeked) size() int {
	n := len(p.Key) + len(p.Value)
	for _, header := range p.Headers {
		n += len(header[0]) + len(header[1])
	}
	for _, header := range p.RawHeaders {
		n += len(header[0]) + len(header[1])
	}
	for _, text := range []*string{p.RawKey, p.RawValue} {
		if text != nil {
			n += len(*text)
		}
	}
	return n
}
