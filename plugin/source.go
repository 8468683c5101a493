package plugin

import (
	"context"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/block"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// sourceSide is a source task and its worker's place.
type sourceSide struct {
	s         *session
	task      connect.SourceTask
	committer connect.Committer // Nil when the task does not want to know.
	encoder   block.Encoder
	next      uint64 // The number of the next record.
	kept      kept
	signals   chan []byte
	reading   readers
}

// signalsWaiting is how many signals a task may leave waiting before the worker keeps the
// next ones itself.
const signalsWaiting = 1

func (s *session) startSource(body []byte) error {
	start, err := line.Unpack[line.Start](body)
	if err != nil {
		return err
	}
	c, err := find(s.plugins, start.Target)
	if err != nil {
		return err
	}
	side := &sourceSide{s: s, task: c.source.NewTask()}
	side.committer, _ = side.task.(connect.Committer)
	s.mu.Lock()
	s.source = side
	s.mu.Unlock()
	return side.task.Start(s.life, side.env(start))
}

func (t *sourceSide) env(start line.Start) connect.SourceTaskEnv {
	env := connect.SourceTaskEnv{
		Connector: start.Name, Task: start.Task, Config: start.Config, StateDir: start.StateDir,
		Log: t.s.log(start), Metrics: &t.s.figures, StoredOffset: t.storedOffset,
	}
	if start.Refreshes {
		env.Refresh = t.refresh
	}
	if start.Signals {
		t.signals = make(chan []byte, signalsWaiting)
		env.Signals = t.signals
	}
	if start.Shows {
		env.Show = t.show
	}
	if start.Consumes {
		env.Consume = t.consume
	}
	return env
}

// called serves what the worker asks of the task.
func (t *sourceSide) called(ctx context.Context, m line.Method, body []byte) ([]byte, error) {
	switch m {
	case line.Poll:
		return t.poll(ctx)
	case line.Commit:
		return nil, t.commit(ctx, body)
	case line.Signal:
		if t.signals == nil {
			return nil, misused(m)
		}
		select {
		case t.signals <- body:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case line.Consumed:
		return nil, t.reading.consumed(body)
	}
	return nil, misused(m)
}

func (t *sourceSide) poll(ctx context.Context) ([]byte, error) {
	records, err := t.task.Poll(ctx)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	if t.committer != nil {
		t.kept.add(t.next, records)
	}
	b := t.encoder.Source(t.next, records)
	t.next += uint64(len(records))
	return b, nil
}

// commit tells the task of offsets, which it gets as it gave them.
func (t *sourceSide) commit(ctx context.Context, body []byte) error {
	list, err := line.Unpack[[]line.Stored](body)
	if err != nil || t.committer == nil {
		return err
	}
	offsets := map[connect.SourcePartition]connect.Offset{}
	for _, stored := range list {
		p, err := block.ParsePartition(stored.Partition)
		if err != nil {
			return err
		}
		if o, known := t.kept.take(p, stored.Seq); known {
			offsets[p] = o
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	return t.committer.Commit(ctx, offsets)
}

func (t *sourceSide) storedOffset(ctx context.Context, p connect.SourcePartition) ([]byte, error) {
	offset, err := t.s.line.Call(ctx, line.StoredOffset, []byte(p.JSON()))
	if err != nil || len(offset) == 0 {
		return nil, err
	}
	return offset, nil
}

func (t *sourceSide) refresh() (connect.Config, error) {
	body, err := t.s.line.Call(t.s.line.Context(), line.Refresh, nil)
	if err != nil {
		return nil, err
	}
	return line.Unpack[connect.Config](body)
}

func (t *sourceSide) show(name string, document []byte) {
	t.s.line.Notify(line.Show, line.Pack(line.Document{Name: name, JSON: string(document), Gone: document == nil}))
}
