package worker

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// Delete removes a connector and stops its tasks. It returns when they have stopped, or
// were abandoned, with sentences on what the connector leaves behind in the other
// system, empty for nothing. Its stored offsets stay, so that one of the same name goes
// on where this one was.
//
// With drop the connector is stopped first. What it keeps in the other system, such as
// a replication slot, and its stored offsets are removed with it, and the sentences tell
// what was removed. After an error it is still there, in the state it was meant to be in.
func (h *Herder) Delete(ctx context.Context, name string, drop bool) (message string, err error) {
	if err := h.mayChange(ctx); err != nil {
		return "", err
	}
	d, ok := h.desired(name)
	if !ok {
		return "", notFound(name)
	}
	if drop {
		return h.deleteAll(ctx, name)
	}
	if err := h.remove(ctx, name, nil); err != nil {
		return "", err
	}
	const quickly = 5 * time.Second
	if message, err = h.retire(ctx, d.config, false, quickly); err != nil {
		h.rt.log.Warn("What the deleted connector leaves behind in the other system could not be found out.", "connector", name, "error", err)
	} else if message != "" {
		h.rt.log.Warn("A connector was deleted. "+message, "connector", name)
	}
	return message, nil
}

// remove takes a connector out of the config topic, writes further records to the
// offsets topic before, and waits for its tasks' end.
func (h *Herder) remove(ctx context.Context, name string, offsets []kafkalog.Entry) error {
	unlock, err := h.lock(ctx)
	if err != nil {
		return err
	}
	if _, ok := h.desired(name); !ok {
		unlock()
		return notFound(name)
	}
	u := h.unit(name)
	if len(offsets) > 0 {
		err = h.rt.offsets.put(ctx, offsets)
	}
	if err == nil {
		err = h.write(ctx, "removing the config for connector "+name+" from the config topic", deleteEntries(name)...)
	}
	unlock()
	if err != nil {
		return err
	}
	h.awaitEnd(ctx, name, u)
	return nil
}

// awaitEnd waits, for a while, until nothing of a deleted connector runs on any worker.
func (h *Herder) awaitEnd(ctx context.Context, name string, u *unit) {
	ctx, cancel := context.WithTimeout(ctx, 2*graceful(h.rt.settings)+time.Second)
	defer cancel()
	if u != nil {
		select {
		case <-u.done:
		case <-ctx.Done():
		}
	}
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for gone := h.gone(); h.rt.statuses.elsewhere(name, gone) && ctx.Err() == nil; {
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
	h.sweep()
}

// deleteAll deletes a connector with what it keeps elsewhere.
func (h *Herder) deleteAll(ctx context.Context, name string) (string, error) {
	return h.halted(ctx, name, func() (string, error) { return h.deleteHalted(ctx, name) })
}

func (h *Herder) deleteHalted(ctx context.Context, name string) (message string, err error) {
	d, ok := h.desired(name)
	if !ok {
		return "", notFound(name)
	}
	if message, err = h.retire(ctx, d.config, true, callLimit); err != nil {
		return "", err
	}
	if err := h.rt.offsets.journal.ReadToEnd(ctx); err != nil {
		return "", err
	}
	var offsets []kafkalog.Entry
	for _, under := range []string{name, historyOf(name)} {
		for _, e := range h.rt.offsets.list(under) {
			if p, err := parsePartition(e.Partition); err == nil {
				offsets = append(offsets, h.rt.offsets.entry(under, p, nil))
			}
		}
	}
	if err := h.remove(ctx, name, offsets); err != nil {
		return "", err
	}
	if dir := h.rt.stateDir(TaskID{name, 0}); dir != "" {
		if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
			h.rt.log.Warn("What the deleted connector has kept on this machine could not be removed.", "connector", name, "error", err)
		}
	}
	h.rt.log.Info("A connector was deleted with what it kept. "+message, "connector", name)
	return message, nil
}

// retire asks a connector's plugin, if it has a say, what is left behind.
func (h *Herder) retire(ctx context.Context, config connect.Config, drop bool, limit time.Duration) (string, error) {
	plugin, _, _, err := connectorPlugin(h.rt, config)
	if err != nil {
		return "", err
	}
	alterer, ok := plugin.(connect.OffsetAlterer)
	switch {
	case !ok && drop:
		return "", &connect.Error{Code: "request.invalid", Class: connect.ClassConfig, Message: "Connector " + config["name"] + " keeps nothing elsewhere that could be dropped", Mend: "delete it without drop_slot"}
	case !ok:
		return "", nil
	}
	resolved, err := h.rt.resolve(config)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var told string
	err = bounded(ctx, limit, "looking after what the connector keeps elsewhere", func() (err error) {
		told, err = alterer.Retire(ctx, resolved, drop)
		return err
	})
	if err != nil {
		return "", err // The call may still be under way, and write what it tells.
	}
	return told, nil
}
