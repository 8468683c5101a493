package streams

import (
	"container/heap"
	"fmt"
	"math"
	"time"

	"github.com/tidemill/tidemill/streams/clock"
	"github.com/tidemill/tidemill/streams/fault"
)

// never is later than any time.
const never = math.MaxInt64

// punctuation is something that is done every now and then.
type punctuation struct {
	every, at int64 // in milliseconds
	node      *node
	do        func(ms int64) error
	cancelled bool
}

// punctuations are those of one clock of a task, the next one first.
type punctuations []*punctuation

func (p punctuations) Len() int           { return len(p) }
func (p punctuations) Less(i, j int) bool { return p[i].at < p[j].at }
func (p punctuations) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }
func (p *punctuations) Push(x any)        { *p = append(*p, x.(*punctuation)) }
func (p *punctuations) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

// next is when the first of them is due.
func (p *punctuations) next() int64 {
	for len(*p) > 0 && (*p)[0].cancelled {
		heap.Pop(p)
	}
	if len(*p) == 0 {
		return never
	}
	return (*p)[0].at
}

// schedule makes a task do something every so often. As in Kafka Streams, stream
// time is cut at multiples of the interval since the epoch, and the first record is
// already past one; wall clock time begins now, with one interval to wait.
func (t *task) schedule(n *node, every time.Duration, by clock.Clock, do func(ms int64) error) (cancel func(), err error) {
	ms := every.Milliseconds()
	if ms < 1 || by != clock.StreamTime && by != clock.WallClock {
		return nil, fmt.Errorf("streams: operator %s schedules a punctuation every %v by clock %d: intervals are whole milliseconds, clocks StreamTime and WallClock", n.name, every, by)
	}
	p := &punctuation{every: ms, node: n, do: do}
	if by == clock.WallClock {
		p.at = t.env.now().UnixMilli() + ms
	}
	heap.Push(&t.punctual[by], p)
	t.due = min(t.due, t.punctual[clock.StreamTime].next())
	return func() { p.cancelled = true }, nil
}

// punctuate does what is due by one clock, which shows now. What was missed meanwhile
// is done once, and the next time is again a whole number of intervals away.
func (t *task) punctuate(by clock.Clock, now int64) error {
	q := &t.punctual[by]
	if q.next() <= now && !t.recalled {
		if err := t.recall(); err != nil {
			return err
		}
	}
	for q.next() <= now {
		p := (*q)[0]
		p.at += (max(now-p.at, 0)/p.every + 1) * p.every
		heap.Fix(q, 0)
		t.dirty = true
		if err := t.perform(p, now); err != nil {
			return err
		}
	}
	t.due = t.punctual[clock.StreamTime].next()
	return nil
}

// perform does one punctuation.
func (t *task) perform(p *punctuation, now int64) (err error) {
	if t.env.guarded {
		defer t.rescue(p.node, fault.Processing, &err)
	}
	if err = p.do(now); err != nil {
		err = t.fault(p.node.name, ofUser(err))
	}
	return err
}

// wallDue is when the next punctuation by the wall clock is due.
func (t *task) wallDue() int64 { return t.punctual[clock.WallClock].next() }
