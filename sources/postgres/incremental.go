package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// Tables can be read while the log is: for a snapshot that a signal asks for, for a
// table that has just joined, and as the initial snapshot of snapshot.kind=resumable.
// The idea is that of the DBLog paper (Andreakis and Papapanagiotou, 2020) and of
// Debezium's design document 3: rows are read in chunks, and each chunk is reconciled
// with the changes that were streamed around it. What follows is how it is made exact.
//
//  1. The stream opens a window on the table: from now on it notes which rows change
//     (touches), and by which transaction. It keeps the numbers of the transactions
//     that it has streamed lately (recentXids).
//  2. A reader, on a connection of its own, locks the table against changes of its
//     shape and takes a snapshot S. When S does not see one of the transactions
//     streamed before the window, S is taken anew: the server writes a commit into the
//     log before it shows it. What an earlier process may have streamed is waited for
//     once (chunkClear). Then the reader reads the next rows in the order of the key.
//  3. Behind that it leaves a mark in the log. Every transaction that S sees has its
//     commit in front of the mark.
//  4. Between two transactions, at some time after the stream has come to the mark, the
//     chunk is sent: but for the rows that a transaction has changed which S does not
//     see. Everything S sees has been streamed by then, and everything streamed that S
//     does not see was noted, so no record is older than one before it of the same key,
//     and none is missing.
//
// A change that does not hold a large value, because it did not change, takes the place
// of a row whose consumers have never had that value. Such rows are read once more.
// So are those whose key such a change has moved, perhaps to where reading is past.
//
// How far tables have been read is part of the position of every record (backlog), so
// a restart goes on with the chunk it was at.

// beside reads tables beside the stream. It belongs to the stream's goroutine but for
// what is said to be others'.
type beside struct {
	s     *stream
	life  string // Tells our marks from those of an earlier process.
	marks uint64

	scans   []*scan
	resolve *chunk // In the readers' hands.
	clear   *chunk // In the readers' hands, or back; nil: to be asked for.
	asked   int    // Chunks in the readers' hands.
	due     bool   // Something may be done at the next end of a transaction.
	server  server

	todo   chan *chunk // Of this connection.
	back   chan *chunk
	woken  atomic.Bool // Set by readers and signals.
	outbox []*batch    // Cut already, to be handed over before anything else.
	shown  time.Time
	asks   time.Time // When the server was last asked for its position.
	hold   *blocking // A blocking snapshot under way.
	tries  int       // Of it, that failed.
	fault  error     // Ends the task.
	types  *typeTable

	signals chan signal
	env     *connect.SourceTaskEnv
	stored  atomic.Uint64 // The number of the newest backlog that is stored.
	notes   *notifier
}

// scan is a table that is being read.
type scan struct {
	number  uint64
	table   tableBacklog // As far as chunks were given out.
	touches touches
	chunks  []*chunk // Of rows, in order.
	again   *chunk
	measure *chunk
	ended   bool // The last chunk of rows was given out.
	limit   int64
	faults  int
	rests   time.Time // Until then: its shape keeps changing.
	trouble error     // Why.

	rel  *relation // That keys is for.
	keys *rowKeys
}

func newBeside(s *stream, env *connect.SourceTaskEnv, notes *notifier) *beside {
	return &beside{s: s, life: strconv.FormatInt(time.Now().UnixNano(), 36), signals: make(chan signal, 16), env: env, notes: notes}
}

// begin readies it for a connection: windows begin anew, since the stream does.
func (b *beside) begin(srv server) {
	b.server = srv
	b.scans, b.s.watch, b.resolve, b.asked, b.clear, b.hold = nil, nil, nil, 0, nil, nil
	b.fault, b.s.holdAt = nil, 0
	b.todo, b.back = make(chan *chunk, 64), make(chan *chunk, 64)
	b.types = newTypeTable(exactModes(), nil)
	b.due = true
	b.watchAll()
}

// watchAll opens the windows of tables that were partly read before: a row may move to
// where reading is past from the first change on.
func (b *beside) watchAll() {
	if b.s.em.pos.backlog == nil {
		return
	}
	for i := range b.s.em.pos.backlog.Tables {
		if t := &b.s.em.pos.backlog.Tables[i]; t.OID != 0 && !b.earlier(t) {
			b.addScan(t)
		}
	}
}

func (b *beside) addScan(t *tableBacklog) *scan {
	sc := &scan{number: t.Number, table: *t, limit: b.s.set.chunkRows}
	b.scans = append(b.scans, sc)
	if t.OID != 0 {
		b.observe(sc)
	}
	return sc
}

func (b *beside) observe(sc *scan) {
	if b.s.watch == nil {
		b.s.watch = map[uint32]*scan{}
	}
	b.s.watch[sc.table.OID] = sc
}

// earlier tells whether the same table stands before in the backlog.
func (b *beside) earlier(t *tableBacklog) bool {
	for i := range b.s.em.pos.backlog.Tables {
		o := &b.s.em.pos.backlog.Tables[i]
		if o.Number == t.Number {
			return false
		}
		if o.table() == t.table() {
			return true
		}
	}
	return false
}

// run owns the goroutines around the stream: the readers and the channels of signals.
func (b *beside) run(ctx context.Context, stream func(context.Context) error) error {
	inner, stop := context.WithCancel(ctx)
	defer stop()
	group, gctx := errgroup.WithContext(inner)
	todo, back := b.todo, b.back
	for range b.s.set.chunkThreads {
		r := b.reader()
		group.Go(func() error {
			return r.run(gctx, todo, func(ch *chunk) {
				back <- ch // There is room for all that are given out.
				b.wake()
			})
		})
	}
	for _, listen := range b.channels() {
		group.Go(func() error { return listen(gctx) })
	}
	err := stream(ctx)
	if b.hold != nil {
		// It waited for its place in the log, which this connection does not come to any more.
		b.hold.close(ctx)
		b.hold = nil
	}
	stop()
	// They end without an error of their own.
	if ended := group.Wait(); err == nil {
		err = ended
	}
	return err
}

// busy tells whether something may have changed since the stream last looked.
func (b *beside) busy() bool {
	return b.woken.Load() || b.hold != nil || b.asked == 0 && !b.s.em.pos.backlog.empty() || len(b.scans) > 0
}

// wake makes the stream look; it may be called from any goroutine.
func (b *beside) wake() {
	b.woken.Store(true)
	if c := b.s.conn.Load(); c != nil {
		c.interrupt()
	}
}

func (b *beside) reader() *chunkReader {
	s := b.s
	e := *s.em
	e.tx, e.batch, e.warned, e.pos, e.before = nil, nil, map[string]bool{}, position{}, position{}
	const shares, least, most = 4, 64 << 10, 8 << 20
	return &chunkReader{
		set: s.set, log: s.log, app: s.app, server: b.server, em: &e,
		most:    min(most, max(least, s.set.batchBytes*(s.set.queueBatches+2)/shares/b.s.set.chunkThreads)),
		content: func(mark uint64) string { return b.content(mark) },
	}
}

func (b *beside) content(mark uint64) string {
	return b.s.set.slot + " " + b.life + " " + strconv.FormatUint(mark, 10)
}

// marked takes in that the stream has come to a mark.
func (b *beside) marked(content []byte) {
	text, ok := strings.CutPrefix(string(content), b.s.set.slot+" "+b.life+" ")
	mark, err := strconv.ParseUint(text, 10, 64)
	if !ok || err != nil {
		return // Somebody else's, or of an earlier process.
	}
	b.each(func(_ *scan, ch *chunk) {
		if ch.mark == mark {
			ch.reached, b.due = true, true
		}
	})
}

// each calls f for the chunks of rows that are under way.
func (b *beside) each(f func(*scan, *chunk)) {
	for _, sc := range b.scans {
		for _, ch := range sc.chunks {
			f(sc, ch)
		}
		if sc.again != nil {
			f(sc, sc.again)
		}
	}
}

// serve does what is due; the stream stands between two transactions.
func (b *beside) serve(ctx context.Context, c *replication) error {
	b.due = false
	b.woken.Store(false)
	if err := b.resend(ctx, c); err != nil {
		return err
	}
	if b.collect(); b.fault != nil {
		return b.fault
	}
	b.listen()
	b.notes.tell(b.s)
	if b.hold != nil {
		return b.hold.serve(ctx, c)
	}
	if b.s.em.pos.backlog.empty() {
		b.rest()
		return nil
	}
	if err := b.send(ctx, c); err != nil {
		return err
	}
	if b.s.em.pos.backlog.Paused {
		b.show(time.Now())
		b.forget()
		return nil
	}
	b.s.recent.held = true
	if ask := b.blocks(); ask != nil {
		return b.startBlocking(ctx, c, *ask)
	}
	b.plan()
	return b.hurry(c)
}

// rest is for when there is nothing to do.
func (b *beside) rest() {
	b.scans, b.s.watch = nil, nil
	b.forget()
	b.show(time.Time{})
}

// forget lets go of what was streamed; before anything is read again, what may not be
// visible yet is looked for anew.
func (b *beside) forget() { b.clear, b.s.recent.held = nil, false }

// hurry asks the server how far it has come, when a chunk waits for a position.
func (b *beside) hurry(c *replication) error {
	waits := false
	b.each(func(_ *scan, ch *chunk) { waits = waits || ch.back && ch.lsn != 0 && !ch.reached })
	const often = 10 * time.Millisecond
	now := time.Now()
	if !waits {
		return nil
	}
	next := now.Add(often)
	if b.s.nextTick.After(next) {
		b.s.nextTick = next
	}
	if now.Sub(b.asks) < often {
		return nil
	}
	b.asks = now
	safe := b.s.confirmable()
	if safe == 0 {
		return nil
	}
	return explain(c.status(b.s.received, safe, true, now), "reporting to the server")
}

// collect takes in what readers have done.
func (b *beside) collect() {
	for {
		select {
		case ch := <-b.back:
			b.asked--
			ch.back, b.due = true, true
			b.took(ch)
		default:
			return
		}
	}
}

// took takes in one chunk.
func (b *beside) took(ch *chunk) {
	switch ch.kind {
	case chunkClear:
		return
	case chunkResolve:
		b.resolved(ch)
		return
	}
	i := slices.IndexFunc(b.scans, func(sc *scan) bool { return sc.number == ch.table.Number })
	if i < 0 || b.s.em.pos.backlog.table(ch.table.Number) == nil {
		return // It was stopped meanwhile.
	}
	sc := b.scans[i]
	if sc.measure != ch && sc.again != ch && !slices.Contains(sc.chunks, ch) {
		return // It was given up.
	}
	if ch.seen.xmax != 0 {
		b.s.recent.prune(&ch.seen)
	}
	switch {
	case ch.err != nil:
		b.abandon(sc, ch.err)
	case ch.gone:
		b.s.log.Warn("A table that was to be read is not there any more, or not captured.", "table", ch.table.table().String())
		b.finish(sc, "UNKNOWN_SCHEMA")
	case ch.stale:
		if ch.renamed != (tableName{}) {
			sc.table.Schema, sc.table.Name = ch.renamed.schema, ch.renamed.name
		}
		b.restart(sc)
	case ch.kind == chunkMeasure:
		b.measured(sc, ch)
	case ch.kind == chunkRows:
		sc.table.Last, sc.table.Heaps, sc.table.Page, sc.ended = ch.table.Last, ch.table.Heaps, ch.table.Page, ch.final
		b.adapt(sc, ch)
	}
}

// adapt sets the size of the next chunk by that of the last: as large as a short time
// and the memory allow.
func (b *beside) adapt(sc *scan, ch *chunk) {
	const quick, slow, grown = 150 * time.Millisecond, time.Second, 64
	size, most := ch.batch.bytes(), b.s.set.batchBytes
	switch {
	case size > most || ch.took > slow:
		sc.limit = max(1, ch.limit/2)
	case size < most/4 && ch.took < quick:
		sc.limit = min(ch.limit*2, b.s.set.chunkRows*grown)
	default:
		sc.limit = ch.limit
	}
}

// measured begins to read a table.
func (b *beside) measured(sc *scan, ch *chunk) {
	sc.measure = nil
	again, rows := sc.table.Again, sc.table.Rows
	sc.table = ch.table
	sc.table.Again, sc.table.Rows = again, rows
	b.change(b.s.em.pos.backlog.setTable(sc.table))
	b.observe(sc)
	if ch.final {
		b.finish(sc, "EMPTY")
		return
	}
	b.notes.tableStarted(&sc.table)
}

// restart reads a table from its start, because it is not what it was.
func (b *beside) restart(sc *scan) {
	const most = 5
	sc.faults++
	rests, trouble := time.Time{}, error(nil)
	if sc.faults > most {
		trouble = retriable(codeAltered, "the shape of the table keeps changing while it is read", nil)
		if !sc.table.Initial {
			b.abandon(sc, trouble)
			return
		}
		// Without this table the snapshot would not be one.
		pausing := min(time.Second<<min(sc.faults-most, 10), time.Minute)
		rests = time.Now().Add(pausing)
		b.s.log.Warn("A table keeps changing its shape while it is read; its reading rests, and then begins anew.", "table", sc.table.table().String(), "error", trouble, "in", pausing)
		b.s.metrics.Add("incremental_tables_failed_total", 1)
		b.notes.tableDone(&sc.table, "SQL_EXCEPTION")
	} else {
		b.s.log.Info("A table has another shape than when its reading began; it is read from its start.", "table", sc.table.table().String())
	}
	t := tableBacklog{Number: sc.number, Schema: sc.table.Schema, Name: sc.table.Name, Request: sc.table.Request, Initial: sc.table.Initial,
		Filter: sc.table.Filter, Surrogate: sc.table.Surrogate, Estimate: sc.table.Estimate}
	delete(b.s.watch, sc.table.OID)
	*sc = scan{number: sc.number, table: t, limit: b.s.set.chunkRows, faults: sc.faults, rests: rests, trouble: trouble}
	b.change(b.s.em.pos.backlog.setTable(t))
}

// abandon gives up reading a table. Invariant 5: that is told.
func (b *beside) abandon(sc *scan, err error) {
	if sc.table.Initial {
		// Without this table the snapshot would not be one.
		b.fault = err
		return
	}
	b.s.log.Error("A table cannot be read beside the log; it is left out.", "table", sc.table.table().String(), "error", err)
	b.s.metrics.Add("incremental_tables_failed_total", 1)
	b.finish(sc, "SQL_EXCEPTION")
}

// finish is done with a table.
func (b *beside) finish(sc *scan, status string) {
	t := sc.table
	b.scans = slices.DeleteFunc(b.scans, func(o *scan) bool { return o == sc })
	if b.s.watch[t.OID] == sc {
		delete(b.s.watch, t.OID)
	}
	b.change(b.s.em.pos.backlog.dropTable(t.Number))
	b.s.log.Info("A table has been read beside the log.", "table", t.table().String(), "rows", t.Rows, "status", status)
	b.notes.tableDone(&t, status)
	if !slices.ContainsFunc(b.s.em.pos.backlog.Tables, func(o tableBacklog) bool { return o.Request == t.Request && o.Initial == t.Initial }) {
		b.notes.add("COMPLETED", aggregateOf(t.Initial), "request_id", t.Request)
	}
}

// change sets another backlog, which the next record or mark carries.
func (b *beside) change(next *backlog) {
	b.s.em.pos.backlog = next
	b.s.pending, b.due = true, true
}

// resolved replaces a request by the tables it means.
func (b *beside) resolved(ch *chunk) {
	b.resolve = nil
	s := b.s
	if ch.err != nil {
		s.log.Error("A request for a snapshot cannot be followed.", "id", ch.ask.ID, "error", ch.err)
	}
	if len(ch.found) == 0 && ch.err == nil {
		s.log.Warn("A request for a snapshot names no captured table.", "id", ch.ask.ID, "data-collections", strings.Join(ch.ask.Tables, ", "))
	}
	taken := ch.found[:0]
	b.change(s.em.pos.backlog.with(func(p *backlog) {
		if len(p.Requests) > 0 {
			p.Requests = p.Requests[1:]
		}
		p.Tables = slices.Clone(p.Tables)
		for _, t := range ch.found {
			if slices.ContainsFunc(p.Tables, func(o tableBacklog) bool {
				return o.table() == t.table() && o.OID == 0 && o.Filter == t.Filter && o.Surrogate == t.Surrogate
			}) {
				continue // It waits already.
			}
			p.Count++
			t.Number = p.Count
			p.Tables = append(p.Tables, t)
			taken = append(taken, t)
		}
	}))
	b.notes.started(&ch.ask, taken)
}

// plan gives out what can be done now.
func (b *beside) plan() {
	p := b.s.em.pos.backlog
	if b.clear == nil || b.s.recent.lost {
		b.s.recent.lost = false
		b.clear = &chunk{kind: chunkClear, recent: slices.Clone(b.s.recent.list)}
		b.give(b.clear)
	}
	if len(p.Requests) > 0 && p.Requests[0].Blocking {
		return // What is under way comes to its end first.
	}
	if b.resolve == nil && len(p.Requests) > 0 {
		b.resolve = &chunk{kind: chunkResolve, ask: p.Requests[0]}
		b.give(b.resolve)
	}
	for i := range p.Tables {
		t := &p.Tables[i]
		if len(b.scans) >= b.s.set.chunkThreads+1 {
			break
		}
		if !slices.ContainsFunc(b.scans, func(sc *scan) bool { return sc.number == t.Number }) && !b.earlier(t) {
			b.addScan(t)
		}
	}
	if b.clear.back {
		for _, sc := range slices.Clone(b.scans) {
			b.advance(sc)
		}
	}
	b.show(time.Now())
}

// advance gives out the next chunk of a table. One is read at a time, since each
// begins where the one before ended, while others wait for their marks.
func (b *beside) advance(sc *scan) {
	const ahead, together = 3, 200
	if sc.table.OID == 0 {
		if sc.measure == nil && !time.Now().Before(sc.rests) {
			sc.measure = &chunk{kind: chunkMeasure, table: sc.table, recent: slices.Clone(b.s.recent.list)}
			b.give(sc.measure)
		}
		return
	}
	n := len(sc.chunks)
	if !sc.ended && n < ahead && (n == 0 || sc.chunks[n-1].back) {
		ch := &chunk{kind: chunkRows, table: sc.table, limit: sc.limit}
		if len(sc.table.Key) == 0 {
			ch.limit = max(16, sc.limit/8) // Pages.
		}
		sc.chunks = append(sc.chunks, ch)
		b.open(sc, ch)
	}
	if sc.again == nil && len(sc.table.Again) > 0 {
		sc.again = &chunk{kind: chunkAgain, table: sc.table, again: sc.table.Again[:min(together, len(sc.table.Again))], limit: 1}
		b.open(sc, sc.again)
	}
	if sc.ended && len(sc.chunks) == 0 && sc.again == nil && len(sc.table.Again) == 0 {
		b.finish(sc, "SUCCEEDED")
	}
}

// open opens the window of a chunk and gives it out.
func (b *beside) open(sc *scan, ch *chunk) {
	failpoint.At("source.incremental.window")
	b.marks++
	ch.mark, ch.from, ch.recent = b.marks, sc.touches.next(), slices.Clone(b.s.recent.list)
	ch.told = b.told(sc.table.OID)
	b.give(ch)
}

func (b *beside) give(ch *chunk) {
	b.asked++
	b.todo <- ch
}

// show tells the progress beside the task's status; the zero time takes it away.
func (b *beside) show(now time.Time) {
	const every = time.Second
	p := b.s.em.pos.backlog
	if b.env.Show == nil || !now.IsZero() && now.Sub(b.shown) < every || now.IsZero() && b.shown.IsZero() {
		return
	}
	b.shown = now
	if p.empty() {
		b.env.Show("incremental", nil)
		return
	}
	type row struct {
		Table    string `json:"table"`
		Request  string `json:"request,omitempty"`
		State    string `json:"state"`
		Rows     int64  `json:"rows"`
		Estimate int64  `json:"rows_estimated,omitempty"`
		Error    string `json:"error,omitempty"`
	}
	doc := struct {
		Paused   bool  `json:"paused"`
		Requests int   `json:"requests_waiting"`
		Left     int   `json:"tables_left"`
		Tables   []row `json:"tables"`
	}{Paused: p.Paused, Requests: len(p.Requests), Left: len(p.Tables)}
	const most = 50
	for _, t := range p.Tables[:min(most, len(p.Tables))] {
		state := "waiting"
		if t.OID != 0 {
			state = "reading"
		}
		shown := row{Table: t.table().String(), Request: t.Request, State: state, Rows: t.Rows, Estimate: t.Estimate}
		for _, sc := range b.scans {
			if sc.number == t.Number && sc.trouble != nil {
				shown.Error = sc.trouble.Error()
			}
		}
		doc.Tables = append(doc.Tables, shown)
	}
	if text, err := json.Marshal(doc); err == nil {
		b.env.Show("incremental", text)
	}
	b.s.metrics.Set("incremental_tables_remaining", float64(len(p.Tables)))
}
