package host

import (
	"context"
	"sync"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/block"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// sinkTask is a sink task whose code is in a process.
type sinkTask struct {
	task
	env     connect.SinkTaskEnv
	encoder block.Encoder
	letters letters
}

// letters are the records that were reported, until the task has waited for them. The
// worker itself waits for all of them before it commits, so that those of two commits ago
// need not be known any more.
type letters struct {
	mu          sync.Mutex // Guards what follows.
	next        uint64
	older, here map[uint64]func(context.Context) error
}

// Start implements connect.SinkTask.
func (t *sinkTask) Start(ctx context.Context, env connect.SinkTaskEnv) error {
	t.env, t.log, t.metrics = env, env.Log, env.Metrics
	return t.start(ctx, line.StartSink, line.Start{Name: env.Connector, Task: env.Task, Config: env.Config, Reports: env.Errant != nil, Replays: env.Replays}, t)
}

// Put implements connect.SinkTask.
func (t *sinkTask) Put(ctx context.Context, records []connect.SinkRecord) error {
	_, err := t.process.callServing(ctx, line.Put, t.encoder.Sink(records))
	return err
}

// PreCommit implements connect.PreCommitter.
func (t *sinkTask) PreCommit(ctx context.Context, offsets map[connect.TopicPartition]int64) (map[connect.TopicPartition]int64, error) {
	t.letters.turn()
	if !t.class.Answers {
		return offsets, nil
	}
	body, err := t.process.callServing(ctx, line.PreCommit, line.Pack(line.OffsetPoints(offsets)))
	if err != nil {
		return nil, err
	}
	points, err := line.Unpack[[]line.Point](body)
	return line.Offsets(points), err
}

// Open implements connect.PartitionOpener.
func (t *sinkTask) Open(ctx context.Context, partitions []connect.TopicPartition) error {
	return t.tell(ctx, line.Open, partitions)
}

// Close implements connect.PartitionOpener.
func (t *sinkTask) Close(ctx context.Context, partitions []connect.TopicPartition) error {
	return t.tell(ctx, line.Close, partitions)
}

func (t *sinkTask) tell(ctx context.Context, m line.Method, partitions []connect.TopicPartition) error {
	if !t.class.Opens {
		return nil
	}
	_, err := t.process.callServing(ctx, m, line.Pack(line.Points(partitions)))
	return err
}

// Stop implements connect.SinkTask.
func (t *sinkTask) Stop(ctx context.Context) error { return t.stop(ctx) }

// Notified implements line.Handler.
func (t *sinkTask) Notified(m line.Method, body []byte) { t.notified(m, body) }

// Outside implements line.Guarded.
func (t *sinkTask) Outside(m line.Method) error {
	return &connect.Error{
		Code: "plugin.outside", Place: m.String(), Message: "a sink task steers its consumer and reports records from its own methods only",
		Mend: "this is a fault of the plugin; report it to its author",
	}
}

// Called implements line.Handler. It is called by the goroutine that has called the task.
func (t *sinkTask) Called(ctx context.Context, m line.Method, body []byte) ([]byte, error) {
	switch m {
	case line.Report:
		return t.report(ctx, body)
	case line.AwaitLetter:
		number, err := line.Unpack[uint64](body)
		if err != nil {
			return nil, err
		}
		if wait := t.letters.take(number); wait != nil {
			return nil, wait(ctx)
		}
		return nil, nil
	case line.Assignment:
		return line.Pack(line.Points(t.env.Consumer.Assignment())), nil
	case line.RequestCommit:
		t.env.Consumer.RequestCommit()
		return nil, nil
	}
	points, err := line.Unpack[[]line.Point](body)
	if err != nil {
		return nil, err
	}
	switch m {
	case line.Pause:
		t.env.Consumer.Pause(line.Partitions(points)...)
	case line.Resume:
		t.env.Consumer.Resume(line.Partitions(points)...)
	case line.Seek:
		t.env.Consumer.Seek(line.Offsets(points))
	default:
		return nil, unserved(m)
	}
	return nil, nil
}

// report hands a record on that the task cannot write.
func (t *sinkTask) report(ctx context.Context, body []byte) ([]byte, error) {
	letter, err := line.Unpack[line.Letter](body)
	if err != nil || t.env.Errant == nil {
		return nil, unserved(line.Report)
	}
	var decoder block.Decoder
	records, err := decoder.Sink(letter.Record, nil)
	if err != nil || len(records) != 1 {
		return nil, unserved(line.Report)
	}
	wait, err := t.env.Errant.Report(ctx, &records[0], line.UnpackError(letter.Cause))
	if err != nil {
		return nil, err
	}
	return line.Pack(t.letters.add(wait)), nil
}

func (l *letters) add(wait func(context.Context) error) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	if l.here == nil {
		l.here = map[uint64]func(context.Context) error{}
	}
	l.here[l.next] = wait
	return l.next
}

func (l *letters) take(number uint64) func(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, some := range []map[uint64]func(context.Context) error{l.here, l.older} {
		if wait := some[number]; wait != nil {
			delete(some, number)
			return wait
		}
	}
	return nil
}

// turn forgets the letters of the commit before the last.
func (l *letters) turn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.older, l.here = l.here, nil
}
