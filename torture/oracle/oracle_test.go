package oracle

import (
	"context"
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

// TestReadBeside has tables read again and again while they change and their keys move:
// what is read is what the changes have come to, each time.
func TestReadBeside(t *testing.T) {
	s := newScene(t, true, storm.Options{Seed: 5, Clients: 3, TPS: -1, BigTx: -1, DDL: -1, Hold: time.Millisecond})
	s.work(1)
	s.settle()
	for range 5 {
		s.must(s.signal(`{"id":"again","type":"execute-snapshot","data":{"data-collections":["public.acct","public.part"],"type":"incremental"}}`))
		s.blow(20)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const rows = 500 // Of 600 each time, but for those that change meanwhile.
	s.until(ctx, func() bool { return s.reader.Stats().Beside >= rows })
	s.finish()
	for _, a := range s.check() {
		t.Error(a)
	}
}
