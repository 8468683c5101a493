package postgres

import (
	"strings"
	"testing"
)

// TestCompare goes through what a server and a slot may say to a stored position.
func TestCompare(t *testing.T) {
	t.Parallel()
	line := &lineage{systemID: "7", timeline: 2, slot: "s"}
	at := func(end uint64) *position { return &position{lsn: end, end: end, xid: 100_800, lineage: line} }
	partial := &position{lsn: 900, end: 500, commit: 1000, ordinal: 3, xid: 100_800, lineage: line}
	foreign := &position{lsn: 500, end: 500, xid: 100_800, foreign: true}
	srv := server{wal: 2000, nextXID: 100_900, lineage: lineage{systemID: "7", timeline: 2}}
	promoted, moved, back, behind := srv, srv, srv, srv
	promoted.timeline, moved.systemID, back.nextXID, behind.wal = 3, "8", 100_800-inFlight-1, 1000
	slot := &slotInfo{logical: true, plugin: "pgoutput", restart: 100, safe: 400}
	for name, c := range map[string]struct {
		pos      *position
		srv      server
		slot     *slotInfo
		b        branch
		code     string
		from, to uint64
	}{
		"all is well":                       {at(500), srv, slot, branch{}, "", 0, 0},
		"exactly at the slot":               {at(400), srv, slot, branch{}, "", 0, 0},
		"exactly at the end of the log":     {at(2000), srv, slot, branch{}, "", 0, 0},
		"in the middle of a transaction":    {partial, srv, slot, branch{}, "", 0, 0},
		"left to the slot":                  {&position{lineage: line}, srv, slot, branch{}, "", 0, 0},
		"another server":                    {at(500), moved, slot, branch{}, "pg.history.system", 0, 0},
		"beyond the log":                    {at(2001), srv, slot, branch{}, "pg.history.ahead", 2000, 2001},
		"a transaction beyond the log":      {partial, behind, slot, branch{}, "pg.history.ahead", 1000, 1001},
		"a transaction of the future":       {at(500), back, slot, branch{}, "pg.history.ahead", 0, 0},
		"the same of Debezium's":            {foreign, back, slot, branch{}, "pg.history.ahead", 0, 0},
		"promoted behind the position":      {at(500), promoted, slot, branch{changed: true, known: true, related: true, at: 600}, "", 0, 0},
		"promoted at the position":          {at(500), promoted, slot, branch{changed: true, known: true, related: true, at: 500}, "", 0, 0},
		"promoted before the position":      {at(500), promoted, slot, branch{changed: true, known: true, related: true, at: 450}, "pg.history.branched", 450, 500},
		"promoted inside its transaction":   {partial, promoted, slot, branch{changed: true, known: true, related: true, at: 1000}, "pg.history.branched", 1000, 1001},
		"a timeline that is no ancestor":    {at(500), promoted, slot, branch{changed: true, known: true}, "pg.history.branched", 0, 0},
		"a history that cannot be read":     {at(500), promoted, slot, branch{changed: true}, "pg.history.unknown", 0, 0},
		"no slot":                           {at(500), srv, nil, branch{}, "pg.slot.missing", 500, 2000},
		"no slot after a promotion":         {at(500), promoted, nil, branch{changed: true, known: true, related: true, at: 600}, "pg.slot.missing", 500, 2000},
		"a slot without its log":            {at(500), srv, &slotInfo{walStatus: "lost", restart: 100, safe: 400}, branch{}, "pg.slot.lost", 500, 2000},
		"a slot that was made unusable":     {at(500), srv, &slotInfo{reason: "idle_timeout", restart: 100, safe: 400}, branch{}, "pg.slot.lost", 500, 2000},
		"a slot without a place":            {at(500), srv, &slotInfo{safe: 400}, branch{}, "pg.slot.lost", 500, 2000},
		"a slot that was made again":        {at(500), srv, &slotInfo{restart: 510, safe: 520}, branch{}, "pg.slot.ahead", 500, 520},
		"moved on while a change was half":  {partial, srv, &slotInfo{restart: 100, safe: 501}, branch{}, "pg.slot.ahead", 500, 501},
		"Debezium's, the slot moved on":     {foreign, srv, &slotInfo{restart: 100, safe: 501}, branch{}, "pg.slot.ahead", 500, 501},
		"Debezium's on a promoted server":   {foreign, promoted, slot, branch{}, "", 0, 0},
		"a slot set back by a crash (fine)": {at(500), srv, &slotInfo{restart: 50, safe: 60}, branch{}, "", 0, 0},
	} {
		g := compare(c.pos, c.srv, c.slot, c.b)
		switch {
		case g == nil && c.code != "":
			t.Errorf("%s: nothing was found", name)
		case g == nil:
		case g.code != c.code || g.from != c.from || g.to != c.to:
			t.Errorf("%s: %s from %d to %d, want %s from %d to %d", name, g.code, g.from, g.to, c.code, c.from, c.to)
		default:
			if e := g.err("shop", "s"); !strings.HasPrefix(e.Mend, "POST /connectors/shop/remedies/") || (c.to > 0) != strings.Contains(e.Message, " bytes)") {
				t.Errorf("%s: %v", name, e)
			}
		}
	}
}

func TestTimelineHistory(t *testing.T) {
	t.Parallel()
	const file = "1\t0/3000000\tno recovery target specified\n\n2\t1/A0\tbefore 2026-01-01\n"
	for timeline, want := range map[int32]uint64{1: 0x3000000, 2: 0x1_000000A0, 3: 0} {
		if at, ok := leftAt([]byte(file), timeline); at != want || ok != (want != 0) {
			t.Errorf("timeline %d was left at %X, %v", timeline, at, ok)
		}
	}
	if _, ok := leftAt([]byte("1\nx y z\n1\tbad\treason"), 1); ok {
		t.Error("a broken file was understood")
	}
}
