package worker

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/tidemill/tidemill/connect"
)

// TaskDetails is what one task shows beside its status, by name.
type TaskDetails struct {
	ID        int
	Documents map[string]json.RawMessage
}

// MarshalJSON puts the documents beside the id.
func (d TaskDetails) MarshalJSON() ([]byte, error) {
	all := map[string]any{"id": d.ID}
	for name, document := range d.Documents {
		all[name] = document
	}
	return json.Marshal(all)
}

// Details returns what a connector's tasks show of their work: documents of the
// plugin's own, such as the progress of a snapshot. What a failed task has shown last
// is still there. Of tasks that other workers run it returns the numbers alone; see
// [Herder.Attending].
func (h *Herder) Details(name string) ([]TaskDetails, error) {
	if err := h.checkReady(); err != nil {
		return nil, err
	}
	if _, ok := h.desired(name); !ok {
		return nil, notFound(name)
	}
	list := []TaskDetails{}
	for _, id := range h.rt.statuses.taskIDs(name) {
		d := TaskDetails{ID: id.Task}
		if door := h.rt.doors.find(id); door != nil {
			d.Documents = door.shown()
		}
		list = append(list, d)
	}
	return list, nil
}

// Signal hands a signal, a JSON object that the plugin understands, to the tasks of a
// source connector that this worker runs. The error is [Elsewhere] when there are none of
// them here. It returns when they have been handed it, not when they have
// acted on it.
func (h *Herder) Signal(name string, signal []byte) error {
	if err := h.checkReady(); err != nil {
		return err
	}
	d, ok := h.desired(name)
	if !ok {
		return notFound(name)
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(signal, &object) != nil || object == nil {
		return &connect.Error{Code: "request.invalid", Class: connect.ClassConfig, Message: "A signal is a JSON object", Mend: `send {"id":"…","type":"…","data":{…}}`}
	}
	if h.kind(d.config) != "source" {
		return &connect.Error{Code: "request.invalid", Class: connect.ClassConfig, Message: "Connector " + name + " is no source, and only sources take signals"}
	}
	here := 0
	for i := range d.tasks {
		if id := (TaskID{name, i}); d.mine.has(id) {
			here++
			if err := h.rt.doors.of(id).send(id, signal); err != nil {
				return err
			}
		}
	}
	if here > 0 {
		return nil
	}
	if err := h.attends(name); err != nil {
		return err
	}
	// The first task is being given to somebody, or is not there yet.
	return h.rt.doors.of(TaskID{name, 0}).send(TaskID{name, 0}, signal)
}

// Attending returns the REST interfaces of the other workers that say they run tasks of a
// connector: what their tasks show is asked of them, and signals are handed to them too.
func (h *Herder) Attending(name string) (addresses []string) {
	for _, id := range h.rt.statuses.taskIDs(name) {
		r, ok := h.rt.statuses.task(id)
		if !ok || r.WorkerID == h.rt.statuses.workerID || r.State == stateUnassigned {
			continue
		}
		if address := advertised(h.rt.settings, r.WorkerID); !slices.Contains(addresses, address) {
			addresses = append(addresses, address)
		}
	}
	return addresses
}

// Hosts returns the REST interfaces of the other workers that say they run a connector or
// tasks of it.
func (h *Herder) Hosts(name string) []string {
	addresses := h.Attending(name)
	if r, ok := h.rt.statuses.connector(name); ok && r.WorkerID != h.rt.statuses.workerID {
		if address := advertised(h.rt.settings, r.WorkerID); !slices.Contains(addresses, address) {
			addresses = append(addresses, address)
		}
	}
	return addresses
}

// attends returns when this worker runs the first of a connector's tasks, or nobody is
// known to, and the error [Elsewhere] when another does.
func (h *Herder) attends(name string) error {
	first := TaskID{name, 0}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.state.connectors[name]
	if h.group.member == nil || c == nil || len(c.tasks) == 0 || h.share.has(first) {
		return nil
	}
	address := h.place.LeaderURL
	if h.place.Leads {
		address = h.place.Owners[taskWork(first)]
	}
	if address == "" || workerOf(address) == h.rt.statuses.workerID {
		return nil
	}
	return &Elsewhere{URL: address}
}

// Remedy applies a named remedy of a source connector, such as "resnapshot": it stops
// the connector, lets the plugin work out the offsets, stores them and puts the
// connector back to the state it was meant to be in, or which was asked for meanwhile.
// It returns what the plugin says it did. After an error nothing has changed in the offsets.
func (h *Herder) Remedy(ctx context.Context, name, remedy string) (message string, err error) {
	if err := h.mayChange(ctx); err != nil {
		return "", err
	}
	d, ok := h.desired(name)
	if !ok {
		return "", notFound(name)
	}
	plugin, source, _, err := connectorPlugin(h.rt, d.config)
	if err != nil {
		return "", err
	}
	alterer, ok := plugin.(connect.OffsetAlterer)
	if !ok || !source {
		return "", &connect.Error{Code: "remedy.unknown", Class: connect.ClassConfig, Place: remedy, Message: "Connector " + name + " has no remedies"}
	}
	return h.halted(ctx, name, func() (string, error) { return h.applyRemedy(ctx, alterer, name, remedy) })
}

// halted calls work while the connector stands still, and puts it back to the state that
// it is to have; of one that was deleted meanwhile there is nothing to put back.
func (h *Herder) halted(ctx context.Context, name string, work func() (string, error)) (message string, err error) {
	resume, err := h.halt(ctx, name)
	if err != nil {
		return "", err
	}
	defer func() {
		if back := resume(context.WithoutCancel(ctx)); err == nil {
			err = back
		}
	}()
	if err := h.awaitIdle(ctx, name); err != nil {
		return "", err
	}
	return work()
}

func (h *Herder) applyRemedy(ctx context.Context, alterer connect.OffsetAlterer, name, remedy string) (string, error) {
	unlock, err := h.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	d, err := h.offsetsMayChange(name)
	if err != nil {
		return "", err
	}
	defer h.stages.enter("applying a remedy to connector " + name)()
	if err := h.rt.offsets.journal.ReadToEnd(ctx); err != nil {
		return "", err
	}
	stored := map[connect.SourcePartition][]byte{}
	for _, e := range h.rt.offsets.list(name) {
		if p, err := parsePartition(e.Partition); err == nil {
			stored[p] = e.Offset
		}
	}
	config, err := h.rt.resolve(d.config)
	if err != nil {
		return "", err
	}
	var message string
	var changes map[connect.SourcePartition][]byte
	err = bounded(ctx, callLimit, "applying the remedy", func() (err error) {
		changes, message, err = alterer.Remedy(ctx, config, remedy, stored)
		return err
	})
	if err != nil {
		return "", err
	}
	return message, h.rt.offsets.alter(ctx, name, changes)
}
