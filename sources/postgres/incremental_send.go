package postgres

import (
	"context"
	"slices"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// send hands over the chunks whose marks the stream has come to.
func (b *beside) send(ctx context.Context, c *replication) error {
	for _, sc := range slices.Clone(b.scans) {
		for len(sc.chunks) > 0 && b.ready(sc.chunks[0]) {
			ch := sc.chunks[0]
			sc.chunks = sc.chunks[1:]
			if b.outgrown(sc, ch) {
				b.repeat(sc)
				break
			}
			if err := b.sendChunk(ctx, c, sc, ch); err != nil {
				return err
			}
		}
		if ch := sc.again; ch != nil && b.ready(ch) {
			sc.again = nil
			if !b.outgrown(sc, ch) {
				if err := b.sendChunk(ctx, c, sc, ch); err != nil {
					return err
				}
			}
		}
		sc.tidy()
	}
	return nil
}

// ready tells whether a chunk came back and the stream is past its mark.
func (b *beside) ready(ch *chunk) bool {
	if ch.back && ch.lsn != 0 && b.s.em.pos.end >= ch.lsn {
		ch.reached = true
	}
	return ch.back && ch.reached && ch.batch != nil
}

// outgrown tells whether a chunk is of no use: the stream has learnt another shape of
// the table than it was read with, or there were too many changes to be kept.
func (b *beside) outgrown(sc *scan, ch *chunk) bool {
	if ch.from < sc.touches.first {
		return true
	}
	// What it knew before the window is older than what the reader saw.
	told := b.told(ch.table.OID)
	return told != nil && told != ch.told && !sameColumns(told, ch.shape.rel)
}

// told returns the shape of a table as the log has told it last, nil when it has not.
func (b *beside) told(oid uint32) *relation {
	if t := b.s.tables[oid]; t != nil {
		return t.rel
	}
	return nil
}

// repeat reads a table again from behind what was sent.
func (b *beside) repeat(sc *scan) {
	t := b.s.em.pos.backlog.table(sc.number)
	if t == nil {
		return
	}
	*sc = scan{number: sc.number, table: *t, limit: max(1, sc.limit/2), faults: sc.faults, touches: touches{first: sc.touches.next()}}
	b.observe(sc)
	b.due = true
}

// tidy forgets changes that no window needs.
func (sc *scan) tidy() {
	first := sc.touches.next()
	for _, ch := range sc.chunks {
		first = min(first, ch.from)
	}
	if sc.again != nil {
		first = min(first, sc.again.from)
	}
	sc.touches.forget(first)
}

// sendChunk hands over what is left of a chunk. All its records but the last carry the
// position before it, so that it is read again when it was not sent in full.
func (b *beside) sendChunk(ctx context.Context, c *replication, sc *scan, ch *chunk) error {
	s := b.s
	for s.waiting() {
		if err := s.push(ctx, c); err != nil {
			return err
		}
	}
	failpoint.At("source.incremental.send")
	drop, again := outdated(ch.keys, sc.touches.since(ch.from), &ch.seen, len(ch.table.Key) > 0)
	kept := ch.batch.records[:0]
	for i := range ch.batch.records {
		if !drop[i] {
			kept = append(kept, ch.batch.records[i])
		}
	}
	t := *s.em.pos.backlog.table(sc.number)
	t.Rows += int64(len(kept))
	if ch.kind == chunkRows {
		t.Last, t.Heaps, t.Page = ch.table.Last, ch.table.Heaps, ch.table.Page
	} else {
		t.Again = t.Again[len(ch.again):]
	}
	t.Again = slices.Concat(t.Again, again)
	sc.table.Again, sc.table.Rows = t.Again, t.Rows
	before := s.em.pos
	b.change(s.em.pos.backlog.setTable(t))
	s.metrics.Add("incremental_rows_total", int64(len(kept)))
	s.metrics.Add("incremental_rows_superseded_total", int64(len(drop)))
	if len(kept) == 0 {
		return nil
	}
	s.pending = false
	if f := s.em.fill; f != nil {
		for i := range kept {
			f.note(f.put(fillRow{plan: ch.shape.plan, key: kept[i].Key, row: kept[i].Value.Struct().At(1)}, &s.em.pos))
		}
	}
	at := ch.batch.at(before)
	for i := range kept {
		kept[i].SourceOffset = at
	}
	last := &kept[len(kept)-1]
	last.SourceOffset, last.Boundary = ch.batch.at(s.em.pos), connect.BoundaryCommit
	s.metrics.Add("changes_total", int64(len(kept)))
	for part := range slices.Chunk(kept, s.set.batchRecords) {
		b.outbox = append(b.outbox, &batch{records: part})
	}
	failpoint.At("source.incremental.sent")
	return b.resend(ctx, c)
}

// resend hands over what was cut, and what a broken connection left.
func (b *beside) resend(ctx context.Context, c *replication) error {
	s := b.s
	for s.unsent != nil || len(b.outbox) > 0 {
		if s.unsent == nil {
			s.unsent, b.outbox = b.outbox[0], b.outbox[1:]
		}
		if err := s.push(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// touchesMost bounds the memory that noted changes of a table take, in bytes. When a
// window has more, its chunk is read again.
const touchesMost = 8 << 20

// moved notes, before its record is made, a change that takes a row to another place
// without holding a large value of it: the row is read once more, wherever it is now.
func (b *beside) moved(typ byte, t *planned) {
	sc := b.s.watch[t.rel.oid]
	if sc == nil || typ != 'U' || b.s.msg.oldKind == 'O' || !partial(t.plan, b.s.msg.new) || !b.ensureKeys(sc, t) {
		return
	}
	m := &b.s.msg
	if !sc.table.loose() && (m.oldKind == 0 || sc.keys.of(m.old, nil) == sc.keys.of(m.new, m.old)) {
		return
	}
	entry := b.s.em.pos.backlog.table(sc.number)
	if entry == nil {
		return
	}
	key := sc.keys.keyText(m.new, m.old)
	if slices.ContainsFunc(entry.Again, func(k []string) bool { return slices.Equal(k, key) }) && sc.again == nil {
		return
	}
	next := *entry
	next.Again = append(slices.Clone(next.Again), key)
	sc.table.Again = next.Again
	b.change(b.s.em.pos.backlog.setTable(next))
}

// touched notes a change that was sent.
func (b *beside) touched(typ byte, t *planned) {
	sc := b.s.watch[t.rel.oid]
	if sc == nil || len(sc.chunks) == 0 && sc.again == nil || !b.ensureKeys(sc, t) {
		return
	}
	m := &b.s.msg
	change := touch{xid: b.s.em.stamp.xid}
	keyed := len(sc.table.Key) > 0
	if typ != 'D' {
		change.after = sc.keys.of(m.new, m.old)
	}
	switch {
	case m.oldKind != 0:
		change.before = sc.keys.of(m.old, nil)
	case typ == 'U':
		change.before = change.after
	}
	if !keyed && change.before == "" {
		return
	}
	if typ == 'U' && m.oldKind != 'O' && keyed && partial(t.plan, m.new) {
		change.partial, change.text = true, sc.keys.keyText(m.new, m.old)
	}
	b.note(sc, change)
}

func (b *beside) note(sc *scan, change touch) {
	sc.touches.add(change)
	if sc.touches.bytes > touchesMost {
		sc.touches.forget(sc.touches.next())
	}
}

// emptied notes that tables were truncated.
func (b *beside) emptied(relations []uint32) {
	for _, oid := range relations {
		if sc := b.s.watch[oid]; sc != nil {
			b.note(sc, touch{xid: b.s.em.stamp.xid, emptied: true})
		}
	}
}

// ensureKeys makes the keys for a relation as the stream knows it. When that cannot be
// done the table is read anew.
func (b *beside) ensureKeys(sc *scan, t *planned) bool {
	if sc.rel == t.rel {
		return sc.keys != nil
	}
	sc.rel, sc.keys = t.rel, nil
	b.types.load = b.s.comp.types.load
	keys, err := newRowKeys(t.rel, sc.table.Match, b.types)
	if err != nil {
		b.restart(sc)
		return false
	}
	sc.keys = keys
	return true
}

// partial tells whether a row lacks a value that its record would have.
func partial(p *plan, t tuple) bool {
	for i := range t {
		if t[i].kind == columnUnchanged && i < len(p.columns) && p.columns[i].field >= 0 {
			return true
		}
	}
	return false
}
