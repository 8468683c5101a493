package postgres

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

// createSlot makes the slot, or a temporary one for its snapshot, and tells what it
// waits for when that takes long.
func (w *work) createSlot(ctx context.Context, side *db, rep *replication, temporary bool) (slot newSlot, err error) {
	name := w.set.slot
	if temporary {
		const most, suffix = 63, "_snapshot"
		name = name[:min(len(name), most-len(suffix))] + suffix
	}
	made, mctx := errgroup.WithContext(ctx)
	finished := make(chan struct{})
	made.Go(func() error {
		defer close(finished)
		slot, err = rep.createSlot(mctx, name, temporary, w.failover && !temporary)
		return err
	})
	made.Go(func() error {
		ticker := time.NewTicker(3 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-finished:
				return nil
			case <-ticker.C:
				if pid := side.waitingFor(mctx); pid != "" {
					w.log.Info("The slot waits for transactions that began before it; the oldest runs in a server process.", "process", pid)
				}
			}
		}
	})
	if err := made.Wait(); err != nil {
		return slot, err
	}
	w.madeSlot = w.madeSlot || !temporary
	return slot, nil
}

// release undoes what a first snapshot that did not come to its end has made, and
// drops the slot when slot.drop.on.stop asks for it.
func (w *work) release(ctx context.Context) {
	w.closeSpill()
	half := w.fresh() && !w.settled && (w.madeSlot || w.madePublication)
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
	if w.madeSlot || w.set.slotDrop {
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
