package postgres

import (
	"context"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// watched returns what watches the catalogue, which lives as long as the task.
func (w *work) watched() *watch {
	if w.watch == nil {
		w.watch = &watch{set: w.set, log: w.log, metrics: w.metrics, show: w.env.Show, app: w.app}
		if w.env.StateDir != "" {
			w.watch.keep = standingFile(filepath.Join(w.env.StateDir, "publication.json"))
		}
	}
	w.watch.backfill = func(t tableName, why string) bool { return w.stream != nil && w.stream.ask(t, why) }
	return w.watch
}

// joinedAtStart deals with captured tables that the publication lacked when a
// connector started that had run before.
func (w *work) joinedAtStart(added []catalogTable) {
	for _, t := range added {
		w.watched().arrived(t)
	}
}

// readAndWatch reads the log and watches the catalogue, until one of them fails or
// ctx is done.
func (w *work) readAndWatch(ctx context.Context, rep *replication) error {
	s, watch := w.stream, w.watched()
	both, bctx := errgroup.WithContext(ctx)
	both.Go(func() error { return watch.run(bctx) })
	both.Go(func() error { return s.run(bctx, rep) })
	return both.Wait()
}

// ask hands a request over to the stream's goroutine; it may be called from any
// goroutine. False: there is no room now.
func (s *stream) ask(t tableName, why string) bool {
	select {
	case s.asked <- snapshotRequest{ID: why, Tables: []string{exactly(t)}}:
		return true
	default:
		return false
	}
}

// takeAsked takes in what was asked for.
func (s *stream) takeAsked() {
	for {
		select {
		case r := <-s.asked:
			s.askSnapshot(r)
		default:
			return
		}
	}
}
