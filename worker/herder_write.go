package worker

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// write writes to the config topic and reads it back. what names it, should it take
// too long.
func (h *Herder) write(ctx context.Context, what string, entries ...kafkalog.Entry) error {
	defer h.stages.enter(what)()
	failpoint.At("worker.config.write")
	err := h.configs.Put(ctx, entries...)
	failpoint.At("worker.config.written")
	for l, ok := h.configs.(*kafkalog.Log); ok && errors.Is(err, kafkalog.ErrFenced); {
		// A worker that has come to the group since, or the former leader. Who leads now is
		// asked again before it is shut out in its turn. Each worker does so once when it
		// starts, so this ends.
		if err = h.leading(ctx); err == nil {
			err = l.TakeOver(ctx)
		}
		if err == nil {
			err = h.configs.Put(ctx, entries...)
		}
	}
	if err == nil {
		err = h.configs.ReadToEnd(ctx)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return h.timeout()
	}
	return &connect.Error{
		Code: "worker.config_write", Class: connect.ClassRetriable, Cause: err,
		Message: "Failed to write to config topic; this may be due to a transient error and the request can be safely retried",
	}
}

// lock takes the right to write, or gives up with ctx.
func (h *Herder) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case h.writing <- struct{}{}:
		return func() { <-h.writing }, nil
	case <-ctx.Done():
		return nil, h.timeout()
	}
}

// configWriteLimit bounds the writing of a connector's task configurations.
const configWriteLimit = 30 * time.Second

// storeTasks writes a connector's task configurations and then, when they are all in
// the topic, the commit that makes them count. It is for the leader to do.
func (h *Herder) storeTasks(ctx context.Context, name string, configs []connect.Config) error {
	ctx, cancel := context.WithTimeout(ctx, configWriteLimit)
	defer cancel()
	if err := h.leading(ctx); err != nil {
		if there, ok := errors.AsType[*Elsewhere](err); ok {
			return h.ask(ctx, http.MethodPost, there.URL+"connectors/"+url.PathEscape(name)+"/tasks", appendJSON(nil, configs))
		}
		return err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	// What other leaders have written is known first.
	if err := h.configs.ReadToEnd(ctx); err != nil {
		return err
	}
	if d, ok := h.desired(name); !ok || d.target != Started {
		return nil // Deleted or stopped meanwhile.
	}
	return h.writeTasks(ctx, name, configs)
}

// writeTasks does the writing. The caller holds the right to write.
func (h *Herder) writeTasks(ctx context.Context, name string, configs []connect.Config) error {
	entries := make([]kafkalog.Entry, len(configs))
	for i, config := range configs {
		entries[i] = taskEntry(TaskID{name, i}, config)
	}
	if len(entries) > 0 {
		if err := h.write(ctx, "writing task configs for connector "+name+" to the config topic", entries...); err != nil {
			return err
		}
	}
	failpoint.At("worker.config.tasks")
	return h.write(ctx, "committing task configs for connector "+name+" to the config topic", commitEntry(name, len(configs)))
}

// Fence shuts out the producers of a source connector's former tasks, and records that it
// was done, unless it has been done already. It is for the leader to do: another worker
// gets the error [Elsewhere]. A signature is checked unless it is nil, which stands for
// this worker itself.
func (h *Herder) Fence(ctx context.Context, name string, by *Signature) error {
	if err := h.checkSignature(nil, by); err != nil {
		return err
	}
	if err := h.leading(ctx); err != nil {
		return err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := h.configs.ReadToEnd(ctx); err != nil {
		return err
	}
	d, ok := h.desired(name)
	switch {
	case !ok:
		return notFound(name)
	case h.kind(d.config) != "source":
		return &connect.Error{Code: "request.invalid", Class: connect.ClassConfig, Message: "Connector " + name + " is no source, and has no producers to shut out"}
	case !d.unfenced:
		return nil
	}
	former, known := h.fencedTasks(name)
	if known && !(former == 1 && len(d.tasks) == 1) {
		for i := range former {
			if err := h.fenceTask(ctx, d, TaskID{name, i}); err != nil {
				return err
			}
		}
	}
	return h.write(ctx, "writing a task count record for connector "+name+" to the config topic", fencingEntry(name, len(d.tasks)))
}
