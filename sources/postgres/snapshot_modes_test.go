package postgres

import (
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect/connecttest"
)

// TestSnapshotWhen reads every mode and the flags of configuration_based.
func TestSnapshotWhen(t *testing.T) {
	flags := func(names ...string) []string {
		pairs := []string{"snapshot.mode", "configuration_based"}
		for _, name := range names {
			pairs = append(pairs, based+name, "true")
		}
		return pairs
	}
	for _, c := range []struct {
		pairs []string
		want  snapshotWhen
		fault string
	}{
		{nil, snapshotWhen{data: true, stream: true}, ""},
		{[]string{"snapshot.mode", "initial"}, snapshotWhen{data: true, stream: true}, ""},
		{[]string{"snapshot.mode", "EXPORTED"}, snapshotWhen{data: true, stream: true}, ""},
		{[]string{"snapshot.mode", "always"}, snapshotWhen{data: true, always: true, stream: true}, ""},
		{[]string{"snapshot.mode", "initial_only"}, snapshotWhen{data: true}, ""},
		{[]string{"snapshot.mode", "no_data"}, snapshotWhen{stream: true}, ""},
		{[]string{"snapshot.mode", "never"}, snapshotWhen{stream: true}, ""},
		{[]string{"snapshot.mode", "when_needed"}, snapshotWhen{data: true, needed: true, stream: true}, ""},
		{flags("start.stream"), snapshotWhen{stream: true}, ""},
		{flags("snapshot.data"), snapshotWhen{data: true}, ""},
		{flags("snapshot.data", "start.stream", "snapshot.on.data.error"), snapshotWhen{data: true, needed: true, stream: true}, ""},
		{flags("snapshot.on.data.error", "start.stream"), snapshotWhen{needed: true, stream: true}, ""},
		{flags("snapshot.schema", "start.stream"), snapshotWhen{schema: true, stream: true}, ""},
		{flags("snapshot.on.schema.error", "start.stream"), snapshotWhen{schema: true, stream: true}, ""},
		{flags(), snapshotWhen{}, "asks for nothing"},
		{[]string{based + "snapshot.data", "true"}, snapshotWhen{}, "snapshot.mode=configuration_based"},
		{[]string{"snapshot.mode", "custom"}, snapshotWhen{}, "Java class"},
		{[]string{"snapshot.mode", "sometimes"}, snapshotWhen{}, "must be one of"},
		{[]string{"snapshot.locking.mode", "custom"}, snapshotWhen{}, "Java class"},
	} {
		set, err := newSettings(testConfig(c.pairs...))
		switch {
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%v: %v", c.pairs, err)
		case c.fault == "" && err != nil:
			t.Errorf("%v: %v", c.pairs, err)
		case c.fault == "" && set.when != c.want:
			t.Errorf("%v: %+v", c.pairs, set.when)
		}
	}
}

// TestConfigurationBased runs its combinations: rows and no log, the log and no rows
// until the position is lost, and shapes that are looked at first.
func TestConfigurationBased(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'x')`)
	mode := []string{"snapshot.mode", "configuration_based"}
	var first, second connecttest.Offsets
	once := d.start(&first, append(mode, based+"snapshot.data", "true")...)
	expectBrief(t, once.Take(1), `a r {"id":1} null {"id":1,"v":"x"}`)
	once.Commit()
	once.Stop()
	again := d.start(&first, append(mode, based+"snapshot.data", "true")...)
	if records := again.Poll(300 * time.Millisecond); len(records) != 0 {
		t.Errorf("%d records of a snapshot that was complete", len(records))
	}
	again.Stop()
	needed := append(mode, based+"start.stream", "true", based+"snapshot.on.data.error", "true", based+"snapshot.schema", "true")
	follows := d.start(&second, needed...)
	d.streaming()
	d.exec(`INSERT INTO a VALUES (2, 'y')`)
	expectBrief(t, follows.Take(1), `a c {"id":2} null {"id":2,"v":"y"}`)
	follows.Commit()
	follows.Stop()
	eventually(t, "the slot is free", func() bool {
		return d.get("SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active", d.slot) == "0"
	})
	d.exec(`SELECT pg_drop_replication_slot($1)`, d.slot)
	expectBrief(t, d.start(&second, needed...).Take(2), `a r {"id":1} null {"id":1,"v":"x"}`, `a r {"id":2} null {"id":2,"v":"y"}`)
}
