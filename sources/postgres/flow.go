package postgres

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/internal/failpoint"
)

// holds tells how many records at the end of the batch must stay: the last of an
// open transaction, because it will carry the position behind the commit.
func (s *stream) holds() int {
	if s.txBegan > 0 {
		return 1
	}
	return 0
}

// open tells whether a transaction is under way, on this connection or on one that
// broke in the middle of it.
func (s *stream) open() bool { return s.inTx || s.em.pos.commit != 0 }

// waiting tells whether there is something to hand over.
func (s *stream) waiting() bool { return len(s.em.batch.records) > s.holds() }

// offer hands the batch over if there is room now and the last hand-over was not
// just before: a single change goes out at once, those of a burst together. It
// returns until when to read on before the next look; the zero time means that
// nothing waits.
func (s *stream) offer(now time.Time) (time.Time, error) {
	if !s.waiting() {
		return time.Time{}, nil
	}
	if rest := s.lastOffer.Add(linger); now.Before(rest) {
		return rest, nil
	}
	if len(s.out) == cap(s.out) {
		return now.Add(linger), nil
	}
	s.lastOffer = now
	if err := s.em.fill.reached(&s.em.pos); err != nil {
		return time.Time{}, err
	}
	// Only this goroutine sends, so the room that was there is there.
	s.out <- s.cut()
	return time.Time{}, nil
}

// push hands the batch over, waiting for room. Meanwhile nothing is read, which is
// what slows the server down; reports go on, so that it does not take us for dead.
func (s *stream) push(ctx context.Context, c *replication) error {
	if err := s.em.fill.reached(&s.em.pos); err != nil {
		return err
	}
	b := s.unsent
	if b == nil {
		if !s.waiting() {
			return nil
		}
		b = s.cut()
	}
	s.unsent = b // Kept for the next connection when this one breaks here.
	select {
	case s.out <- b:
		s.unsent = nil
		return nil
	default:
	}
	s.shutdown.look = time.Now().Add(leaveEvery)
	ticker := time.NewTicker(min(tick, s.reportEvery()))
	defer ticker.Stop()
	for {
		select {
		case s.out <- b:
			s.unsent = nil
			// The time in here was ours, not the server's silence.
			s.lastHeard = time.Now()
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case now := <-ticker.C:
			s.progress.tell(s, now)
			if err := s.reportIfDue(c, now); err != nil {
				return err
			}
			if err := s.shutdown.leaving(ctx, s, now); err != nil {
				return err
			}
		}
	}
}

// cut takes the batch and begins a new one with what must stay.
func (s *stream) cut() *batch {
	failpoint.At("source.stream.hand")
	b := s.em.batch
	n := len(b.records) - s.holds()
	held := b.records[n:]
	b.records = b.records[:n]
	s.em.hint = n
	s.em.carry(held)
	s.metrics.Add("changes_total", int64(n))
	s.figures.handed(b, s.em)
	return b
}

// keepalive takes in how far the server has come. Between transactions all that
// committed before that has been sent, so it is a position to resume from.
func (s *stream) keepalive(end uint64, reply bool) {
	s.askedBack = s.askedBack || reply
	s.shutdown.heard(reply, end)
	if !s.open() && end > s.em.pos.end {
		s.em.pos.end, s.em.pos.lsn = end, end
		s.pending = true
	}
	if reply {
		s.nextTick = time.Time{}
	}
}

// look does what is due between messages: marks, heartbeats, reports.
func (s *stream) look(ctx context.Context, c *replication, now time.Time) error {
	if silent := now.Sub(s.lastHeard); silent > s.set.silence {
		return retriable("pg.silent", "the server has said nothing for "+silent.Round(time.Second).String(), nil)
	}
	s.takeAsked()
	if err := s.beats.beat(ctx, s, now); err != nil {
		return err
	}
	// Invariant 1: a position that no record carries travels as a mark, behind all
	// records, and is confirmed when it comes back. Under load records carry it.
	if s.pending && !s.open() && now.Sub(s.lastMark) >= markWait {
		s.em.mark()
		failpoint.At("source.stream.mark")
		s.pending, s.lastMark = false, now
	}
	s.progress.tell(s, now)
	s.figure(now)
	s.metrics.Set("received_lag_bytes", float64(s.received-min(s.received, s.safe.Load())))
	if s.askedBack && now.Sub(s.lastSent) >= replyWait {
		s.askedBack = false
		if err := s.report(c, now); err != nil {
			return err
		}
	}
	if err := s.reportIfDue(c, now); err != nil {
		return err
	}
	s.nextTick = now.Add(tick)
	if s.askedBack {
		s.nextTick = s.lastSent.Add(replyWait)
	}
	return s.shutdown.over(now, s.safe.Load(), s.set.shutdownPatience)
}

// replyWait is the least time between two reports the server asks for; when it
// shuts down it asks again after each.
const replyWait = 100 * time.Millisecond

// reportIfDue reports when something new is safe, or when nothing was reported for
// a while.
func (s *stream) reportIfDue(c *replication, now time.Time) error {
	if s.confirmable() == s.reported && now.Sub(s.lastSent) < s.reportEvery() {
		return nil
	}
	return s.report(c, now)
}

// reportEvery is the longest time between two reports: the server gives up a connection
// that says nothing for wal_sender_timeout, and what it asks is not read while the other
// side is slow or a transaction is replayed.
func (s *stream) reportEvery() time.Duration {
	if s.patience > 0 {
		return max(50*time.Millisecond, min(s.set.statusInterval, s.patience/3))
	}
	return s.set.statusInterval
}

// confirmable is what may be confirmed now, or what was confirmed before.
func (s *stream) confirmable() uint64 {
	if s.set.confirm {
		return max(s.safe.Load(), s.floor)
	}
	return s.floor
}

func (s *stream) report(c *replication, now time.Time) error {
	safe := s.confirmable()
	if safe == 0 {
		return nil
	}
	// A server without a timeout of its own says nothing unless it is asked.
	failpoint.At("source.report")
	ask := now.Sub(s.lastHeard) > s.set.silence/4
	if err := c.status(s.received, safe, ask, now); err != nil {
		return explain(err, "reporting to the server")
	}
	failpoint.At("source.reported")
	s.reported, s.lastSent = safe, now
	s.metrics.Set("confirmed_lsn", float64(safe))
	return nil
}

// shutdownWatch notices that the server wants to shut down: it has sent everything
// and asks for a report again after each one. It waits until everything is
// confirmed; when nothing can be, the connection is given up after a while, so that
// the server can go.
type shutdownWatch struct {
	end   uint64
	asked int
	since time.Time
	look  time.Time // When to ask next whether the server shuts down, and since when it does.
	left  time.Time
}

func (w *shutdownWatch) heard(reply bool, end uint64) {
	if !reply {
		return
	}
	if end != w.end {
		w.end, w.asked = end, 0
	}
	w.asked++
}

// over returns an error when the server has waited long enough.
func (w *shutdownWatch) over(now time.Time, safe uint64, patience time.Duration) error {
	const insistent = 5
	if w.asked < insistent || safe >= w.end {
		w.since = time.Time{}
		return nil
	}
	if w.since.IsZero() {
		w.since = now
	}
	if now.Sub(w.since) < patience {
		return nil
	}
	return errLeft()
}
