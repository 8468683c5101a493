package state

import (
	"runtime"
	"sync/atomic"
)

// lender has memory for the rows of many caches. Each of those that want more than it has
// gets the same share at most, and all together no more than there is.
type lender struct {
	limit     int64
	lent      atomic.Int64
	borrowers atomic.Int64
}

// loan is what one cache has borrowed. What it does not give back itself comes back once
// nobody has the cache any more.
type loan struct {
	from  *lender
	bytes atomic.Int64
	since bool // it has borrowed at least once
}

// Lend lets c, and as many other caches as there are, keep rows in the memory that
// DiskOptions.CacheBytes gives to single rows, beside its own bound.
func (d *Disk) Lend(c *Cache) {
	l := &loan{from: &d.rows}
	c.loan, c.rows.more = l, func(n int64) bool {
		if !l.take(n) {
			return false
		}
		c.rows.limit += n
		return true
	}
	runtime.AddCleanup(c, (*loan).end, l)
}

// take borrows n bytes more if they are to be had.
func (l *loan) take(n int64) bool {
	if !l.since {
		l.since = true
		l.from.borrowers.Add(1)
	}
	if l.bytes.Load()+n > l.share() {
		return false
	}
	if l.from.lent.Add(n) > l.from.limit {
		l.from.lent.Add(-n)
		return false
	}
	l.bytes.Add(n)
	return true
}

func (l *loan) share() int64 { return l.from.limit / max(l.from.borrowers.Load(), 1) }

// settle gives back what is more than the share, and returns what is left.
func (l *loan) settle() int64 {
	have := l.bytes.Load()
	if over := have - l.share(); over > 0 {
		l.from.lent.Add(-over)
		l.bytes.Add(-over)
		have -= over
	}
	return have
}

// end gives everything back.
func (l *loan) end() {
	l.from.lent.Add(-l.bytes.Swap(0))
	if l.since {
		l.from.borrowers.Add(-1)
	}
}
