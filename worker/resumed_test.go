package worker

import (
	"context"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// lingering is a counting source whose tasks stop when they are let.
type lingering struct {
	counting
	let chan struct{}
}

func (c *lingering) NewTask() connect.SourceTask {
	return &lingeringTask{countingTask{l: c.l}, c.let}
}

type lingeringTask struct {
	countingTask
	let chan struct{}
}

func (t *lingeringTask) Stop(ctx context.Context) error {
	select {
	case <-t.let:
	case <-ctx.Done():
	}
	return nil
}

// TestResumedBeforeItHasStopped stops a connector and resumes it while its tasks still stop:
// it has its tasks again, whether it has seen that it was to stop or not.
func TestResumedBeforeItHasStopped(t *testing.T) {
	l := newLab(t)
	let := make(chan struct{})
	w := l.start(connect.Config{"task.shutdown.graceful.timeout.ms": "60000"}, func(o *Options) {
		o.Plugins.Sources = append(o.Plugins.Sources, connect.Plugin[connect.SourceConnector]{
			Class: "org.example.Lingering", Config: o.Plugins.Sources[0].Config,
			New: func() connect.SourceConnector { return &lingering{counting{l: l}, let} },
		})
	})
	w.create("c", counter("resumed-numbers", "connector.class", "org.example.Lingering", "pace.ms", "20"))
	w.waitState("c", "RUNNING RUNNING")
	for range 3 {
		must(t, w.SetState(t.Context(), "c", Stopped))
		must(t, w.SetState(t.Context(), "c", Started))
		let <- struct{}{}
		wait(t, "it has its task again", func() bool {
			d, _ := w.desired("c")
			return len(d.tasks) == 1
		})
		w.waitState("c", "RUNNING RUNNING")
	}
	close(let)
}
