package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// work is what a task keeps from one session to the next.
type work struct {
	*task
	app    string
	stored *position // Nil: nothing was ever read.
	stream *stream   // From the moment that reading of the log begins.
	// settled tells that the start is over: what was to be read of the tables was.
	settled bool
	worked  bool // The last session has read something.
	line    *lineage
	fill    *fill // Nil unless unavailable.value.mode=fill.
	// failover tells that new slots are to be copied to standbys.
	failover bool
	watch    *watch // From the first session on that reads the log.
	// madeSlot and madePublication are undone when the first snapshot does not
	// come to its end.
	madeSlot, madePublication bool
	// begun is where a snapshot began that was cut short after rows were handed over.
	begun *position
	// lastFault is the server's last fault, which came sameFault times in a row.
	lastFault faultPlace
	sameFault int
	// inUseSince is when the slot was found to be in use by another, inUse times in a row.
	inUseSince time.Time
	inUse      int
	// wal is where the server's log ended when this session began.
	wal uint64
	// met tells that the server has been found fit: what fails now worked before.
	met bool
}

func newWork(t *task, stored *position) (*work, error) {
	return &work{task: t, stored: stored, app: application(t.env.Connector)}, nil
}

// fresh tells that nothing was ever read in full.
func (w *work) fresh() bool { return w.stored == nil || w.stored.partial() }

// forced tells that a remedy has asked for a snapshot that is not complete yet.
func (w *work) forced() bool {
	return w.stored.partial() && w.stored.forced
}

// exhausted tells whether an error that may pass has had its chances. What never
// worked gets a few; what did has as many as errors.max.retries says. So do outages of
// a server that was found fit, also during the first snapshot, which may last for hours.
func (w *work) exhausted(failures int, err error) bool {
	const firstAttempts, sameAttempts, loginAttempts = 5, 3, 5
	if w.set.retries >= 0 && failures > w.set.retries {
		return true
	}
	code := connect.AsError(err).Code
	if code != "pg.slot.in_use" || failures == 1 {
		w.inUse = 0
	}
	switch code {
	case "pg.slot.in_use":
		// The first attempts come quickly, but the time must be enough for a server to
		// notice that the former reader's machine is gone.
		if w.inUse++; w.inUse == 1 {
			w.inUseSince = time.Now()
		}
		return w.inUse > w.set.slotRetries && time.Since(w.inUseSince) >= time.Duration(w.set.slotRetries)*w.set.slotRetryWait
	case "pg.auth":
		return failures >= loginAttempts
	case "pg.publication.missing_at_lsn":
		// The log is decoded with the catalogue as it was, so this does not pass.
		return failures >= sameAttempts
	}
	if w.stuck(err) {
		return true
	}
	return w.fresh() && !w.settled && failures >= firstAttempts && !(w.known() && outage(err))
}

// known tells that the server has been found fit, in this life or in one before it.
func (w *work) known() bool { return w.met || w.stored != nil }

// outage tells whether an error is what it looks like when the server or the way to it
// is away.
func outage(err error) bool {
	switch connect.AsError(err).Code {
	case "pg.unreachable", "pg.silent", "pg.snapshot.gone":
		return true
	}
	return passing(sqlState(err))
}

// stuck tells whether the server keeps failing in the same way at the same place of
// the log, such as over a value that is too large for it to write: then trying
// again does not help.
func (w *work) stuck(err error) bool {
	const attempts = 5
	code := sqlState(err)
	if w.stream == nil || code == "" || passing(code) {
		w.sameFault = 0
		return false
	}
	at := faultPlace{code, w.stream.em.pos.end, w.stream.em.pos.ordinal}
	if at != w.lastFault {
		w.lastFault, w.sameFault = at, 0
	}
	w.sameFault++
	return w.sameFault >= attempts
}

// faultPlace is a fault of the server and where it came.
type faultPlace struct {
	code    string
	end     uint64
	ordinal int64
}

// session connects and works until something fails or ctx is done.
func (w *work) session(ctx context.Context) (err error) {
	if w.stream != nil {
		// What fails before the log is read again is no fault of how it was read.
		w.stream.reading = false
	}
	side, err := w.set.open(ctx, w.app)
	if err != nil {
		return err
	}
	defer func() { side.close(context.WithoutCancel(ctx)) }()
	var p *preflight
	if !w.settled {
		// Before the replication connection, which tells only the first of several
		// rights that are missing.
		if p, err = w.set.check(ctx, side, w.app); err != nil {
			return err
		}
		if err := w.passable(p); err != nil {
			return err
		}
		w.met = true
	}
	ctx, guard := w.startGuard(ctx)
	defer func() { err = guard.stop(err) }()
	rep, err := w.set.openReplication(ctx, w.app)
	if err != nil {
		return err
	}
	defer func() { rep.close(context.WithoutCancel(ctx)) }()
	srv, err := w.identify(ctx, side, rep)
	if err != nil {
		return err
	}
	if !w.settled {
		if err := w.settle(ctx, p, rep, srv); err != nil {
			return err
		}
		w.settled = true
		if !w.set.when.stream {
			return w.idle(ctx)
		}
		// The connection that exported the snapshot has done its duty.
		rep.close(ctx)
		if w.set.streamDelay > 0 && !pause(ctx, w.set.streamDelay) {
			return nil
		}
		if rep, err = w.set.openReplication(ctx, w.app); err != nil {
			return err
		}
		if srv, err = w.identify(ctx, side, rep); err != nil {
			return err
		}
	}
	return w.follow(ctx, side, rep, srv)
}

// idle is what follows a snapshot that nothing follows.
func (w *work) idle(ctx context.Context) error {
	w.log.Info("The snapshot is complete, and snapshot.mode asks for nothing more.")
	<-ctx.Done()
	return nil
}

// identify asks both connections who the server is.
func (w *work) identify(ctx context.Context, side *db, rep *replication) (server, error) {
	srv, err := identify(ctx, w.set, side, rep)
	if err != nil {
		return srv, err
	}
	w.wal = srv.wal
	if w.failover = w.set.failover(srv); w.set.slotFailover && !w.failover && !w.settled {
		w.log.Warn("slot.failover=true has no effect here: only primaries from PostgreSQL 17 on have slots that are copied to standbys. After a failover the slot is missing.", "version", srv.version/10000, "standby", srv.recovery)
	}
	return srv, nil
}

// settle prepares the other side and reads the tables, when that is asked for.
func (w *work) settle(ctx context.Context, p *preflight, rep *replication, srv server) error {
	side := p.db
	for _, warning := range p.warnings() {
		w.log.Warn(warning)
	}
	w.line = w.stored.line().of(srv)
	if err := w.checkShapes(ctx, p); err != nil {
		return err
	}
	if !w.set.when.stream && !w.set.when.always && !w.fresh() {
		return nil
	}
	warnings, err := w.set.setIdentities(ctx, side, p.all)
	if err != nil {
		return err
	}
	for _, warning := range warnings {
		w.log.Warn(warning)
	}
	if w.set.when.stream {
		if err := w.set.installDDL(ctx, side); err != nil {
			return err
		}
		failpoint.At("source.publication")
		done, err := w.set.ensurePublication(ctx, side, w.withSignals(p), p.viaRoot)
		w.madePublication = w.madePublication || done.created
		if err != nil {
			return err
		}
		if len(done.added) > 0 && !w.fresh() {
			w.joinedAtStart(done.added)
		}
	}
	info, err := side.slot(ctx, w.set.slot)
	if err != nil {
		return err
	}
	wanted, err := w.wantsSnapshot(ctx, rep, info, srv)
	if err != nil {
		return err
	}
	if wanted || w.fresh() {
		w.watched().keep.forget() // Nothing of before counts.
	}
	if wanted && w.set.snapshotKind == kindResumable {
		return w.beginResumable(ctx, rep, snapshotJob{check: p, slot: info, srv: srv})
	}
	if wanted {
		return w.takeSnapshot(ctx, rep, snapshotJob{check: p, slot: info, srv: srv})
	}
	return w.begin(ctx, side, rep, info, srv)
}

// passable returns what stands in the way. A slot in use by another may be freed;
// everything else needs a person.
func (w *work) passable(p *preflight) error {
	if w.stored != nil {
		// What the loss of the slot means is told with the range of the log it concerns.
		p.problems = slices.DeleteFunc(p.problems, func(pr problem) bool { return pr.err.Code == "pg.slot.lost" })
	}
	if !w.fresh() {
		p.problems = slices.DeleteFunc(p.problems, func(pr problem) bool {
			if !pr.bearable(w.set.when) {
				return false
			}
			w.log.Warn("Something is wrong that does not hinder the reading of the log.", "error", pr.err)
			return true
		})
	}
	if len(p.problems) == 1 {
		return p.problems[0].err
	}
	return p.err()
}

// wantsSnapshot follows snapshot.mode, unless a remedy has asked for a snapshot.
func (w *work) wantsSnapshot(ctx context.Context, rep *replication, info *slotInfo, srv server) (bool, error) {
	switch when := w.set.when; {
	case w.forced(), when.always:
		return true, nil
	case w.fresh():
		return when.data, nil
	case when.needed:
		return w.needsSnapshot(ctx, rep, info, srv)
	}
	return false, nil
}

// newStream makes the reader of the log, which begins at pos.
func (w *work) newStream(pos position, srv server) error {
	em := w.newEmitter(pos)
	if w.set.transactionMetadata {
		em.tx = newTransactions(w.set)
	}
	types := newTypeTable(w.set.modes, nil)
	s := &stream{
		set: w.set, log: w.log, metrics: w.metrics, em: em, comp: newCompiler(w.set, types, Version), out: w.batches,
		app: w.app, safe: &w.safe, figures: &w.figures, beats: newHeartbeats(), spill: w.newSpill(), progress: progress{show: w.env.Show}, asked: make(chan *watchAsk, 16), asking: map[tableName]*watchAsk{},
	}
	var err error
	if s.msgPlan, err = newMessagePlan(w.set, Version, em.source); err != nil {
		return err
	}
	s.beside = newBeside(s, &w.env, newNotifier(w.set, w.log))
	if w.set.ddlPrefix != "" && w.set.schemaRecords {
		s.changes.plan = newSchemaChangePlan(w.set, em.source)
	}
	if err := w.checkFill(s, &pos); err != nil {
		return err
	}
	s.pending = w.fresh() || s.pending // A start without a snapshot is worth storing at once.
	w.stream = s
	w.reader.Store(s)
	return nil
}

func (w *work) newEmitter(pos position) *emitter {
	e := &emitter{
		set: w.set, log: w.log, metrics: w.metrics, partition: w.partition, source: sourceSchema(), pool: w.pool, fill: w.fill,
		context: contextHeaders(w.set, w.env.Connector, w.env.Task), pos: pos, warned: map[string]bool{},
		now: time.Now().UnixMicro(),
	}
	e.newBatch()
	return e
}

// follow reads the log from where the stream stands.
func (w *work) follow(ctx context.Context, side *db, rep *replication, srv server) error {
	s := w.stream
	info, err := side.slot(ctx, w.set.slot)
	if err != nil {
		return err
	}
	if err := w.checkPlace(ctx, rep, info, srv); err != nil {
		return err
	}
	s.floor = max(s.floor, info.safe)
	if s.em.pos.end == 0 {
		s.em.pos.end, s.em.pos.lsn = info.safe, info.safe
	}
	if s.patience, err = side.senderTimeout(ctx); err != nil {
		return err
	}
	defer func() { w.watched().drop(context.WithoutCancel(ctx)) }()
	if err := w.watched().begin(ctx); err != nil {
		return err
	}
	if err := w.recount(srv); err != nil {
		return err
	}
	if err := rep.start(ctx, w.set.slot, s.em.pos.end, w.options(srv)); err != nil {
		return err
	}
	failpoint.At("source.stream.started")
	w.metrics.Set("connected", 1)
	w.log.Info("Reading the log.", "slot", w.set.slot, "from", lsnText(s.em.pos.end))
	defer func() { s.dropSide(context.WithoutCancel(ctx)) }()
	began, from := time.Now(), s.em.pos
	s.beside.begin(srv)
	err = s.beside.run(ctx, func(ctx context.Context) error { return w.readAndWatch(ctx, rep) })
	// A connection that only begins has not worked: the server may fail on what
	// comes next, again and again.
	w.worked = s.em.pos.end != from.end || s.em.pos.ordinal != from.ordinal || time.Since(began) > w.set.retryWait
	return err
}
