package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// watch looks at the catalogue at a steady pace while the log is read, for what the
// log does not tell: tables that are new, tables that left the publication and came
// back with a hole behind them, partitions that were emptied, detached or attached
// with rows in them, a publication that is gone. It has a connection of its own, since
// what it does may have to wait for a lock.
type watch struct {
	set     *settings
	log     *slog.Logger
	metrics connect.Metrics
	show    func(name string, document []byte)
	app     string
	keep    standingFile
	server  string // And the database, which tells its tables from those of another.
	// backfill asks for the rows of a table to be read; false: not now.
	backfill func(t tableName, why string) bool

	side    *db
	known   *standing // As it was when last looked; nil: not yet looked.
	again   bool      // Something is to be tried again although nothing changed.
	failed  bool      // The last look did.
	events  []watchEvent
	waiting []awaited
	told    map[string]bool // Warnings that are not repeated.
}

// watchEvent is one thing that was noticed, as people see it in the connector's
// details.
type watchEvent struct {
	At    time.Time `json:"at"`
	Table string    `json:"table,omitempty"`
	What  string    `json:"what"`
	Gap   bool      `json:"gap"` // Changes are missing in the topic.
}

// awaited is a table to be read once every transaction has ended that was under way
// when it joined the publication: what such a transaction wrote before may be neither
// in the log, as it is published, nor visible yet.
type awaited struct {
	table tableName
	why   string
	until int64 // No transaction before this number may be under way; 0: not yet known.
}

// run looks until ctx is done, or until something is found with which reading must
// not go on.
func (w *watch) run(ctx context.Context) error {
	if w.set.watchInterval <= 0 {
		return nil
	}
	ticker := time.NewTicker(w.set.watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := w.begin(ctx); err != nil {
			return err
		}
	}
}

// begin looks once. Before reading begins that tells how things stand then, or what
// has happened since an earlier life. It returns only errors that end the task: the
// stream has a connection of its own and says when the server is gone.
func (w *watch) begin(ctx context.Context) error {
	if w.set.watchInterval <= 0 {
		return nil
	}
	err := w.look(ctx)
	if err == nil || ctx.Err() != nil {
		w.failed = false
		return nil
	}
	w.drop(ctx)
	if isGrave(err) {
		return err
	}
	// A table that is dropped while its entry is read is an error as well, and not worth a
	// word: the next look will tell.
	if w.failed {
		w.warnOnce("The catalogue cannot be watched for new tables and changes of the publication; it is tried again.", "error", err.Error())
	}
	w.failed = true
	return nil
}

func (w *watch) drop(ctx context.Context) {
	w.side.close(ctx)
	w.side = nil
}

// look compares the catalogue with what was known of it.
func (w *watch) look(ctx context.Context) error {
	if w.side == nil {
		side, err := w.set.open(ctx, w.app)
		if err != nil {
			return err
		}
		w.side = side
	}
	if w.known == nil {
		w.remember(w.keep.load(w.set.publication, w.server))
	}
	mark, err := w.side.watchMark(ctx, w.set.publication)
	if err != nil {
		return err
	}
	w.release(mark)
	if w.known != nil && mark.print == w.known.Print && !w.again {
		return nil
	}
	now, err := w.side.standing(ctx, w.set)
	if err != nil {
		return err
	}
	now.Print, now.Server = mark.print, w.server
	before := w.known
	w.known, w.again = now, false
	if before != nil {
		now.inherit(before)
		// What is noticed is noticed once, also when it ends the task.
		err := w.noticed(before.compare(now, w.set))
		w.store()
		if err != nil {
			w.tell()
			return err
		}
	}
	if err := w.join(ctx, before, now); err != nil {
		return err
	}
	w.store()
	w.tell()
	return nil
}

// remember takes over what an earlier life knew, if anything.
func (w *watch) remember(s *standing) {
	if w.known = s; s == nil {
		return
	}
	for _, t := range s.Waiting {
		w.waiting = append(w.waiting, awaited{table: tableName{t.Schema, t.Name}, why: t.Why})
	}
}

func (w *watch) store() {
	w.known.Waiting = nil
	for _, a := range w.waiting {
		w.known.Waiting = append(w.known.Waiting, waitingTable{a.table.schema, a.table.name, a.why})
	}
	w.keep.store(w.known)
}

// noticed deals with what has changed.
func (w *watch) noticed(changes []watchChange) error {
	var failed error
	for _, c := range changes {
		w.event(c)
		if !c.gap {
			w.log.Warn(c.what, "table", c.place(w.set))
			if c.fresh && w.set.newTables {
				w.await(c.table, "the table is new")
			}
			continue
		}
		w.metrics.Add("publication_gaps_total", 1)
		w.log.Warn("Changes are missing in the topic: "+c.what, "table", c.place(w.set))
		if c.grave || w.set.gapAction == "fail" {
			failed = c.err(w.set)
		} else if w.set.gapAction == "backfill" && c.heals {
			w.await(c.table, c.what)
		}
	}
	return failed
}

func (w *watch) event(c watchChange) {
	const most = 100
	w.events = append(w.events, watchEvent{At: time.Now().UTC(), Table: c.place(w.set), What: c.what, Gap: c.gap})
	w.events = w.events[max(0, len(w.events)-most):]
}

// await notes a table to be read.
func (w *watch) await(t tableName, why string) {
	w.waiting = slices.DeleteFunc(w.waiting, func(a awaited) bool { return a.table == t })
	w.waiting = append(w.waiting, awaited{table: t, why: why})
}

// release asks for the tables whose time has come.
func (w *watch) release(mark watchMark) {
	before := len(w.waiting)
	w.waiting = slices.DeleteFunc(w.waiting, func(a awaited) bool {
		return a.until != 0 && mark.oldest >= a.until && w.backfill(a.table, a.why)
	})
	for i := range w.waiting {
		if w.waiting[i].until == 0 {
			w.waiting[i].until = mark.next
		}
	}
	if len(w.waiting) != before && w.known != nil {
		w.store()
	}
}

// join puts captured tables into the publication that it lacks, where
// publication.autocreate.mode lets us, and says what it lacks where not.
func (w *watch) join(ctx context.Context, before, now *standing) error {
	lacks := now.missing()
	if len(lacks) == 0 {
		return nil
	}
	if n := len(now.tables); w.set.mostTables > 0 && n > w.set.mostTables {
		if w.set.mostTablesFail {
			return w.set.tooMany(n)
		}
		w.warnOnce(w.set.tooMany(n).Error())
	}
	sql := w.set.addTables(lacks)
	if w.set.publicationMode != "filtered" {
		w.warnOnce("The publication lacks captured tables, whose changes do not arrive.", "tables", tableList(lacks), "mend", sql)
		return nil
	}
	warnings, err := w.set.setIdentities(ctx, w.side, lacks)
	if err != nil {
		return err
	}
	for _, text := range warnings {
		w.warnOnce(text)
	}
	later, err := w.add(ctx, sql)
	if err == nil {
		w.joined(before, later, lacks)
		return nil
	}
	w.again = true
	if code := sqlState(err); code == "42P01" || code == "55P03" || code == "42710" {
		return nil // Dropped meanwhile, locked for now, or added by somebody else.
	}
	if isRetriable(explain(err, "")) {
		return explain(err, "adding tables to the publication")
	}
	w.again = false
	w.warnOnce("Captured tables cannot be added to the publication, so their changes do not arrive.", "tables", tableList(lacks), "error", err.Error(), "mend", sql)
	return nil
}

// add changes the publication and returns how things stand right then: until the
// transaction ends, the tables that were added cannot be touched there by others. A
// lock that is held for long is tried for again at the next look.
func (w *watch) add(ctx context.Context, sql string) (later *standing, err error) {
	if err := w.side.exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL lock_timeout = '3s'; "+sql); err != nil {
		return nil, errors.Join(err, w.side.exec(ctx, "ROLLBACK"))
	}
	if later, err = w.side.readStanding(ctx, w.set); err != nil {
		return nil, err // The connection is given up, and with it the transaction.
	}
	return later, w.side.exec(ctx, "COMMIT")
}

// joined takes in that tables were added to the publication. What else has changed
// since the last look is found by the next one.
func (w *watch) joined(before, later *standing, added []catalogTable) {
	w.known.adopt(later, added)
	w.again = true
	for _, t := range added {
		if before != nil && before.Tables[t.oid].Captured {
			continue // It had left the publication, which has been told.
		}
		w.metrics.Add("tables_added_total", 1)
		w.arrived(t)
	}
}

// arrived tells of a new table and sees to its rows.
func (w *watch) arrived(t catalogTable) {
	w.event(watchChange{table: t.name, what: "the table is new and joined the publication"})
	if w.set.newTables {
		w.await(t.publish, "the table is new")
		w.log.Info("A new table joined the publication; its rows are read.", "table", t.name.String())
		return
	}
	w.log.Warn("A new table joined the publication: its changes are captured from now on, and rows it has already are not read. A snapshot of it, asked for by a signal, reads them; new.tables.snapshot=true does so by itself.", "table", t.name.String())
}

func (w *watch) warnOnce(text string, args ...string) {
	key := text
	list := make([]any, len(args))
	for i, a := range args {
		key, list[i] = key+"\x00"+a, a
	}
	if w.told == nil {
		w.told = map[string]bool{}
	}
	if !w.told[key] {
		w.told[key] = true
		w.log.Warn(text, list...)
	}
}

// tell shows how the publication stands.
func (w *watch) tell() {
	missing := []string{}
	for _, t := range w.known.missing() {
		missing = append(missing, t.publish.String())
	}
	w.metrics.Set("tables_captured", float64(len(w.known.tables)))
	w.metrics.Set("tables_unpublished", float64(len(missing)))
	if w.show == nil {
		return
	}
	pub := w.known.Publication
	document, err := json.Marshal(struct {
		Name       string       `json:"name"`
		Mode       string       `json:"mode"`
		AllTables  bool         `json:"all_tables"`
		ViaRoot    bool         `json:"via_root"`
		Operations []string     `json:"operations"`
		Tables     int          `json:"tables"`
		Missing    []string     `json:"missing"`
		Events     []watchEvent `json:"events"`
	}{w.set.publication, w.set.publicationMode, pub.AllTables, pub.ViaRoot, pub.Operations, len(w.known.tables), missing, append([]watchEvent{}, w.events...)})
	if err == nil {
		w.show("publication", document)
	}
}
