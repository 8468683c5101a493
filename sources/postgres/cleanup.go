package postgres

import (
	"context"
	"errors"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// createSlot makes the slot, or a temporary one for its snapshot, and tells what it
// waits for when that takes long.
func (w *work) createSlot(ctx context.Context, side *db, rep *replication, temporary bool) (newSlot, error) {
	if temporary { // Nobody reads from it.
		return w.makeSlot(ctx, side, rep, temporarySlot(w.set.slot, time.Now()), true)
	}
	return w.set.soundSlot(ctx, side, w.set.slot, w.log, func() (newSlot, error) { return w.makeSlot(ctx, side, rep, w.set.slot, false) })
}

func (w *work) makeSlot(ctx context.Context, side *db, rep *replication, name string, temporary bool) (slot newSlot, err error) {
	made, mctx := errgroup.WithContext(ctx)
	finished := make(chan struct{})
	made.Go(func() error {
		defer close(finished)
		slot, err = rep.createSlot(mctx, name, temporary, w.failover && !temporary)
		return err
	})
	made.Go(func() error {
		w.tellWaiting(mctx, side, finished)
		return nil
	})
	err = made.Wait()
	// Nobody knows whether a slot was made whose connection broke meanwhile; if so, it is ours.
	w.madeSlot = w.madeSlot || !temporary && sqlState(err) == ""
	return slot, err
}

// temporarySlot returns a name that no slot of an earlier attempt has: the server
// drops a temporary slot only when it notices that its connection is gone.
func temporarySlot(slot string, now time.Time) string {
	const most = 63
	suffix := "_snapshot_" + strconv.FormatInt(now.UnixMilli(), 36)
	return slot[:min(len(slot), most-len(suffix))] + suffix
}

// tellWaiting says what the creation of a slot waits for, in the log and as the
// task's trouble, until it is finished.
func (w *work) tellWaiting(ctx context.Context, side *db, finished <-chan struct{}) {
	ticker := time.NewTicker(3 * time.Second)
	defer ticker.Stop()
	told := ""
	for {
		select {
		case <-finished:
			return
		case <-ticker.C:
		}
		why, mend := side.waitingFor(ctx)
		if why == "" {
			continue
		}
		e := retriable("pg.slot.waiting", "the slot cannot be made yet: "+why, nil)
		e.Place, e.Mend = w.set.slot, mend
		w.trouble.Store(e)
		if why != told {
			w.log.Warn("The creation of the slot waits.", "for", why, "mend", mend)
			told = why
		}
	}
}

// release undoes what a first snapshot that gave no rows has made, and drops the slot when slot.drop.on.stop asks for it.
func (w *work) release(ctx context.Context) {
	w.closeSpill()
	half := w.fresh() && !w.settled && w.begun == nil && (w.madeSlot || w.madePublication)
	if !half && !w.set.slotDrop {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	d, err := w.set.open(ctx, w.app)
	if err != nil {
		w.log.Warn("What a start that failed has made on the server could not be removed; the next start uses it.", "error", err)
		return
	}
	defer d.close(ctx)
	var faults []error
	if half && w.madeSlot || w.set.slotDrop {
		faults = append(faults, w.dropWhenFree(ctx, d))
	}
	if half && w.madePublication {
		faults = append(faults, d.exec(ctx, "DROP PUBLICATION IF EXISTS "+quoteIdent(w.set.publication)))
	}
	if err := errors.Join(faults...); err != nil {
		w.log.Warn("What a start that failed has made on the server could not be removed; the next start uses it.", "error", err)
	}
}

// dropWhenFree drops the slot as soon as the server has noticed that nobody reads
// from it any more.
func (w *work) dropWhenFree(ctx context.Context, d *db) error {
	for {
		if err := d.dropSlot(ctx, w.set.slot); err != nil {
			return err
		}
		info, err := d.slot(ctx, w.set.slot)
		if err != nil || info == nil {
			return err
		}
		if !pause(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
}
