package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// work writes transactions into the database until ctx is done: alone and several at
// once, small and large, some rolled back in part or as a whole.
func (w *world) work(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(w.Seed, 2))
	for ctx.Err() == nil {
		if rng.IntN(100) < 15 {
			w.db.other(uint64(rng.IntN(1 << 14)))
		}
		open := make([]*writer, 1+rng.IntN(3)*rng.IntN(2))
		for i := range open {
			open[i] = newWriter(w.db, rng)
		}
		for len(open) > 0 {
			i := rng.IntN(len(open))
			if !open[i].step() {
				open = append(open[:i], open[i+1:]...)
			}
			if rng.IntN(8) == 0 && !rest(ctx, time.Duration(rng.IntN(300))*time.Millisecond) {
				break
			}
		}
		for _, o := range open {
			w.db.end(o.tx, false)
		}
		pause := time.Duration(rng.ExpFloat64() * float64(6*time.Second))
		if rng.IntN(40) == 0 {
			pause = time.Duration(rng.IntN(240)) * time.Second // Nothing happens for a while.
		}
		rest(ctx, pause)
	}
	return nil
}

// rest waits and tells whether ctx is still good.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// writer makes one transaction, step by step.
type writer struct {
	db      *database
	rng     *rand.Rand
	tx      *transaction
	left    int
	abort   bool
	sub     int // Steps until the subtransaction ends; 0 when there is none.
	removed map[string]bool
}

func newWriter(db *database, rng *rand.Rand) *writer {
	wr := &writer{db: db, rng: rng, tx: db.begin(), left: 1 + rng.IntN(4), abort: rng.IntN(12) == 0, removed: map[string]bool{}}
	switch n := rng.IntN(200); {
	case n < 16:
		wr.left += rng.IntN(60)
	case n == 16:
		wr.left += 200 + rng.IntN(600)
	}
	return wr
}

// step makes the next change, or ends the transaction and returns false.
func (wr *writer) step() bool {
	if !wr.db.running(wr.tx) {
		return false // The server has died.
	}
	if wr.left == 0 {
		wr.db.end(wr.tx, !wr.abort)
		return false
	}
	wr.left--
	switch {
	case wr.sub == 0 && wr.rng.IntN(15) == 0:
		wr.db.save(wr.tx)
		wr.sub = 2 + wr.rng.IntN(10)
	case wr.sub == 1 && wr.rng.IntN(2) == 0:
		wr.db.rollbackTo(wr.tx)
		wr.sub = 0
	case wr.sub > 1:
		wr.sub--
	}
	const ids = 60
	t, id := wr.db.tables[wr.rng.IntN(len(wr.db.tables))], int64(1+wr.rng.IntN(ids))
	name := fmt.Sprint(t.name, id)
	remove := wr.rng.IntN(5) == 0 && !wr.removed[name]
	if wr.db.write(wr.tx, t, id, remove, strings.Repeat("x", wr.rng.IntN(40))) && remove {
		wr.removed[name] = true
	}
	return true
}
