package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// snapshotWhen is what snapshot.mode asks for.
type snapshotWhen struct {
	data   bool // Read the tables when they were never read in full.
	always bool // At every start.
	needed bool // And when the position is not in the log any more.
	schema bool // Look at the shapes of all tables before the log is read.
	stream bool // Read the log.
}

// reads tells whether tables may be read at all.
func (w snapshotWhen) reads() bool { return w.data || w.always || w.needed }

// based begins the names of the flags of snapshot.mode=configuration_based.
const based = "snapshot.mode.configuration.based."

// newSnapshotWhen reads snapshot.mode and its flags.
func newSnapshotWhen(s connect.Settings) (when snapshotWhen, faults connect.Errors) {
	mode := strings.ToLower(s.String("snapshot.mode"))
	if mode != "configuration_based" {
		for _, flag := range basedFlags() {
			if name := flag.Name; s.Bool(name) {
				faults = append(faults, connect.ConfigError(name, "it speaks of snapshot.mode=configuration_based, and the mode is %s", mode))
			}
		}
	}
	switch mode {
	case "initial", "exported":
		return snapshotWhen{data: true, stream: true}, faults
	case "always":
		return snapshotWhen{data: true, always: true, stream: true}, faults
	case "initial_only":
		return snapshotWhen{data: true}, faults
	case "no_data", "never":
		return snapshotWhen{stream: true}, faults
	case "when_needed":
		return snapshotWhen{data: true, needed: true, stream: true}, faults
	}
	when = snapshotWhen{
		data: s.Bool(based + "snapshot.data"), needed: s.Bool(based + "snapshot.on.data.error"),
		schema: s.Bool(based+"snapshot.schema") || s.Bool(based+"snapshot.on.schema.error"), stream: s.Bool(based + "start.stream"),
	}
	if !when.stream && !when.data {
		faults = append(faults, connect.ConfigError("snapshot.mode", "configuration_based with neither %ssnapshot.data nor %sstart.stream asks for nothing", based, based))
	}
	return when, faults
}

// snapshotKeys are the settings of the snapshot that comes before the log.
func snapshotKeys() []connect.ConfigKey {
	modes := []string{"initial", "always", "initial_only", "no_data", "never", "when_needed", "exported", "configuration_based"}
	mode := choice("snapshot.mode", "When to read the tables before the log: when they were never read in full (initial, exported), at every start (always), also when the log does not reach back to the stored position (when_needed), never (no_data, never), or once and nothing after (initial_only). configuration_based follows flags of its own.", modes...)
	mode.Check = refuses("custom", "a snapshotter of one's own is a Java class, which cannot be loaded; configuration_based combines the parts of the other modes", modes)
	locking := choice("snapshot.locking.mode", "Whether tables are locked against changes of their shape while the snapshot is taken (shared); reading and writing go on. Without that, a table that is altered or emptied before it is read makes the snapshot begin anew.", "none", "shared")
	locking.Check = refuses("custom", "Java classes cannot be loaded", []string{"none", "shared"})
	return []connect.ConfigKey{
		mode,
		choice("snapshot.kind", "How the tables are read: all as of one point of the log, before it is read (consistent), or in pieces beside it (resumable): then changes come from the first moment, the server keeps neither log nor old rows for the snapshot, and a restart goes on where it was. Records of one row never go back to an older version in either.", "consistent", kindResumable),
		checked(typed("snapshot.include.collection.list", connect.TypeList, "", "Captured tables to read in the snapshot; default: all."), checkPatterns),
		typed("snapshot.select.statement.overrides", connect.TypeList, "", "Tables whose rows a statement of one's own selects, each given in snapshot.select.statement.overrides.<schema>.<table>."),
		typed("snapshot.max.threads", connect.TypeInt, "2", "Connections that read tables at once, all with one view of the data. They share large tables piece by piece, so that two of them keep one core of the server and one of ours busy."),
		typed("snapshot.max.threads.multiplier", connect.TypeInt, "1", "In how many pieces for each of these connections a table of more than 512 KiB is divided at least. Pieces have 16 MiB at most anyway."),
		typed("legacy.snapshot.max.threads", connect.TypeBoolean, "false", "Read every table in one piece, so that connections share the tables but not the rows of one. Servers before PostgreSQL 14 read tables so in any case."),
		choice("snapshot.tables.order.by.row.count", "Order of tables by their estimated size.", "disabled", "ascending", "descending"),
		locking,
		typed("snapshot.lock.timeout.ms", connect.TypeDuration, "10000", "How long to wait for these locks."),
		typed("snapshot.delay.ms", connect.TypeDuration, "0", "Wait before the snapshot."),
		typed("streaming.delay.ms", connect.TypeDuration, "0", "Wait between snapshot and stream."),
		choice("snapshot.isolation.mode", "Accepted, no effect: the snapshot always reads the view that belongs to a point of the log, also when the slot is there already (a temporary one exports it then), so that no change is missed or told twice.", "serializable", "repeatable_read", "read_committed", "read_uncommitted"),
		{Name: "snapshot.fetch.size", Optional: true, Importance: connect.Low, Doc: "Accepted, no effect: rows are not fetched in portions but streamed through COPY, and what waits is bounded in bytes by max.queue.size.in.bytes."},
	}
}

// refuses checks that a setting is one of words, and says why one word is none of them.
func refuses(word, why string, words []string) connect.Check {
	return connect.CheckText(func(s string) error {
		switch {
		case strings.EqualFold(s, word):
			return errors.New(word + " is not supported: " + why)
		case !slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(s, w) }):
			return errors.New("it must be one of " + strings.Join(words, ", "))
		}
		return nil
	})
}

// basedFlags are the flags of snapshot.mode=configuration_based.
func basedFlags() []connect.ConfigKey {
	flag := func(name, doc string) connect.ConfigKey {
		return typed(based+name, connect.TypeBoolean, "false", "With snapshot.mode=configuration_based: "+doc)
	}
	return []connect.ConfigKey{
		flag("snapshot.data", "read the tables when they were never read in full."),
		flag("snapshot.schema", "look at the shapes of all captured tables before the log is read, so that one that cannot be captured fails the start."),
		flag("start.stream", "read the log."),
		flag("snapshot.on.schema.error", "the same as snapshot.schema: shapes are never stored, so they are looked at anew."),
		flag("snapshot.on.data.error", "read the tables also when the log does not reach back to the stored position."),
	}
}

// checkShapes makes sure that all captured tables can be captured as they are.
func (w *work) checkShapes(ctx context.Context, p *preflight) error {
	if !w.set.when.schema {
		return nil
	}
	c := newCompiler(w.set, newTypeTable(w.set.modes, func(oid uint32) (*typeInfo, error) { return p.db.loadType(ctx, oid) }), Version)
	for _, t := range p.tables {
		rel, facts, err := p.db.describe(ctx, t.oid)
		if err != nil {
			return err
		}
		if _, err := c.compile(rel, facts); err != nil {
			return err
		}
	}
	return nil
}
