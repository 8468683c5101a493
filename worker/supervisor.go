package worker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// taskRun is one task as it is supervised: run, and run again after a failure that
// may pass, until it is stopped.
type taskRun struct {
	id      TaskID
	source  bool
	among   int            // How many tasks the connector has.
	commits int            // Which commit of task configurations it belongs to.
	stored  connect.Config // The task's configuration, secrets not resolved.
	config  connect.Config // The connector's, the same.
	rt      *runtime
	gate    *gate
	metrics *taskMetrics
	log     *slog.Logger

	stop, kill context.CancelFunc
	done       chan struct{}
	// abandoned tasks no longer speak: a successor may have a state of its own.
	abandoned atomic.Bool
	ran       atomic.Bool // It was RUNNING since its last start.
	failure   atomic.Pointer[Failure]
}

// newTaskRun starts a task. It runs until stopped.
func newTaskRun(r *taskRun) *taskRun {
	ctx, stop := context.WithCancel(context.Background())
	life, kill := context.WithCancel(context.Background())
	r.stop, r.kill, r.done = stop, kill, make(chan struct{})
	r.metrics = r.rt.metrics.task(r.id, r.source)
	go func() {
		defer func() {
			close(r.done)
			if r.abandoned.Load() {
				r.tellStrays() // One less.
			}
		}()
		defer kill()
		r.supervise(ctx, life)
	}()
	return r
}

// report puts the task's state.
func (r *taskRun) report(state, trace string) {
	if r.abandoned.Load() {
		return
	}
	if state == stateRunning {
		r.ran.Store(true)
		r.failure.Store(r.failure.Load().tried())
	}
	r.metrics.states.enter(state)
	if state == stateFailed && !r.rt.statuses.mayPut(r.id) {
		return // It runs elsewhere by now.
	}
	r.rt.statuses.tellTask(r.id, stateRecord{State: state, Failure: r.failure.Load(), Abandoned: r.rt.strays.of(r.id)}, trace)
}

// supervise runs the task again and again, as its restart policy says.
func (r *taskRun) supervise(ctx, life context.Context) {
	policy := newRestartPolicy(r.rt.settings, r.config)
	var before failures
	for {
		began := time.Now()
		r.rt.metrics.attempts.task.Add(1)
		r.ran.Store(false)
		err := guard("task "+r.id.String(), func() error { return r.once(ctx, life) })
		if ctx.Err() != nil {
			if err != nil && !isDone(ctx, err) {
				r.log.Warn("the task stopped with an error", "error", err)
			}
			return
		}
		if err == nil {
			err = &connect.Error{Code: "task.ended", Class: connect.ClassRetriable, Message: "the task ended by itself"}
		}
		lasted := time.Since(began)
		if !r.ran.Load() {
			r.rt.metrics.failures.task.Add(1)
			lasted = 0
		}
		before.after(lasted)
		wait, again := policy.next(err, before)
		before.again(wait)
		text := trace(err)
		if again {
			text += fmt.Sprintf("\nThe worker starts the task again at %s, for the %d. time.", time.Now().Add(wait).Format(time.TimeOnly), before.all)
		}
		r.log.Error("task failed", "error", err, "restarts", again)
		r.failure.Store(newFailure(err, before.all, wait, again))
		r.report(stateFailed, text)
		if !again {
			<-ctx.Done()
			return
		}
		if sleep(ctx, wait) != nil {
			return
		}
		r.metrics.restarts[connect.AsError(err).Class].Add(1)
	}
}

// once makes the task anew and runs it.
func (r *taskRun) once(ctx, life context.Context) error {
	if r.rt.confirm != nil {
		// Another worker may run this task by now, and must not be shut out by it.
		if err := r.rt.confirm(ctx); err != nil {
			return err
		}
	}
	config, err := r.rt.resolve(r.config)
	if err != nil {
		return fmt.Errorf("resolve the connector's secrets: %w", err)
	}
	if err := r.rt.checkOverrides(r.config); err != nil {
		return err
	}
	task, err := r.taskConfig()
	if err != nil {
		return err
	}
	setup := taskSetup{rt: r.rt, id: r.id, config: config, task: task, gate: r.gate, report: r.report, metrics: r.metrics, abandoned: r.abandoned.Load}
	setup.memory = memoryShare(r.rt.settings, r.config, r.among)
	r.metrics.memoryMost.Store(setup.memory)
	for _, text := range r.stored {
		if strings.Contains(text, "${") {
			setup.refresh = r.taskConfig
		}
	}
	plugin, err := r.rt.locate(config, true)
	if err != nil {
		return err
	}
	if plugin.sink != nil {
		return newSinkTask(setup, plugin.sink().NewTask(), r.log).run(ctx, life)
	}
	connector := plugin.source()
	t := &sourceTask{taskSetup: setup, plugin: connector.NewTask(), log: r.log}
	if x, ok := connector.(connect.ExactlyOnceSource); ok {
		t.boundaries = x.DefinesBoundaries(config)
	}
	return t.run(ctx, life)
}

// taskConfig is the task's configuration with its secrets as they are now.
func (r *taskRun) taskConfig() (connect.Config, error) {
	task, err := r.rt.resolve(r.stored)
	if err != nil {
		return nil, fmt.Errorf("resolve the task's secrets: %w", err)
	}
	task = maps.Clone(task)
	delete(task, "task.class") // The runtime's own mark, which no plugin declares.
	return task, nil
}

// stopTasks stops tasks together and waits, all in all, for the graceful time. Those
// that are not done by then are abandoned, and returned.
func stopTasks(runs []*taskRun, wait time.Duration) (zombies []*taskRun) {
	for _, r := range runs {
		r.stop()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	late := false
	for _, r := range runs {
		if !late {
			select {
			case <-r.done:
				continue
			case <-timer.C:
				late = true
			}
		}
		if r.ended() {
			continue
		}
		r.abandon()
		r.log.Warn("the task did not stop in time and was abandoned", "waited", wait)
		zombies = append(zombies, r)
	}
	return zombies
}
