package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// serverFacts are the server's settings that matter here, and what is taken of its
// limits.
type serverFacts struct {
	settings map[string]serverSetting
	// senders, slots and sessions are how many are taken.
	senders, slots, sessions int64
}

// serverSetting is one setting of the server, as pg_settings has it.
type serverSetting struct{ value, unit string }

func (s serverSetting) number() int64 { return number([]byte(s.value)) }

// bytes reads a size; negative numbers mean what they do there, mostly no limit.
func (s serverSetting) bytes() int64 {
	units := map[string]int64{"B": 1, "kB": 1 << 10, "8kB": 8 << 10, "MB": 1 << 20, "GB": 1 << 30}
	unit, ok := units[s.unit]
	if n := s.number(); n < 0 || !ok {
		return n
	}
	return s.number() * unit
}

func (s serverSetting) duration() time.Duration {
	units := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	return time.Duration(s.number()) * units[s.unit]
}

// The versions that are meant by "supported", and the oldest that works.
const (
	oldestWorking, oldestTested, newestTested = 12, 14, 18
	versionUnit                               = 10000
)

const querySettings = `SELECT name, setting, coalesce(unit, '') FROM pg_catalog.pg_settings WHERE name IN ('max_replication_slots', 'max_wal_senders',
	'max_connections', 'superuser_reserved_connections', 'reserved_connections', 'max_slot_wal_keep_size', 'max_wal_size', 'wal_sender_timeout',
	'idle_replication_slot_timeout', 'logical_decoding_work_mem', 'hot_standby_feedback', 'sync_replication_slots', 'synchronized_standby_slots',
	'server_encoding', 'track_commit_timestamp')`

// The sessions of all databases are counted by the statistics, because who they are
// is hidden from ordinary users.
const queryTaken = `SELECT (SELECT count(*) FROM pg_catalog.pg_stat_replication), (SELECT count(*) FROM pg_catalog.pg_replication_slots),
	(SELECT coalesce(sum(numbackends), 0) FROM pg_catalog.pg_stat_database)`

// checkServer looks at the version and at the settings of the server.
func (p *preflight) checkServer(ctx context.Context) error {
	rows, err := p.db.rows(ctx, querySettings)
	if err != nil {
		return explain(err, "asking for the settings of the server")
	}
	p.facts.settings = map[string]serverSetting{}
	for _, r := range rows {
		p.facts.settings[string(r[0])] = serverSetting{string(r[1]), string(r[2])}
	}
	taken, err := p.db.row(ctx, queryTaken)
	if err != nil || taken == nil {
		return explain(err, "asking what is taken of the server's limits")
	}
	p.facts.senders, p.facts.slots = number(taken[0]), number(taken[1])
	p.facts.sessions = number(taken[2]) - p.facts.senders
	p.checkVersion()
	if p.server.walLevel != "logical" {
		p.fault(Finding{Setting: "database.hostname", Code: "pg.wal_level",
			What: "the server's log does not hold what logical decoding needs (wal_level=" + p.server.walLevel + ")",
			SQL:  []string{"ALTER SYSTEM SET wal_level = logical"}, Mend: "then restart the server; on managed servers: rds.logical_replication, cloudsql.logical_decoding, azure.replication_support"})
	}
	p.checkRetention()
	return nil
}

func (p *preflight) checkVersion() {
	major := p.server.version / versionUnit
	switch {
	case major < oldestWorking:
		p.fault(Finding{Setting: "database.hostname", Code: "pg.version", What: fmt.Sprintf("the server has version %d, and %d is the oldest that works", major, oldestWorking), Mend: "upgrade the server"})
	case major < oldestTested:
		p.warn(Finding{Setting: "database.hostname", Code: "pg.version.old", What: fmt.Sprintf("the server has version %d, which its makers do not maintain any more", major),
			Why: fmt.Sprintf("versions %d to %d are supported; older ones lack logical messages and the means to keep large transactions small", oldestTested, newestTested), Mend: "upgrade the server"})
	case major > newestTested:
		p.note(Finding{Setting: "database.hostname", Code: "pg.version.new", What: fmt.Sprintf("the server has version %d, and %d is the newest that this version of Tidemill was tested with", major, newestTested)})
	}
	if p.server.recovery && p.server.version < 160000 {
		p.fault(Finding{Setting: "database.hostname", Code: "pg.standby", What: "the server is a standby, and before version 16 standbys cannot decode their log", Mend: "connect to the primary"})
	}
}

// checkRetention looks at how the server keeps its log for a slot, and how it notices
// that nobody reads from it.
func (p *preflight) checkRetention() {
	keep, known := p.facts.settings["max_slot_wal_keep_size"]
	size := p.facts.settings["max_wal_size"].bytes()
	switch {
	case !known: // Before PostgreSQL 13 there is no limit.
	case keep.bytes() < 0:
		p.warn(Finding{Setting: "slot.name", Code: "pg.slot_limit", What: "max_slot_wal_keep_size is -1: the server keeps its log for a slot without limit",
			Why: "a connector that is stopped and forgotten fills the disk of the server", SQL: []string{"ALTER SYSTEM SET max_slot_wal_keep_size = '100GB'", reload},
			Mend: "choose a size that leaves room on the disk of pg_wal; wal.guard.max.bytes warns before it is reached"})
	case keep.bytes() < size:
		p.warn(Finding{Setting: "slot.name", Code: "pg.slot_limit.small", What: "max_slot_wal_keep_size (" + sizeText(keep.bytes()) + ") is smaller than max_wal_size (" + sizeText(size) + ")",
			Why: "a short pause of the connector in a busy hour is enough for its slot to be lost", SQL: []string{"ALTER SYSTEM SET max_slot_wal_keep_size = '" + sizeText(max(4*size, 1<<30)) + "'", reload}})
	}
	if timeout, known := p.facts.settings["wal_sender_timeout"]; known && timeout.number() == 0 {
		p.warn(Finding{Setting: "slot.name", Code: "pg.wal_sender_timeout", What: "wal_sender_timeout is 0: the server never notices that a reader's machine is gone",
			Why: "the slot then stays in use, and no other reader can take it over", SQL: []string{"ALTER SYSTEM SET wal_sender_timeout = '60s'", reload}})
	}
	if idle := p.facts.settings["idle_replication_slot_timeout"]; idle.number() > 0 {
		p.warn(Finding{Setting: "slot.name", Code: "pg.slot_idle_timeout", What: "idle_replication_slot_timeout is " + idle.duration().String() + ": the server invalidates a slot that nobody has read from for so long",
			Why: "a connector that is stopped for longer needs a new snapshot", Mend: "make it longer than any planned pause, or 0"})
	}
	const enough = 64 << 20
	if mem, known := p.facts.settings["logical_decoding_work_mem"]; known && mem.bytes() < enough {
		p.note(Finding{Setting: "slot.name", Code: "pg.decoding_memory", What: "logical_decoding_work_mem is " + sizeText(mem.bytes()),
			Why: "transactions larger than that are written to the server's disk while they are decoded", SQL: []string{"ALTER SYSTEM SET logical_decoding_work_mem = '64MB'", reload}})
	}
}

const reload = "SELECT pg_reload_conf()"

// checkLimits looks whether there is room for what the connector opens.
func (p *preflight) checkLimits(context.Context) error {
	full := func(setting, what string, taken int64) {
		most := p.facts.settings[setting].number()
		p.fault(Finding{Setting: "slot.name", Code: "pg.limit", Place: setting, What: fmt.Sprintf("all %d %s of the server are taken", most, what),
			SQL: []string{"ALTER SYSTEM SET " + setting + " = " + strconv.FormatInt(max(most, taken)+4, 10)}, Mend: "then restart the server; or drop a slot that nobody needs: SELECT slot_name, active FROM pg_replication_slots"})
	}
	if taken := p.facts.slots; p.slot == nil && taken >= p.facts.settings["max_replication_slots"].number() {
		full("max_replication_slots", "replication slots", taken)
	}
	if taken := p.facts.senders; !p.ours && taken >= p.facts.settings["max_wal_senders"].number() {
		full("max_wal_senders", "WAL senders", taken)
	}
	// One for the catalogue, one for new relations, one for the guard of the log, one to
	// watch the publication, and those of the snapshot.
	needed := int64(4 + p.set.snapshotThreads)
	most := p.facts.settings["max_connections"].number()
	room := most - p.facts.settings["superuser_reserved_connections"].number() - p.facts.settings["reserved_connections"].number() - p.facts.sessions
	if room < needed && !p.ours && most > 0 {
		p.warn(Finding{Setting: "database.hostname", Code: "pg.limit.connections", What: fmt.Sprintf("there is room for %d more of %d connections, and the connector opens up to %d", max(0, room), most, needed),
			SQL: []string{"ALTER SYSTEM SET max_connections = " + strconv.FormatInt(most+needed+16, 10)}, Mend: "then restart the server"})
	}
	if limit := p.role.limit; limit >= 0 && limit < needed+1 {
		p.warn(Finding{Setting: "database.user", Code: "pg.limit.role", What: fmt.Sprintf("the user may open %d connections, and the connector opens up to %d", limit, needed+1),
			SQL: []string{"ALTER ROLE " + quoteIdent(p.role.name) + " CONNECTION LIMIT -1"}})
	}
	return nil
}

// sizeText writes a size as the server's settings are written, in whole units.
func sizeText(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for i+1 < len(units) && n >= 1<<10 && n%(1<<10) == 0 {
		n >>= 10
		i++
	}
	return strconv.FormatInt(n, 10) + units[i]
}
