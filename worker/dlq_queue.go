package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// queue is a connector's dead letter queue as it is read again: the topic's partitions, and
// what is known of the letters in them.
type queue struct {
	h         *Herder
	connector string
	topic, id string // The topic's name and its identity, which a topic of the same name does not share.
	desired   desired
	config    connect.Config // The connector's, secrets resolved.
	opts      []kgo.Opt
	starts    map[int32]int64
	ends      map[int32]int64
	marks     map[int32]*marks
	left      int64 // Offsets that are still to be read.
	// at is where a replay goes on that another worker has begun.
	at map[int32]int64
	// replay is what is stored of the newest one, as it was last read or written.
	replay []byte
}

// marks say which letters of a partition were replayed. They are kept in the topic of the
// offsets, under a key of the connector's: what a group has committed is forgotten some days
// after its last member has left, and then letters would be replayed again.
type marks struct {
	replayed, unsure spans
	stored           []byte // As it was last read or written.
}

// written, doubted and refused say what has become of a letter.
func (m *marks) written(offset int64) {
	m.replayed.add(offset)
	m.unsure.remove(offset)
}

func (m *marks) doubted(offset int64) {
	m.replayed.remove(offset)
	m.unsure.add(offset)
}

func (m *marks) refused(offset int64) { m.unsure.remove(offset) }

// storedMarks are marks as they are written.
type storedMarks struct {
	TopicID  string `json:"topic_id"`
	Replayed string `json:"replayed"`
	Unsure   string `json:"unsure,omitempty"`
}

// openQueue looks at a connector's queue.
func (h *Herder) openQueue(ctx context.Context, name string) (*queue, error) {
	if err := h.checkReady(); err != nil {
		return nil, err
	}
	d, ok := h.desired(name)
	if !ok {
		return nil, notFound(name)
	}
	config, err := h.rt.resolve(d.config)
	if err != nil {
		return nil, err
	}
	topic := config["errors.deadletterqueue.topic.name"]
	if topic == "" || h.kind(d.config) != "sink" {
		return nil, &connect.Error{
			Code: "dlq.none", Class: connect.ClassConfig, Place: name, Message: "Connector " + name + " has no dead letter queue",
			Mend: "sinks have one with errors.tolerance=all, errors.deadletterqueue.topic.name and errors.deadletterqueue.context.headers.enable=true",
		}
	}
	if err := h.rt.checkOverrides(d.config); err != nil {
		return nil, err
	}
	props := clientProps(h.rt.raw, consumerClient, config)
	delete(props, "group.instance.id") // It is that of a group's member.
	q := &queue{h: h, connector: name, topic: topic, desired: d, config: config, starts: map[int32]int64{}, ends: map[int32]int64{}, marks: map[int32]*marks{}}
	if q.opts, err = h.rt.client(consumerClient, props, h.rt.log); err != nil {
		return nil, err
	}
	if err := q.look(ctx); err != nil {
		return nil, err
	}
	return q, q.recall(ctx)
}

// look asks the brokers how far the queue reaches. A topic that is not there yet is empty.
func (q *queue) look(ctx context.Context) error {
	client, err := kgo.NewClient(q.opts...)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	failed := func(err error) error {
		return brokerError("dlq.read", "the dead letter queue "+q.topic+" cannot be looked at", err)
	}
	topics, err := admin.ListTopics(ctx, q.topic)
	if err != nil {
		return failed(err)
	}
	if !topics.Has(q.topic) {
		return nil
	}
	q.id = topics[q.topic].ID.String()
	starts, err := admin.ListStartOffsets(ctx, q.topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return failed(err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, q.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return failed(err)
	}
	starts.Each(func(o kadm.ListedOffset) { q.starts[o.Partition] = o.Offset })
	ends.Each(func(o kadm.ListedOffset) { q.ends[o.Partition] = o.Offset })
	return nil
}

// key is what the marks of a partition are stored under.
func (q *queue) key(partition int32) connect.SourcePartition {
	p, _ := connect.NewSourcePartition(map[string]any{"dead_letters": q.topic, "partition": int64(partition)})
	return p
}

// recall reads the marks. Those of a topic that was made anew do not count, and neither do
// those of letters that are there no more.
func (q *queue) recall(ctx context.Context) error {
	if err := q.h.rt.offsets.journal.ReadToEnd(ctx); err != nil {
		return brokerError("kafka.offsets", "the stored marks of the queue cannot be read", err)
	}
	q.replay = q.h.rt.offsets.get(q.connector, replayKey())
	for partition, start := range q.starts {
		m := &marks{stored: q.h.rt.offsets.get(q.connector, q.key(partition))}
		q.marks[partition] = m
		if m.stored == nil {
			continue
		}
		var s storedMarks
		err := json.Unmarshal(m.stored, &s)
		if err == nil && s.TopicID != q.id {
			continue
		}
		if err == nil {
			m.replayed, err = parseSpans(s.Replayed)
		}
		if err == nil {
			m.unsure, err = parseSpans(s.Unsure)
		}
		if err != nil {
			return &connect.Error{
				Code: "dlq.marks", Place: q.topic, Message: fmt.Sprintf("what is stored of partition %d of the queue cannot be read", partition), Cause: err,
				Mend: "without it letters could be replayed twice; find out who has written " + q.key(partition).JSON() + " to the offsets topic",
			}
		}
		m.replayed.forget(start)
		m.unsure.forget(start)
	}
	return nil
}

// store writes the marks of some partitions, and how far the replay has come unless that is
// nil. It fails if somebody else has since they were last read: two replays at once would
// put the same letters.
func (q *queue) store(ctx context.Context, partitions map[int32]bool, replay []byte) error {
	if err := q.h.rt.offsets.journal.ReadToEnd(ctx); err != nil {
		return brokerError("kafka.offsets", "the stored marks of the queue cannot be read", err)
	}
	changes := map[connect.SourcePartition][]byte{}
	same := string(q.h.rt.offsets.get(q.connector, replayKey())) == string(q.replay)
	for partition := range partitions {
		m, key := q.marks[partition], q.key(partition)
		same = same && string(q.h.rt.offsets.get(q.connector, key)) == string(m.stored)
		changes[key] = appendJSON(nil, storedMarks{TopicID: q.id, Replayed: m.replayed.String(), Unsure: m.unsure.String()})
	}
	if !same {
		return &connect.Error{
			Code: "dlq.concurrent", Place: q.topic, Message: "another replay works on the same queue, and this one ends", Mend: "look at the other one, on the leader of the group",
		}
	}
	if replay != nil {
		changes[replayKey()] = replay
	}
	if err := q.h.rt.offsets.alter(ctx, q.connector, changes); err != nil {
		return brokerError("kafka.offsets", "the marks of the queue cannot be stored", err)
	}
	for partition := range partitions {
		q.marks[partition].stored = changes[q.key(partition)]
	}
	if replay != nil {
		q.replay = replay
	}
	return nil
}

// state returns a letter's, by the marks.
func (q *queue) state(l *Letter) string {
	m := q.marks[l.Partition]
	switch {
	case l.State == letterStranger || m == nil:
	case m.unsure.has(l.Offset):
		return letterUnsure
	case m.replayed.has(l.Offset):
		return letterReplayed
	}
	return l.State
}

// begins returns where to begin to read each partition for a query, without those that have
// nothing to read.
func (q *queue) begins(of *LetterQuery) map[int32]int64 {
	begins := map[int32]int64{}
	for partition, start := range q.starts {
		if of.Partition != nil && *of.Partition != partition {
			continue
		}
		if of.State == "" {
			start = q.marks[partition].replayed.firstOutside(start)
		}
		if of.From != nil {
			start = max(start, *of.From)
		}
		start = max(start, q.at[partition])
		end := q.ends[partition]
		if of.To != nil {
			end = min(end, *of.To+1)
		}
		if start < end {
			begins[partition] = start
		}
	}
	return begins
}

// errEnough ends the reading of a queue.
var errEnough = errors.New("enough")

// read calls each with the letters of this connector that a query chooses, and of letters
// that do not say whose they are, up to the present end of the queue. idle is called when
// there is none at hand.
func (q *queue) read(ctx context.Context, of *LetterQuery, each func(*Letter) error, idle func() error) error {
	begins := q.begins(of)
	if len(begins) == 0 {
		return nil
	}
	ends := map[int32]int64{}
	for partition, begin := range begins {
		ends[partition] = q.ends[partition]
		if of.To != nil {
			ends[partition] = min(ends[partition], *of.To+1)
		}
		q.left += ends[partition] - begin
	}
	for fetches, err := range kafkalog.ReadTo(ctx, q.opts, map[string]map[int32]int64{q.topic: begins}, map[string]map[int32]int64{q.topic: ends}) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return brokerError("dlq.read", "the dead letter queue "+q.topic+" cannot be read", err)
		}
		if fetches == nil {
			if gone, err := q.gone(ctx); gone || err != nil {
				return err
			}
		}
		if err := q.pass(fetches, of, begins, each); err != nil {
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		}
		if err := idle(); err != nil {
			return err
		}
	}
	return nil
}

// pass hands on what a fetch brought, behind the places up to which letters have come.
func (q *queue) pass(fetches kgo.Fetches, of *LetterQuery, at map[int32]int64, each func(*Letter) error) error {
	for _, r := range fetches.Records() {
		q.left -= r.Offset + 1 - at[r.Partition]
		at[r.Partition] = r.Offset + 1
		l := readLetter(r)
		if l.connector != "" && l.connector != q.connector {
			continue // Connectors may share a queue.
		}
		if l.State = q.state(l); !of.wants(l) {
			continue
		}
		if err := each(l); err != nil {
			return err
		}
	}
	return nil
}

// gone tells whether the queue was deleted meanwhile, or made anew.
func (q *queue) gone(ctx context.Context) (bool, error) {
	now := &queue{h: q.h, topic: q.topic, opts: q.opts, starts: map[int32]int64{}, ends: map[int32]int64{}}
	err := now.look(ctx)
	return now.id != q.id, err
}
