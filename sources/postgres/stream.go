package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// How often the stream looks around: for reports that are due, marks and
// heartbeats.
const (
	tick     = time.Second
	markWait = time.Second
	// linger is the least time between two batches that are not full. Without it a
	// busy stream would wake both sides for every row.
	linger = 2 * time.Millisecond
)

// stream reads the log. It is the one goroutine that owns the replication
// connection, and it keeps what it knows from one connection to the next: the
// position behind everything it has handed over, and the batch it fills.
type stream struct {
	set      *settings
	log      *slog.Logger
	metrics  connect.Metrics
	em       *emitter
	comp     *compiler
	out      chan<- *batch
	app      string
	safe     *atomic.Uint64 // What Commit has said; invariant 1.
	figures  *figures
	filtered int64 // Changes that nobody asked for, not counted yet.
	conn     atomic.Pointer[replication]
	side     *db // For the catalogue; opened when needed.
	tables   map[uint32]*planned
	form     wireForm
	counts   uint32 // By what ordinals are counted.

	reading    bool // The server has begun to send.
	streams    bool // This connection brings transactions in progress.
	spill      *spillStore
	block      *spilled // The transaction in progress whose block is open.
	replayed   int64    // Messages of the transaction that is replayed.
	progress   progress
	unstreamed uint64 // Where transactions in progress could not be kept; 0 while they can.

	beside *beside          // Reads tables beside the log.
	watch  map[uint32]*scan // The tables that it reads, by relation; nil when there are none.
	recent recentXids
	holdAt uint64 // Where a blocking snapshot wants the stream to stand; 0: nowhere.

	msg      changeMessage
	changes  schemaChanges
	msgPlan  *messagePlan
	resume   position // Where this connection began.
	inTx     bool
	skipTx   bool // The transaction was sent in full before.
	skip     int64
	passing  sentSoFar // What Debezium has sent of the transaction.
	txBegan  int       // Records of this transaction so far; the last is held back.
	pending  bool
	unsent   *batch // Cut, but not handed over when a connection broke.
	received uint64
	floor    uint64 // What the server had confirmed before; never report less.
	reported uint64
	patience time.Duration // The server's wal_sender_timeout; 0 when it has none.

	nextTick   time.Time
	nextFigure time.Time
	lastMark   time.Time
	lastOffer  time.Time
	lastSent   time.Time
	lastHeard  time.Time
	askedBack  bool // The server wants a report.
	pace       pace
	beats      heartbeats
	shutdown   shutdownWatch
	asked      chan *watchAsk          // By the watch, for this goroutine to take in.
	asking     map[tableName]*watchAsk // The watch's own: what is not known to be stored.
}

// planned is what is known of a relation of this connection.
type planned struct {
	plan  *plan // Nil when the table is not captured.
	rel   *relation
	facts *tableFacts
	// signal: rows that are inserted are signals.
	signal bool
}

// run reads on c until ctx is done or something fails. The connection is the
// caller's to close.
func (s *stream) run(ctx context.Context, c *replication) error {
	s.tables = map[uint32]*planned{}
	s.resume, s.inTx, s.skipTx, s.block = s.em.pos, false, false, nil
	if err := s.spill.reset(); err != nil {
		s.log.Warn("Files of transactions in progress could not be removed.", "error", err)
	}
	if s.resume.commit != 0 {
		// The last connection may have broken while it still passed over what one before
		// it had sent: the position was counting up to there.
		s.resume.ordinal = max(s.resume.ordinal, s.skip)
	}
	now := time.Now()
	s.lastHeard, s.lastSent, s.nextTick, s.shutdown = now, time.Time{}, now, shutdownWatch{}
	s.em.now = now.UnixMicro()
	s.pace = pace{quiet: quieter(c.conn), pieces: byRecord(c.conn)}
	s.conn.Store(c)
	defer s.conn.Store(nil)
	s.reading = true
	stop := context.AfterFunc(ctx, c.interrupt)
	defer stop()
	for ctx.Err() == nil {
		if err := s.beside.resend(ctx, c); err != nil {
			return err
		}
		if err := s.drain(ctx, c); err != nil {
			return err
		}
		if (s.beside.due || s.beside.busy()) && !s.open() {
			if err := s.beside.serve(ctx, c); err != nil {
				return err
			}
		}
		due := s.nextTick
		rest, err := s.offer(now)
		if err != nil {
			return err
		}
		if !rest.IsZero() && rest.Before(due) {
			due = rest
		}
		err = c.fill(s.pace.rest(due))
		now = time.Now()
		s.pace.read(c.got, now)
		s.em.now = now.UnixMicro()
		switch {
		case err == nil:
			s.lastHeard = now
		case !isTimeout(err):
			return explain(err, "reading the log")
		case ctx.Err() == nil && len(s.out) == cap(s.out):
			// The other side is slow and the server silent: wait here.
			if err := s.push(ctx, c); err != nil {
				return err
			}
		}
		if !now.Before(s.nextTick) || s.confirmable() != s.reported {
			if err := s.look(ctx, c, now); err != nil {
				return err
			}
		}
	}
	return s.report(c, time.Now())
}

// drain deals with all whole messages in the buffer.
func (s *stream) drain(ctx context.Context, c *replication) error {
	for {
		typ, body, err := c.frame()
		if err != nil {
			return s.located(explain(err, "reading the log"), s.received)
		}
		if typ == 0 {
			return nil
		}
		if typ != 'd' || len(body) == 0 {
			return s.located(malformed(typ, errShort), s.received)
		}
		if err := s.copyData(ctx, body); err != nil {
			return s.located(err, s.received)
		}
		if err := s.pushIfFull(ctx, c); err != nil {
			return err
		}
		if s.beside.due && !s.open() {
			if err := s.beside.serve(ctx, c); err != nil {
				return err
			}
		}
	}
}

// copyData deals with one message of the replication protocol.
func (s *stream) copyData(ctx context.Context, body []byte) error {
	switch body[0] {
	case 'w':
		if len(body) < 26 {
			return malformed('w', errShort)
		}
		at := binary.BigEndian.Uint64(body[1:])
		s.received = max(s.received, at)
		if err := s.change(ctx, at, body[25:]); err != nil {
			return s.located(err, at)
		}
		return nil
	case 'k':
		if len(body) < 18 {
			return malformed('k', errShort)
		}
		end := binary.BigEndian.Uint64(body[1:])
		s.received = max(s.received, end)
		s.keepalive(end, body[17] != 0)
		return nil
	}
	return malformed(body[0], errors.New("the type is not known"))
}

// change deals with one message of pgoutput. Types that a later version may add
// are an error: passing over one could lose rows.
func (s *stream) change(ctx context.Context, at uint64, m []byte) error {
	if s.block != nil {
		return s.keep(at, m)
	}
	body := m[1:]
	switch m[0] {
	case 'I', 'U', 'D':
		return s.rowChange(ctx, m[0], at, body)
	case 'B':
		if s.holdAt != 0 && len(body) >= 8 {
			if err := s.holdBefore(ctx, binary.BigEndian.Uint64(body)); err != nil {
				return err
			}
		}
		return s.begin(body)
	case 'C':
		return s.commit(body)
	case 'R':
		r, err := decodeRelation(body)
		if err != nil {
			return err
		}
		return s.learn(ctx, r)
	case 'T':
		return s.truncate(at, body)
	case 'M':
		return s.message(at, body)
	case 'O':
		o, err := decodeOrigin(body)
		s.em.stamp.origin, s.em.stamp.originLSN = o.name, o.lsn
		return err
	case 'Y': // The name of a type; the catalogue tells more.
		s.comp.types.forget()
		return nil
	case 'S':
		return s.blockBegins(body)
	case 'A':
		return s.blocksAbort(body)
	case 'c':
		return s.blocksCommit(ctx, at, body)
	}
	return malformed(m[0], errors.New("the type is not known"))
}

// begin opens a transaction. Invariant 2: what committed strictly before the
// position was sent in full; a commit record that stands exactly there is new.
func (s *stream) begin(body []byte) error {
	m, err := decodeBegin(body)
	if err != nil {
		return err
	}
	e := s.em
	s.recent.add(m.xid)
	s.inTx, s.skipTx, s.skip, s.passing = true, m.commit < e.pos.end, 0, sentSoFar{}
	if e.pos.part != nil && e.pos.part.xid == m.xid {
		s.passing.sentPart = e.pos.part
	}
	if m.commit == s.resume.commit && !s.skipTx {
		s.skip = s.resume.ordinal
	} else if !s.skipTx {
		s.txBegan, e.sent = 0, nil
	}
	if s.skipTx {
		return nil
	}
	failpoint.At("source.stream.begin")
	s.resume.commit = 0
	micros := m.micros + postgresEpoch
	e.stamp = stamp{micros: micros, xid: m.xid, lastEnd: e.pos.end, xmin: s.xmin()}
	e.pos.commit, e.pos.ordinal, e.pos.xid, e.pos.micros = m.commit, 0, m.xid, micros
	e.pos.counts = s.counts
	e.pos.snapshot = snapshotNone
	if e.tx != nil {
		e.tx.open(m.xid, m.commit)
	}
	return nil
}

// commit closes a transaction: its last record, held back until now, carries the
// position behind all of it.
func (s *stream) commit(body []byte) error {
	m, err := decodeCommit(body)
	if err != nil {
		return err
	}
	s.inTx = false
	if s.skipTx {
		return nil
	}
	e := s.em
	if e.tx != nil && e.tx.begun {
		e.announce("END", true)
		s.txBegan++
	}
	e.pos.end, e.pos.lsn, e.pos.commit, e.pos.ordinal = max(m.end, e.pos.end), m.end, 0, 0
	if s.passing.sentPart != nil {
		e.pos.part = nil
	}
	s.pending = true
	if s.txBegan > 0 {
		last := &e.batch.records[len(e.batch.records)-1]
		end := e.batch.at(e.pos)
		end.closing = true
		last.SourceOffset, last.Boundary = end, connect.BoundaryCommit
		s.pending = false
	}
	s.txBegan = 0
	failpoint.At("source.stream.commit")
	s.metrics.Add("transactions_total", 1)
	return nil
}

// counted moves to the next change of the transaction and tells whether it is new.
func (s *stream) counted(at uint64) bool {
	if s.skipTx {
		return false
	}
	e := s.em
	e.before = e.pos
	e.pos.ordinal++
	if s.passing.over(at) {
		e.pos.lsn = at
		return false
	}
	e.pos.lsn = at
	return e.pos.ordinal > s.skip
}

func (s *stream) rowChange(ctx context.Context, typ byte, at uint64, body []byte) (err error) {
	m := &s.msg
	switch typ {
	case 'I':
		err = m.decodeInsert(body)
	case 'U':
		err = m.decodeUpdate(body)
	default:
		err = m.decodeDelete(body)
	}
	if err != nil {
		return err
	}
	t := s.tables[m.relation]
	if !s.counted(at) {
		s.pass(typ, t)
		return nil
	}
	if t == nil {
		return malformed(typ, errors.New("a row came before its relation"))
	}
	if t.signal && typ == 'I' {
		s.signalRow(t)
	}
	if t.plan == nil {
		s.filtered++
		return nil
	}
	from, before := len(s.em.batch.records), s.em.before
	if s.watch != nil {
		s.beside.moved(typ, t)
	}
	defer func() {
		if err != nil {
			// The change was not made: another connection must bring it again.
			s.em.batch.records, s.em.pos = s.em.batch.records[:from], before
			return
		}
		s.txBegan += len(s.em.batch.records) - from
		if s.watch != nil && len(s.em.batch.records) > from {
			s.beside.touched(typ, t)
		}
	}()
	for err = s.emit(typ, t.plan); s.comp.adapts(t.plan, err); err = s.emit(typ, t.plan) {
		s.em.batch.records = s.em.batch.records[:from]
		if _, err := s.teach(ctx); err != nil {
			return err
		}
		if err := s.plan(ctx, t); err != nil {
			return err
		}
	}
	return err
}

func (s *stream) emit(typ byte, p *plan) error {
	switch {
	case typ == 'I' && !s.set.skipped["c"]:
		return s.em.insert(p, opCreate, s.msg.new)
	case typ == 'U' && !s.set.skipped["u"]:
		return s.em.update(p, &s.msg)
	case typ == 'D' && !s.set.skipped["d"]:
		return s.em.delete(p, &s.msg)
	}
	return nil
}

func (s *stream) truncate(at uint64, body []byte) error {
	m, err := decodeTruncate(body)
	if err != nil {
		return err
	}
	fresh := s.counted(at)
	if s.set.skipped["t"] {
		return nil
	}
	var plans []*plan
	for _, oid := range m.relations {
		if t := s.tables[oid]; t != nil && t.plan != nil {
			plans = append(plans, t.plan)
		}
	}
	if !fresh {
		s.passTruncate(plans)
		return nil
	}
	for i, p := range plans {
		s.em.truncate(p, i == len(plans)-1)
		s.txBegan++
	}
	if s.watch != nil {
		s.beside.emptied(m.relations)
	}
	return nil
}
