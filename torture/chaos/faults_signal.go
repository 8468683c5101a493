package chaos

import (
	"context"
	"net/http"
	"time"
)

// signalFaults are what a running connector is asked to do beside its work: nothing goes
// wrong, but much can.
func signalFaults() []class {
	return []class{{"signal.incremental", 1, 0, 500 * ms, (*World).readAgain}}
}

// signalled are the tables that are read again: keys of both move while they are.
var signalled = []string{"public.acct", "public.part"}

// readAgain asks for some tables to be read while the log is.
func (w *World) readAgain(ctx context.Context, f Fault) error {
	signal := map[string]any{"id": "torture", "type": "execute-snapshot", "data": map[string]any{"data-collections": signalled, "type": "incremental"}}
	return w.onConnector(ctx, func(path string) error {
		for begun := time.Now(); ; {
			err := w.Call(ctx, http.MethodPost, path+"/signals", signal, nil)
			if err == nil {
				pause(ctx, f.Hold)
				return nil
			}
			// There may be no task right now, and nobody has promised one.
			if time.Since(begun) > f.Hold+time.Second || !pause(ctx, 50*ms) {
				w.o.Journal.Say("signal", "nobody took it: %v", err)
				return nil
			}
		}
	})
}
