package chaos

import (
	"context"
	"os"
)

// ForgetState has the worker end in an orderly way and start again without what it keeps
// on its disk of the tables that SQL derives.
func (w *World) ForgetState(ctx context.Context) error {
	if err := w.worker.stop(ctx, stopPatience); err != nil {
		return err
	}
	if err := os.RemoveAll(w.file("state")); err != nil {
		return err
	}
	w.worker.release()
	return w.Ready(ctx)
}
