package postgres

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestChances counts the chances that faults have which may pass.
func TestChances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away, inUse := retriable("pg.unreachable", "away", nil), retriable("pg.slot.in_use", "in use", nil)
		fresh := func() *work {
			return &work{task: &task{set: &settings{retries: -1, slotRetries: 6, slotRetryWait: 10 * time.Second}}}
		}
		w := fresh()
		for n := 1; n < 5; n++ {
			if w.exhausted(n, away) {
				t.Fatalf("a server that was never reached is given up after %d attempts", n)
			}
		}
		if !w.exhausted(5, away) {
			t.Error("a server that was never reached is tried for ever")
		}

		w.met = true
		if w.exhausted(1000, away) {
			t.Error("a server that went away during the first snapshot is given up")
		}

		// A connection that breaks first must not take the slot's chances away: the server
		// notices only after a while that the former reader's machine is gone.
		w = fresh()
		w.met = true
		w.exhausted(1, away)
		for n := 2; n < 60; n++ {
			if w.exhausted(n, inUse) {
				t.Fatalf("a slot in use is given up after %d attempts in %v", n-1, time.Since(w.inUseSince))
			}
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Second)
		if !w.exhausted(60, inUse) {
			t.Error("a slot in use is tried for ever")
		}
		if w.exhausted(61, away) || w.exhausted(62, inUse) {
			t.Error("the chances of before were not given anew")
		}
	})
}
