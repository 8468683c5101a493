package oracle

import (
	"testing"
	"time"

	"github.com/tidemill/tidemill/torture/storm"
)

// TestNothingWrong captures a storm and restarts the worker in its middle: nothing is
// wrong, however deliveries are promised, and a restart at the end writes nothing anew.
func TestNothingWrong(t *testing.T) {
	for name, once := range map[string]bool{"exactly once": true, "at least once": false} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, once, storm.Options{Seed: 7, Clients: 4, TPS: -1, BigTx: 600, DDL: 0.05, Hold: time.Millisecond})
			stop := s.work(3)
			s.settle()
			s.blow(100)
			stop()
			s.blow(20)
			stop = s.work(3)
			s.blow(100)
			s.finish()
			for _, a := range s.check() {
				t.Error(a)
			}
			stop()
			before := s.reader.Stats().Records
			s.work(3)
			s.finish()
			const own = 3 // The transaction begins, has its manifest and ends.
			if n := s.reader.Stats().Records - before; n != own {
				t.Errorf("after a restart %d records came with a transaction of %d", n, own)
			}
		})
	}
}
