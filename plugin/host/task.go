package host

import (
	"context"
	"log/slog"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// task is what source and sink tasks have in common.
type task struct {
	program *program
	class   line.Class
	process *process
	log     *slog.Logger
	metrics connect.Metrics
}

// start starts the process and, in it, the task. served answers it.
func (t *task) start(ctx context.Context, m line.Method, start line.Start, served line.Handler) error {
	r, err := t.program.launch(ctx, t.log, served)
	if err != nil {
		return err
	}
	t.process = r
	context.AfterFunc(ctx, func() { r.line.Notify(line.End, nil) })
	start.Target, start.Debug = targetOf(t.class), t.log.Enabled(ctx, slog.LevelDebug)
	_, err = r.callServing(ctx, m, line.Pack(start))
	return err
}

// stop stops the task and ends its process.
func (t *task) stop(ctx context.Context) error {
	if t.process == nil {
		return nil
	}
	defer t.process.close()
	select {
	case <-t.process.ended:
		return nil // The failure was told where it was met.
	default:
	}
	// What has not stopped by then is ended.
	defer context.AfterFunc(ctx, t.process.child.kill)()
	_, err := t.process.callServing(ctx, line.Stop, nil)
	return err
}

// notified takes the notices that all tasks send.
func (t *task) notified(m line.Method, body []byte) {
	switch m {
	case line.Log:
		relay(t.log, body)
	case line.Figures:
		update, err := line.Unpack[line.FiguresUpdate](body)
		if err != nil || t.metrics == nil {
			return
		}
		for name, delta := range update.Add {
			t.metrics.Add(name, delta)
		}
		for name, value := range update.Set {
			t.metrics.Set(name, value)
		}
	}
}
