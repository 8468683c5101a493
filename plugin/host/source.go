package host

import (
	"context"
	"errors"
	"sync"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/block"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// ahead is how many bytes a batch may have for the next one to be asked for while it is
// worked on: so many bytes more than in one process are held at most, and one batch.
const ahead = 4 << 20

// sourceTask is a source task whose code is in a process.
type sourceTask struct {
	task
	connector *connector
	env       connect.SourceTaskEnv
	decoder   block.Decoder
	records   []connect.SourceRecord
	polling   *line.Pending // The call that brings the next batch; nil for none.
	canceled  bool          // It was told to come back.
	quit      context.CancelFunc
	passing   sync.WaitGroup // Signals being passed on.
}

// Start implements connect.SourceTask.
func (t *sourceTask) Start(ctx context.Context, env connect.SourceTaskEnv) error {
	if err := t.connector.deliveryFailure(); err != nil {
		return err
	}
	t.env, t.log, t.metrics, t.decoder.Reuse = env, env.Log, env.Metrics, true
	err := t.start(ctx, line.StartSource, line.Start{
		Name: env.Connector, Task: env.Task, Config: env.Config, StateDir: env.StateDir,
		Refreshes: env.Refresh != nil, Signals: env.Signals != nil, Shows: env.Show != nil, Consumes: env.Consume != nil,
	}, t)
	if err != nil {
		return err
	}
	var passing context.Context
	passing, t.quit = context.WithCancel(ctx)
	if env.Signals != nil {
		t.passing.Go(func() { t.passSignals(passing) })
	}
	return nil
}

// passSignals hands signals on, one when the one before was taken.
func (t *sourceTask) passSignals(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.process.ended:
			return
		case signal := <-t.env.Signals:
			if _, err := t.process.call(ctx, line.Signal, signal); err != nil && ctx.Err() == nil {
				t.log.Warn("a signal did not reach the task", "error", err)
			}
		}
	}
}

// Poll implements connect.SourceTask. While a batch is worked on the next one is made.
func (t *sourceTask) Poll(ctx context.Context) ([]connect.SourceRecord, error) {
	if ctx.Err() != nil {
		t.comeBack()
		return nil, nil
	}
	if t.polling == nil {
		t.polling, t.canceled = t.process.line.Begin(line.Poll, nil), false
	}
	select {
	case <-t.polling.Done():
	case <-ctx.Done():
		t.comeBack()
		return nil, nil // What it may still bring is given by the next call.
	}
	body, err := t.polling.Result()
	canceled := t.canceled
	t.polling = nil
	if err != nil {
		if canceled && errors.Is(err, context.Canceled) {
			return nil, nil
		}
		return nil, t.process.explain(err)
	}
	if len(body) == 0 {
		return nil, nil
	}
	if len(body) <= ahead {
		t.polling, t.canceled = t.process.line.Begin(line.Poll, nil), false
	}
	t.records, err = t.decoder.Source(body, t.records[:0])
	if err != nil {
		return nil, &connect.Error{Code: "plugin.protocol", Place: t.program.path, Message: "what the plugin has sent cannot be read", Cause: err}
	}
	return t.records, nil
}

// comeBack tells a poll on its way to end.
func (t *sourceTask) comeBack() {
	if t.polling != nil && !t.canceled {
		t.canceled = true
		t.polling.Cancel()
	}
}

// Commit implements connect.Committer.
func (t *sourceTask) Commit(ctx context.Context, offsets map[connect.SourcePartition]connect.Offset) error {
	if !t.class.Commits {
		return nil
	}
	list := make([]line.Stored, 0, len(offsets))
	for p, o := range offsets {
		if own, ok := o.(*block.Offset); ok {
			list = append(list, line.Stored{Partition: p.JSON(), Seq: own.Seq})
		}
	}
	_, err := t.process.call(ctx, line.Commit, line.Pack(list))
	return err
}

// Stop implements connect.SourceTask.
func (t *sourceTask) Stop(ctx context.Context) error {
	if t.quit != nil {
		t.quit()
		t.passing.Wait()
	}
	if t.polling != nil {
		// The task's methods are called one after another.
		t.comeBack()
		select {
		case <-t.polling.Done():
		case <-ctx.Done():
		}
	}
	return t.stop(ctx)
}

// Notified implements line.Handler.
func (t *sourceTask) Notified(m line.Method, body []byte) {
	if m != line.Show {
		t.notified(m, body)
		return
	}
	d, err := line.Unpack[line.Document](body)
	switch {
	case err != nil || t.env.Show == nil:
	case d.Gone:
		t.env.Show(d.Name, nil)
	default:
		t.env.Show(d.Name, []byte(d.JSON))
	}
}

// Called implements line.Handler.
func (t *sourceTask) Called(ctx context.Context, m line.Method, body []byte) ([]byte, error) {
	switch {
	case m == line.StoredOffset:
		p, err := block.ParsePartition(string(body))
		if err != nil {
			return nil, err
		}
		return t.env.StoredOffset(ctx, p)
	case m == line.Refresh && t.env.Refresh != nil:
		config, err := t.env.Refresh()
		if err != nil {
			return nil, err
		}
		return line.Pack(config), nil
	case m == line.Consume && t.env.Consume != nil:
		return nil, t.consume(ctx, body)
	}
	return nil, unserved(m)
}

// consume reads a topic for the task.
func (t *sourceTask) consume(ctx context.Context, body []byte) error {
	r, err := line.Unpack[line.Reading](body)
	if err != nil {
		return err
	}
	return t.env.Consume(ctx, r.Settings, r.Topic, r.Group, func(key, value []byte) error {
		_, err := t.process.call(ctx, line.Consumed, line.Pack(line.Reading{ID: r.ID, Key: key, Value: value, NilKey: key == nil, NilValue: value == nil}))
		return err
	})
}
