package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// replaySink is a task of a sink connector that letters are put into, with a chain of its
// own. It stands beside the connector's tasks, with a number that none of them has.
type replaySink struct {
	q      *queue
	task   connect.Config
	make   func() connect.SinkTask
	plugin connect.SinkTask
	chain  *chain
	log    func(message string, args ...any)
	life   context.Context
	end    context.CancelFunc
	env    connect.SinkTaskEnv
	opened map[connect.TopicPartition]bool
	now    *replayed // What is being put.
}

// replayed are letters as they are put together.
type replayed struct {
	letters []*Letter
	records []connect.SinkRecord
	errant  []error // Why the plugin does not want a record; nil for most.
	refused []*Letter
	why     []error   // They could not be converted.
	dropped []*Letter // By a transform.
	// answers are the offsets behind what the plugin says it has written; nil for all of it.
	answers map[connect.TopicPartition]int64
}

// part is some of the letters by themselves.
func (b *replayed) part(from, to int) *replayed {
	return &replayed{letters: b.letters[from:to], records: b.records[from:to], errant: make([]error, to-from)}
}

// answered tells whether the plugin says that a record is written.
func (b *replayed) answered(i int) bool {
	r := &b.records[i]
	return b.answers == nil || b.answers[connect.TopicPartition{Topic: r.OriginalTopic, Partition: r.OriginalPartition}] > r.Offset
}

// newReplaySink makes and starts the task. It lives a little longer than ctx, so that a
// batch in hand can be written when a replay is stopped.
func newReplaySink(ctx context.Context, q *queue) (*replaySink, error) {
	rt, d := q.h.rt, q.desired
	task, err := rt.resolve(d.tasks[0])
	if err != nil {
		return nil, fmt.Errorf("resolve the task's secrets: %w", err)
	}
	task = maps.Clone(task)
	delete(task, "task.class")
	settings, err := frameworkDef(false).Parse(q.config)
	if err != nil {
		return nil, err
	}
	plugin, err := rt.locate(q.config, true)
	if err != nil {
		return nil, err
	}
	id := TaskID{q.connector, len(d.tasks)}
	log := rt.log.With("connector", q.connector, "replay", q.topic)
	metrics := &taskMetrics{id: id}
	s := &replaySink{q: q, task: task, log: log.Warn, make: func() connect.SinkTask { return plugin.sink().NewTask() }}
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	f := newFaults(id, settings, metrics, log)
	f.tolerate = true // A letter that cannot be converted stays one, and ends nothing.
	if s.chain, err = newChain(s.life, rt, q.config, f); err != nil {
		s.end()
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		_ = sleep(s.life, graceful(rt.settings))
		s.end()
	})
	s.env = connect.SinkTaskEnv{
		Connector: q.connector, Task: id.Task, Config: task, Consumer: replayControl{s}, Errant: replayErrants{s},
		Replays: true, Log: log, Metrics: metrics,
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// start makes a task of the plugin.
func (s *replaySink) start() error {
	s.opened = map[connect.TopicPartition]bool{}
	return guard("start", func() error {
		s.plugin = s.make()
		return s.plugin.Start(s.life, s.env)
	})
}

// stop ends it.
func (s *replaySink) stop() error {
	if s.plugin == nil {
		return nil
	}
	plugin := s.plugin
	s.plugin = nil
	closed := guard("close", func() error {
		if o, ok := plugin.(connect.PartitionOpener); ok && len(s.opened) > 0 {
			return o.Close(s.life, slices.Collect(maps.Keys(s.opened)))
		}
		return nil
	})
	return errors.Join(closed, guard("stop", func() error { return plugin.Stop(s.life) }))
}

// renew takes a new task in the place of one that has failed. What that says of its end is
// no news.
func (s *replaySink) renew(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := s.stop(); err != nil {
		s.log("a task that had refused letters did not stop well", "error", err)
	}
	if err := s.start(); err != nil {
		return &replayEnds{err}
	}
	return nil
}

// close ends everything.
func (s *replaySink) close() error {
	err := s.stop()
	s.end()
	if last := s.chain.close(); err == nil {
		err = last
	}
	return err
}

// convert makes records of letters, as they were when they were first read.
func (s *replaySink) convert(ctx context.Context, letters []*Letter) *replayed {
	b := &replayed{records: make([]connect.SinkRecord, 0, len(letters))}
	restored := make([]*kgo.Record, len(letters))
	for i, l := range letters {
		restored[i] = l.restored()
	}
	s.chain.readAhead(ctx, restored)
	for i, l := range letters {
		in := restored[i]
		record := sinkRecord(in)
		record.RawHeaders = rawHeaders(in.Headers)
		keep, bad := s.chain.read(ctx, in, &record)
		switch {
		case bad != nil:
			b.refused, b.why = append(b.refused, l), append(b.why, bad)
		case !keep:
			b.dropped = append(b.dropped, l)
		default:
			b.letters, b.records = append(b.letters, l), append(b.records, record)
		}
	}
	b.errant = make([]error, len(b.letters))
	return b
}

// sinkRecord is a consumed record before it is converted.
func sinkRecord(in *kgo.Record) connect.SinkRecord {
	r := connect.SinkRecord{
		Record:            connect.Record{Topic: in.Topic, Partition: in.Partition, Timestamp: in.Timestamp.UnixMilli()},
		Offset:            in.Offset,
		LogAppendTime:     in.Attrs.TimestampType() == 1,
		OriginalTopic:     in.Topic,
		OriginalPartition: in.Partition,
		RawKey:            in.Key, RawValue: in.Value,
	}
	if in.Attrs.TimestampType() < 0 {
		r.Timestamp = connect.NoTimestamp
	}
	return r
}

// put hands records to the plugin and has it write them out, again and again while it says
// that this may help.
func (s *replaySink) put(ctx context.Context, r *replay, b *replayed) error {
	s.now = b
	for attempt := 0; ; attempt++ {
		clear(b.errant)
		err := s.open(b)
		if err == nil {
			err = guard("put", func() error { return s.plugin.Put(s.life, b.records) })
		}
		if err == nil {
			err = guard("preCommit", func() error { return s.answer(b) })
		}
		e := connect.AsError(err)
		if err == nil || e.Class != connect.ClassRetriable || taskGone(e) {
			r.update(func(s *Replay) { s.Waiting = "" })
			return err
		}
		wait := e.After
		if wait <= 0 {
			wait = min(time.Second<<min(attempt, 6), time.Minute)
		}
		r.update(func(s *Replay) { s.Waiting = err.Error() })
		if err := sleep(ctx, wait); err != nil {
			return &replayEnds{err}
		}
		if err := r.allowed(); err != nil {
			return err
		}
	}
}

// open tells the plugin of partitions before their first record.
func (s *replaySink) open(b *replayed) error {
	var fresh []connect.TopicPartition
	for i := range b.records {
		tp := connect.TopicPartition{Topic: b.records[i].OriginalTopic, Partition: b.records[i].OriginalPartition}
		if !s.opened[tp] {
			s.opened[tp] = true
			fresh = append(fresh, tp)
		}
	}
	o, ok := s.plugin.(connect.PartitionOpener)
	if !ok || len(fresh) == 0 {
		return nil
	}
	err := guard("open", func() error { return o.Open(s.life, fresh) })
	if err != nil {
		for _, tp := range fresh {
			delete(s.opened, tp)
		}
	}
	return err
}

// answer asks the plugin what it has written.
func (s *replaySink) answer(b *replayed) error {
	p, ok := s.plugin.(connect.PreCommitter)
	if !ok {
		return nil
	}
	behind := map[connect.TopicPartition]int64{}
	for i := range b.records {
		r := &b.records[i]
		tp := connect.TopicPartition{Topic: r.OriginalTopic, Partition: r.OriginalPartition}
		behind[tp] = max(behind[tp], r.Offset+1)
	}
	answers, err := p.PreCommit(s.life, behind)
	if answers == nil {
		answers = map[connect.TopicPartition]int64{}
	}
	b.answers = answers
	return err
}

// replayControl is the consumer of a task that has none: there is nothing to steer.
type replayControl struct{ s *replaySink }

// Assignment implements connect.ConsumerControl.
func (c replayControl) Assignment() []connect.TopicPartition {
	return slices.Collect(maps.Keys(c.s.opened))
}

// Pause implements connect.ConsumerControl.
func (replayControl) Pause(...connect.TopicPartition) {}

// Resume implements connect.ConsumerControl.
func (replayControl) Resume(...connect.TopicPartition) {}

// Seek implements connect.ConsumerControl.
func (replayControl) Seek(map[connect.TopicPartition]int64) {}

// RequestCommit implements connect.ConsumerControl.
func (replayControl) RequestCommit() {}

// replayErrants take what the plugin does not want: such a letter stays in the queue.
type replayErrants struct{ s *replaySink }

// Report implements connect.ErrantRecordReporter.
func (e replayErrants) Report(_ context.Context, r *connect.SinkRecord, cause error) (func(context.Context) error, error) {
	b := e.s.now
	for i := range b.records {
		of := &b.records[i]
		if of.Offset == r.Offset && of.OriginalPartition == r.OriginalPartition && of.OriginalTopic == r.OriginalTopic {
			b.errant[i] = cause
		}
	}
	return func(context.Context) error { return nil }, nil
}
