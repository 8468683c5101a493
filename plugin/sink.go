package plugin

import (
	"context"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/block"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// sinkSide is a sink task and its worker's place.
type sinkSide struct {
	s       *session
	task    connect.SinkTask
	decoder block.Decoder
	records []connect.SinkRecord
}

func (s *session) startSink(body []byte) error {
	start, err := line.Unpack[line.Start](body)
	if err != nil {
		return err
	}
	c, err := find(s.plugins, start.Target)
	if err != nil {
		return err
	}
	side := &sinkSide{s: s, task: c.sink.NewTask()}
	s.mu.Lock()
	s.sink = side
	s.mu.Unlock()
	env := connect.SinkTaskEnv{
		Connector: start.Name, Task: start.Task, Config: start.Config,
		Consumer: control{s}, Log: s.log(start), Metrics: &s.figures, Replays: start.Replays,
	}
	if start.Reports {
		env.Errant = errants{s}
	}
	return side.task.Start(s.life, env)
}

// called serves what the worker asks of the task.
func (t *sinkSide) called(ctx context.Context, m line.Method, body []byte) ([]byte, error) {
	if m == line.Put {
		var err error
		if t.records, err = t.decoder.Sink(body, t.records[:0]); err != nil {
			return nil, err
		}
		return nil, t.task.Put(ctx, t.records)
	}
	points, err := line.Unpack[[]line.Point](body)
	if err != nil {
		return nil, err
	}
	opener, _ := t.task.(connect.PartitionOpener)
	answerer, _ := t.task.(connect.PreCommitter)
	switch {
	case m == line.PreCommit && answerer != nil:
		offsets, err := answerer.PreCommit(ctx, line.Offsets(points))
		if err != nil {
			return nil, err
		}
		return line.Pack(line.OffsetPoints(offsets)), nil
	case m == line.Open && opener != nil:
		return nil, opener.Open(ctx, line.Partitions(points))
	case m == line.Close && opener != nil:
		return nil, opener.Close(ctx, line.Partitions(points))
	}
	return nil, misused(m)
}

// control steers the consumer, which is the worker's.
type control struct{ s *session }

func (c control) call(m line.Method, body []byte) []byte {
	answer, err := c.s.line.Call(c.s.line.Context(), m, body)
	if err != nil && c.s.line.Context().Err() == nil {
		c.s.line.Notify(line.Log, complaint("the consumer could not be asked to "+m.String(), err))
	}
	return answer
}

// Assignment implements connect.ConsumerControl.
func (c control) Assignment() []connect.TopicPartition {
	points, err := line.Unpack[[]line.Point](c.call(line.Assignment, nil))
	if err != nil {
		return nil
	}
	return line.Partitions(points)
}

// Pause implements connect.ConsumerControl.
func (c control) Pause(partitions ...connect.TopicPartition) {
	c.call(line.Pause, line.Pack(line.Points(partitions)))
}

// Resume implements connect.ConsumerControl.
func (c control) Resume(partitions ...connect.TopicPartition) {
	c.call(line.Resume, line.Pack(line.Points(partitions)))
}

// Seek implements connect.ConsumerControl.
func (c control) Seek(offsets map[connect.TopicPartition]int64) {
	c.call(line.Seek, line.Pack(line.OffsetPoints(offsets)))
}

// RequestCommit implements connect.ConsumerControl.
func (c control) RequestCommit() { c.call(line.RequestCommit, nil) }

// errants takes records the task cannot write to the worker.
type errants struct{ s *session }

// Report implements connect.ErrantRecordReporter.
func (e errants) Report(ctx context.Context, r *connect.SinkRecord, cause error) (func(context.Context) error, error) {
	var encoder block.Encoder // The record may be one of long ago: it is told whole.
	letter := line.Letter{Record: encoder.Sink([]connect.SinkRecord{*r}), Cause: line.PackError(cause)}
	number, err := e.s.line.Call(ctx, line.Report, line.Pack(letter))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := e.s.line.Call(ctx, line.AwaitLetter, number)
		return err
	}, nil
}
