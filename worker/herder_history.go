package worker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// PastOffsets are a connector's offsets as they were before somebody changed them.
type PastOffsets struct {
	ID   int64     `json:"id"`
	Time time.Time `json:"time"`
	// Change is what was done then: "altered", "reset" or "rewound".
	Change  string        `json:"change"`
	Offsets []OffsetEntry `json:"offsets"`
}

// OffsetChange is what becomes of one offset; null is none.
type OffsetChange struct {
	Partition json.RawMessage `json:"partition"`
	From      json.RawMessage `json:"from"`
	To        json.RawMessage `json:"to"`
}

// historyKept is how many earlier offsets of a connector are kept.
const historyKept = 20

// historyOf is the name under which they stand among the offsets of sources. No connector has
// it, here or in Kafka Connect, which refuses control characters; a Java worker that takes the
// topic over keeps them and never looks at them.
func historyOf(name string) string { return "\x01history\x01" + name }

// historyPlace is where an entry is kept, in turns.
func historyPlace(id int64) connect.SourcePartition {
	p, _ := connect.NewSourcePartition(map[string]any{"entry": id % historyKept})
	return p
}

// OffsetHistory returns the offsets of a connector before each of the newest changes that
// were asked for, the newest first.
func (h *Herder) OffsetHistory(ctx context.Context, name string) ([]PastOffsets, error) {
	if err := h.checkReady(); err != nil {
		return nil, err
	}
	if _, ok := h.desired(name); !ok {
		return nil, notFound(name)
	}
	return h.history(ctx, name)
}

func (h *Herder) history(ctx context.Context, name string) ([]PastOffsets, error) {
	if err := h.readOffsets(ctx); err != nil {
		return nil, err
	}
	list := []PastOffsets{}
	for _, e := range h.rt.offsets.list(historyOf(name)) {
		var past PastOffsets
		if err := json.Unmarshal(e.Offset, &past); err != nil {
			h.rt.log.Warn("An entry in the history of the offsets cannot be read.", "connector", name, "entry", string(e.Partition), "error", err)
			continue
		}
		list = append(list, past)
	}
	slices.SortFunc(list, func(a, b PastOffsets) int { return cmp.Compare(b.ID, a.ID) })
	return list, nil
}

// remember keeps the offsets that are about to be changed. That this fails keeps nobody from
// changing them.
func (h *Herder) remember(ctx context.Context, d desired, change string) {
	name := d.config["name"]
	list, err := h.history(ctx, name)
	past := PastOffsets{ID: 1, Time: time.Now().UTC().Truncate(time.Millisecond), Change: change}
	if err == nil {
		past.Offsets, err = h.offsetsNow(ctx, d)
	}
	if len(list) > 0 {
		past.ID = list[0].ID + 1
	}
	if err == nil && (len(past.Offsets) > 0 || change != "reset") {
		err = h.rt.offsets.alter(ctx, historyOf(name), map[connect.SourcePartition][]byte{historyPlace(past.ID): appendJSON(nil, past)})
	}
	if err != nil {
		h.rt.log.Warn("The offsets before a change could not be kept.", "connector", name, "change", change, "error", err)
	}
}

// RewindOffsets puts the offsets of a stopped connector back to those of an entry of its
// history, and returns what has changed with what to tell the user. Nothing is changed in a
// dry run, or when the connector says that it cannot go on from there. It fails with
// "offsets.no_entry" when there is none of that number.
func (h *Herder) RewindOffsets(ctx context.Context, name string, to int64, dry bool) (changes []OffsetChange, message string, err error) {
	if err := h.mayChange(ctx); err != nil {
		return nil, "", err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	d, err := h.offsetsMayChange(name)
	if err != nil {
		return nil, "", err
	}
	list, err := h.history(ctx, name)
	if err != nil {
		return nil, "", err
	}
	at := slices.IndexFunc(list, func(p PastOffsets) bool { return p.ID == to })
	if at < 0 {
		return nil, "", &connect.Error{
			Code: "offsets.no_entry", Class: connect.ClassConfig, Place: name, Message: fmt.Sprintf("The history of the offsets has no entry %d", to),
			Mend: "GET /connectors/" + name + "/offsets/history lists them",
		}
	}
	now, err := h.offsetsNow(ctx, d)
	if err != nil {
		return nil, "", err
	}
	if changes = difference(now, list[at].Offsets); len(changes) == 0 {
		return changes, fmt.Sprintf("The offsets are those of entry %d already", to), nil
	}
	if err := h.mayRewind(ctx, d, list[at].Offsets); err != nil {
		return nil, "", err
	}
	if dry {
		return changes, "Nothing was changed: this is what would be", nil
	}
	entries := make([]OffsetEntry, len(changes))
	for i, c := range changes {
		entries[i] = OffsetEntry{Partition: c.Partition, Offset: c.To}
	}
	message, err = h.modifyStopped(ctx, d, entries, "rewound")
	return changes, message, err
}

// rewinder is a source that can say whether it can go on from earlier offsets. An error tells
// that something of what follows them is not there any more, and what to do instead. Nothing
// is changed.
type rewinder interface {
	CanRewind(ctx context.Context, config connect.Config, offsets map[connect.SourcePartition][]byte) error
}

// mayRewind asks a source, if it has a say, whether it can go on from offsets.
func (h *Herder) mayRewind(ctx context.Context, d desired, to []OffsetEntry) error {
	plugin, _, _, err := connectorPlugin(h.rt, d.config)
	if err != nil {
		return err
	}
	source, ok := plugin.(rewinder)
	if !ok {
		return nil
	}
	config, err := h.rt.resolve(d.config)
	if err != nil {
		return err
	}
	offsets := map[connect.SourcePartition][]byte{}
	for _, e := range to {
		p, err := parsePartition(e.Partition)
		if err != nil {
			return fmt.Errorf("read the history of the offsets: %w", err)
		}
		offsets[p] = e.Offset
	}
	return bounded(ctx, callLimit, "looking at the earlier offsets", func() error { return source.CanRewind(ctx, config, offsets) })
}

// difference returns what makes offsets those that they were, sorted by partition.
func difference(now, then []OffsetEntry) []OffsetChange {
	all := map[string]*OffsetChange{}
	of := func(e OffsetEntry) *OffsetChange {
		key := string(compacted(e.Partition))
		if all[key] == nil {
			all[key] = &OffsetChange{Partition: e.Partition, From: json.RawMessage("null"), To: json.RawMessage("null")}
		}
		return all[key]
	}
	for _, e := range now {
		of(e).From = compacted(e.Offset)
	}
	for _, e := range then {
		of(e).To = compacted(e.Offset)
	}
	changes := []OffsetChange{}
	for _, c := range all {
		if !bytes.Equal(c.From, c.To) {
			changes = append(changes, *c)
		}
	}
	slices.SortFunc(changes, func(a, b OffsetChange) int { return bytes.Compare(a.Partition, b.Partition) })
	return changes
}

// compacted is JSON without spaces; what is none stays as it is.
func compacted(text json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return text
	}
	return b.Bytes()
}
