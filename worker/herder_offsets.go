package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Offsets returns a connector's stored offsets: of a source those in the offsets
// topic, of a sink those its consumer group has committed.
func (h *Herder) Offsets(ctx context.Context, name string) ([]OffsetEntry, error) {
	if err := h.checkReady(); err != nil {
		return nil, err
	}
	d, ok := h.desired(name)
	if !ok {
		return nil, notFound(name)
	}
	return h.offsetsNow(ctx, d)
}

// offsetsNow returns the stored offsets of a connector that there is.
func (h *Herder) offsetsNow(ctx context.Context, d desired) ([]OffsetEntry, error) {
	if h.kind(d.config) == "sink" {
		return h.sinkOffsets(ctx, d.config)
	}
	if err := h.readOffsets(ctx); err != nil {
		return nil, err
	}
	return h.rt.offsets.list(d.config["name"]), nil
}

// readOffsets returns when everything that was stored before is known.
func (h *Herder) readOffsets(ctx context.Context) error {
	err := h.rt.offsets.journal.ReadToEnd(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return h.timeout()
	}
	return fmt.Errorf("read the offsets: %w", err)
}

// offsetsMayChange fails unless the connector is stopped and nothing of it runs. The
// caller holds the right to write.
func (h *Herder) offsetsMayChange(name string) (desired, error) {
	d, ok := h.desired(name)
	if !ok {
		return d, notFound(name)
	}
	idle, zombies := true, false
	if u := h.unit(name); u != nil {
		idle, zombies = u.idle()
	}
	idle = idle && !h.rt.statuses.elsewhere(name, h.gone())
	if d.target != Stopped || !idle {
		return d, &connect.Error{
			Code: "request.invalid", Class: connect.ClassConfig,
			Message: "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector by issuing a 'PUT' request to the '/connectors/" + name + "/stop' endpoint",
		}
	}
	if zombies {
		return d, &connect.Error{
			Code: "connector.zombies", Class: connect.ClassRetriable,
			Message: "Failed to modify offsets for connector " + name + ", most likely because it still has zombie sink tasks.",
			Mend:    "wait until they have ended, or restart the worker",
		}
	}
	return d, nil
}

// AlterOffsets changes offsets of a stopped connector and returns what to tell the
// user.
func (h *Herder) AlterOffsets(ctx context.Context, name string, entries []OffsetEntry) (message string, err error) {
	if len(entries) == 0 {
		return "", invalidOffsets("Partitions / offsets need to be provided for an alter offsets request")
	}
	return h.modifyOffsets(ctx, name, entries, "altered")
}

// ResetOffsets forgets all offsets of a stopped connector and returns what to tell
// the user.
func (h *Herder) ResetOffsets(ctx context.Context, name string) (message string, err error) {
	return h.modifyOffsets(ctx, name, nil, "reset")
}

func invalidOffsets(format string, args ...any) error {
	return &connect.Error{Code: "request.invalid", Class: connect.ClassConfig, Message: fmt.Sprintf(format, args...)}
}

// modifyOffsets changes the given offsets, or resets all when there are none.
func (h *Herder) modifyOffsets(ctx context.Context, name string, entries []OffsetEntry, verb string) (string, error) {
	if err := h.mayChange(ctx); err != nil {
		return "", err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	d, err := h.offsetsMayChange(name)
	if err != nil {
		return "", err
	}
	return h.modifyStopped(ctx, d, entries, verb)
}

// modifyStopped does so to a connector that stands still. The caller holds the right to write.
func (h *Herder) modifyStopped(ctx context.Context, d desired, entries []OffsetEntry, verb string) (string, error) {
	defer h.stages.enter("modifying offsets for connector " + d.config["name"])()
	plugin, source, _, err := connectorPlugin(h.rt, d.config)
	if err != nil {
		return "", err
	}
	var everything bool
	if source {
		everything, err = h.modifySource(ctx, plugin, d, edit{entries, verb})
	} else {
		everything, err = h.modifySink(ctx, plugin, d, edit{entries, verb})
	}
	if err != nil {
		return "", err
	}
	if everything {
		return "The offsets for this connector have been " + verb + " successfully", nil
	}
	return "The Connect framework-managed offsets for this connector have been " + verb + " successfully. However, if this connector manages offsets externally, they will need to be manually " + verb + " in the system that the connector uses.", nil
}

// consult asks the connector, if it has a say, and tells whether it changed what it
// keeps itself.
func (h *Herder) consult(ctx context.Context, plugin connect.Connector, d desired, offsets map[connect.SourcePartition][]byte) (bool, error) {
	alterer, ok := plugin.(connect.OffsetAlterer)
	if !ok {
		return false, nil
	}
	config, err := h.rt.resolve(d.config)
	if err != nil {
		return false, err
	}
	var did bool
	err = bounded(ctx, callLimit, "altering offsets", func() (err error) {
		did, err = alterer.AlterOffsets(ctx, config, offsets)
		return err
	})
	return did, err
}

func isNull(text []byte) bool {
	t := bytes.TrimSpace(text)
	return len(t) == 0 || string(t) == "null"
}

// edit is a change of offsets, and what it is called.
type edit struct {
	entries []OffsetEntry // Nil resets all.
	verb    string
}

func (h *Herder) modifySource(ctx context.Context, plugin connect.Connector, d desired, e edit) (bool, error) {
	name := d.config["name"]
	if err := h.rt.offsets.journal.ReadToEnd(ctx); err != nil {
		return false, err
	}
	changes := map[connect.SourcePartition][]byte{}
	for _, stored := range h.rt.offsets.list(name) {
		if p, err := parsePartition(stored.Partition); err == nil && e.entries == nil {
			changes[p] = nil
		}
	}
	for _, e := range e.entries {
		if isNull(e.Partition) {
			return false, invalidOffsets("The partition for a source connector offset cannot be null or missing")
		}
		p, err := parsePartition(e.Partition)
		if err != nil {
			return false, invalidOffsets("The partition %s is no flat JSON object", e.Partition)
		}
		if isNull(e.Offset) {
			changes[p] = nil
			continue
		}
		var flat map[string]any
		if json.Unmarshal(e.Offset, &flat) != nil {
			return false, invalidOffsets("The offset %s is no JSON object", e.Offset)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, e.Offset); err != nil {
			return false, invalidOffsets("The offset %s is no JSON object", e.Offset)
		}
		changes[p] = compact.Bytes()
	}
	everything, err := h.consult(ctx, plugin, d, changes)
	if err != nil {
		return false, err
	}
	h.remember(ctx, d, e.verb)
	return everything, h.rt.offsets.alter(ctx, name, changes)
}

// storageSettings returns further settings of an internal topic, which follow its
// prefix in the worker's settings.
func storageSettings(raw connect.Config, prefix string) map[string]string {
	settings := map[string]string{}
	for k, v := range under(raw, prefix) {
		if !slices.Contains([]string{"topic", "replication.factor", "partitions", "file.filename"}, k) {
			settings[k] = strings.TrimSpace(v)
		}
	}
	return settings
}
