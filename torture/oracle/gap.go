package oracle

import (
	"context"
	"slices"

	"github.com/tidemill/tidemill/torture/storm"
)

// Gap is a part of the log that a connector has said it cannot send: the log behind From,
// up to To, or up to where the tables are read anew if that is beyond it. What is missing
// there was told, what is missing elsewhere was not. The tables have to be read anew after
// any gap.
type Gap struct {
	From, To uint64
	// Fork is where another server went on by itself, 0 for none: it does not have what was
	// sent from there on.
	Fork uint64
}

// opened is a gap and what became of it.
type opened struct {
	Gap
	closed bool
}

// Open notes a gap, when all that the connector has sent until now was read: it must
// stand still. The tables are read anew in the gap or behind it.
func (r *Reader) Open(ctx context.Context, g Gap) error {
	if err := r.caughtUp(ctx); err != nil {
		return err
	}
	r.ledger.open(g)
	return nil
}

// Shut says that the gap is over: it reaches up to a position, or with 0 up to where the
// tables were read anew. It waits until all that Kafka has by now was read.
func (r *Reader) Shut(ctx context.Context, to uint64) error {
	if err := r.caughtUp(ctx); err != nil {
		return err
	}
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	if gaps := r.ledger.transactions.gaps; len(gaps) > 0 {
		g := gaps[len(gaps)-1]
		g.To, g.closed = max(g.To, to), true
	}
	return nil
}

// caughtUp waits until all that Kafka has by now was read.
func (r *Reader) caughtUp(ctx context.Context) error {
	ends, err := r.Committed(ctx)
	if err != nil {
		return err
	}
	return r.until(ctx, func() bool { return r.ledger.reached(ends) })
}

// Reread tells whether rows of the tables were read anew since the gap was opened.
func (r *Reader) Reread() bool {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	return r.ledger.fold.of(storm.TableManifest).snapshot != 0
}

// open takes in a gap.
func (l *ledger) open(g Gap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.transactions.openGap(g, l.once)
	l.fold.open()
	l.bank.accounts, l.bank.blind = map[string]account{}, true // Their versions go on from others.
	for _, p := range l.partitions {
		p.open(g)
	}
}

// openGap excuses what the gap has cut off, and what another server does not have.
func (t *transactions) openGap(g Gap, once bool) {
	for _, before := range t.gaps {
		before.closed = true
	}
	t.gaps = append(t.gaps, &opened{Gap: g})
	for commit := range t.open {
		if commit >= g.From {
			delete(t.open, commit)
		}
	}
	if g.Fork == 0 {
		return
	}
	for txid, commit := range t.commits {
		// Without transactions, what was sent behind the last stored offset is not known to
		// the connector.
		if commit >= g.Fork && (!once || commit >= g.From && commit < g.To) {
			delete(t.commits, txid)
			delete(t.whole, commit)
		}
	}
}

// reading takes in where a snapshot's row was read.
func (t *transactions) reading(lsn uint64) {
	t.snapshot = max(t.snapshot, lsn)
	if n := len(t.gaps); n > 0 && !t.gaps[n-1].closed {
		t.gaps[n-1].To = max(t.gaps[n-1].To, lsn)
	}
}

// told tells whether it was said that a transaction which ends at a position, and whose
// rows were read after so many gaps, would not come.
func (t *transactions) told(end uint64, after int) bool {
	return slices.ContainsFunc(t.gaps[:after], func(g *opened) bool { return g.From < end && end <= g.To })
}

// open begins the order of events anew where another server's log does.
func (p *partition) open(g Gap) {
	if len(p.marks) > 0 && p.last().commit >= g.From {
		p.buried = nil // Its tombstone is behind it.
	}
	p.replay = -1
	if g.Fork != 0 {
		p.marks = slices.DeleteFunc(p.marks, func(m mark) bool { return m.commit >= g.Fork })
	}
}

// open has rows be read anew: those that are not were deleted in the gap. Of tables
// without a key nothing is known until then.
func (f *fold) open() {
	for _, t := range f.tables {
		t.snapshot, t.blind = 0, true
		clear(t.bag)
		for _, r := range t.byKey {
			r.stale = true
		}
	}
}
