package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// deadLetters write what a sink cannot take to the dead letter queue: the record's
// bytes as they were read, and with context headers why.
type deadLetters struct {
	producer *kgo.Client
	topic    string
	context  bool
	id       TaskID
	metrics  *taskMetrics
}

// openLetters returns the dead letter queue of a connector, nil when it has none. A
// missing topic is created with one partition.
func openLetters(ctx context.Context, t *sinkTask) (*deadLetters, error) {
	raw, config, s, m := t.rt.raw, t.config, t.settings, t.metrics
	topic := s.String("errors.deadletterqueue.topic.name")
	if topic == "" {
		return nil, nil
	}
	props := clientProps(raw, producerClient, config)
	if props["client.id"] == "" {
		props["client.id"] = "connector-dlq-producer-" + m.id.String()
	}
	opts, err := clientOptions(props, producerClient)
	if err != nil {
		return nil, err
	}
	// A task that writes many letters waits for those that are on their way.
	opts = append([]kgo.Opt{kgo.MaxBufferedBytes(int(t.memory/4) + 2*largestRecord(props))}, opts...)
	producer, err := kgo.NewClient(append(opts, kgo.DefaultProduceTopic(topic))...)
	if err != nil {
		return nil, fmt.Errorf("make the dead letter queue's producer: %w", err)
	}
	m.holds.producer.Store(producer)
	there, err := hasTopic(ctx, producer, topic)
	if err == nil && !there {
		err = createTopic(ctx, producer, topic, topicRule{partitions: 1, replication: int16(s.Int("errors.deadletterqueue.topic.replication.factor"))})
	}
	if err != nil {
		producer.Close()
		return nil, fmt.Errorf("open the dead letter queue %s: %w", topic, err)
	}
	return &deadLetters{
		producer: producer, topic: topic, id: m.id, metrics: m,
		context: s.Bool("errors.deadletterqueue.context.headers.enable"),
	}, nil
}

// send writes a letter and returns how to wait until it is durable.
func (d *deadLetters) send(ctx context.Context, r *connect.SinkRecord, bad *fault) (func(context.Context) error, error) {
	out := &kgo.Record{Key: r.RawKey, Value: r.RawValue, Partition: connect.AnyPartition}
	if r.Timestamp != connect.NoTimestamp {
		out.Timestamp = time.UnixMilli(r.Timestamp)
	}
	for _, h := range r.RawHeaders {
		header := kgo.RecordHeader{Key: h.Key}
		if !h.Value.IsNull() {
			header.Value = h.Value.Bytes()
		}
		out.Headers = append(out.Headers, header)
	}
	if d.context {
		out.Headers = append(out.Headers, d.headers(r, bad)...)
	}
	d.metrics.letters.Add(1)
	done := make(chan struct{})
	var failed error
	d.producer.Produce(ctx, out, func(_ *kgo.Record, err error) {
		if failed = err; err != nil {
			d.metrics.letterFailures.Add(1)
		}
		close(done)
	})
	return func(ctx context.Context) error {
		select {
		case <-done:
			if failed == nil {
				return nil
			}
			return &connect.Error{
				Code: "dlq.write", Class: connect.AsError(brokerError("", "", failed)).Class, Place: "topic " + d.topic,
				Message: "the dead letter queue cannot be written to", Cause: failed,
				Mend: "check that the topic exists and the connector may write to it",
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}, nil
}

// headers say where a letter comes from and why, with the names Connect's tools know.
func (d *deadLetters) headers(r *connect.SinkRecord, bad *fault) []kgo.RecordHeader {
	kind := connect.AsError(bad.err).Code
	texts := [][2]string{
		{"topic", r.OriginalTopic},
		{"partition", strconv.Itoa(int(r.OriginalPartition))},
		{"offset", strconv.FormatInt(r.Offset, 10)},
		{"connector.name", d.id.Connector},
		{"task.id", strconv.Itoa(d.id.Task)},
		{"stage", string(bad.site.stage)},
		{"class.name", bad.site.class},
		{"exception.class.name", kind},
		{"exception.message", bad.err.Error()},
		{"exception.stacktrace", causes(bad)},
	}
	headers := make([]kgo.RecordHeader, len(texts))
	for i, t := range texts {
		headers[i] = kgo.RecordHeader{Key: "__connect.errors." + t[0], Value: []byte(t[1])}
	}
	return headers
}

func (d *deadLetters) close() { d.producer.Close() }

// causes lists an error and what it wraps, one on a line, outermost first.
func causes(err error) string {
	var lines []string
	for err != nil {
		if text := err.Error(); len(lines) == 0 || lines[len(lines)-1] != text {
			lines = append(lines, text)
		}
		err = errors.Unwrap(err)
	}
	return strings.Join(lines, "\nCaused by: ")
}
