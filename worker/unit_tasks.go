package worker

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// followTasks stops the tasks that should not run, or not as they do, and starts the
// missing ones.
func (u *unit) followTasks(ctx context.Context, d desired) {
	var stale []int
	for i, r := range u.running() {
		if r.commits != d.commits || i >= len(d.tasks) || !d.mine.has(r.id) {
			stale = append(stale, i)
		} else {
			r.gate.set(d.target == Paused)
		}
	}
	u.stopTasks(stale)
	u.forgetTasks(len(d.tasks))
	if ctx.Err() != nil {
		return
	}
	if d.unfenced && u.rt.exactlyOnce && len(d.tasks) > 0 && u.h.kind(d.config) == "source" {
		if err := u.fence(ctx); err != nil {
			u.log.Warn("shutting out former producers failed, trying again", "error", err)
			u.tryAgain(err)
			return
		}
	}
	running := u.running()
	for i, config := range d.tasks {
		if id := (TaskID{u.name, i}); running[i] == nil && d.mine.has(id) {
			u.startTask(id, config, d)
		}
	}
}

// forgetTasks drops states and figures of the tasks from the given number on. What other
// workers say of theirs is for them to drop, when they have stopped them.
func (u *unit) forgetTasks(from int) {
	u.rt.statuses.dropTasks(u.name, from, u.h.gone())
	u.rt.metrics.forget(u.name, from)
	u.rt.doors.forget(u.name, from)
}

// running returns the tasks that run, by number.
func (u *unit) running() map[int]*taskRun {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.tasks)
}

func (u *unit) startTask(id TaskID, config connect.Config, d desired) {
	_, source, _, err := connectorPlugin(u.rt, d.applied)
	if err != nil {
		u.rt.statuses.tellTask(id, stateRecord{State: stateFailed, Failure: newFailure(err, 1, 0, false)}, trace(err))
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.h.holds(id) {
		return // It was given to another worker just now, which waits for nothing here.
	}
	u.rt.statuses.putTask(id, stateUnassigned, "", "")
	u.tasks[id.Task] = newTaskRun(&taskRun{
		id: id, source: source, among: len(d.tasks), commits: d.commits, stored: config, config: d.applied, rt: u.rt,
		gate: newGate(d.target == Paused), log: u.log.With("task", id.Task),
	})
}

// strange returns the numbers of the tasks that run here and are not of a share.
func (u *unit) strange(s share) (numbers []int) {
	for i, r := range u.running() {
		if !s.has(r.id) {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// stopAll stops all tasks.
func (u *unit) stopAll() { u.stopTasks(slices.Collect(maps.Keys(u.running()))) }

// stopTasks stops the tasks with the given numbers.
func (u *unit) stopTasks(numbers []int) {
	u.mu.Lock()
	var runs []*taskRun
	for _, i := range numbers {
		if r := u.tasks[i]; r != nil {
			runs = append(runs, r)
			delete(u.tasks, i)
		}
	}
	u.stopping += len(runs)
	u.mu.Unlock()
	if len(runs) == 0 {
		return
	}
	zombies := stopTasks(runs, graceful(u.rt.settings))
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stopping -= len(runs)
	u.zombies = slices.DeleteFunc(append(u.zombies, zombies...), (*taskRun).ended)
}

// idle tells whether no task runs or is being stopped, which may still store offsets,
// and whether one that was abandoned may still run.
func (u *unit) idle() (idle, zombies bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, r := range u.zombies {
		zombies = zombies || !r.ended()
	}
	return len(u.tasks)+u.stopping == 0, zombies
}

// fence shuts out the producers of the tasks of the former commit, which a worker
// that is cut off may still run, and records that it was done. New tasks shut out
// those of their own number; the rest is done by the leader.
func (u *unit) fence(ctx context.Context) error {
	err := u.h.Fence(ctx, u.name, nil)
	if there, ok := errors.AsType[*Elsewhere](err); ok {
		return u.h.ask(ctx, http.MethodPut, there.URL+"connectors/"+url.PathEscape(u.name)+"/fence", nil)
	}
	return err
}

// fenceTask shuts out the producer of one task.
func (h *Herder) fenceTask(ctx context.Context, d desired, id TaskID) error {
	config, err := h.rt.resolve(d.config)
	if err != nil {
		return err
	}
	if err := h.rt.checkOverrides(d.config); err != nil {
		return err
	}
	opts, err := h.rt.client(adminClient, clientProps(h.rt.raw, adminClient, config), h.rt.log)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(opts, kgo.TransactionalID(transactionalID(h.rt.groupID, id)))...)
	if err != nil {
		return err
	}
	defer client.Close()
	if _, _, err := client.ProducerID(ctx); err != nil {
		return brokerError("kafka.transaction", "former producers cannot be shut out", err)
	}
	return nil
}
