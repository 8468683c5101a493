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
	if w.line != nil {
		w.watch.server = w.line.systemID + " " + w.set.database
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

// watchAsk is what the watch asks of the stream, which tells the number of the backlog
// that has it.
type watchAsk struct {
	request snapshotRequest
	applied chan uint64
	number  uint64 // As it was told; 0: not yet.
}

// ask hands a request over to the stream's goroutine, and tells whether it is stored with
// the position: until then whoever asks must not forget it. It belongs to the goroutine
// of the watch, which asks again.
func (s *stream) ask(t tableName, why string) bool {
	a := s.asking[t]
	if a == nil {
		a = &watchAsk{request: snapshotRequest{ID: why, Tables: []string{exactly(t)}}, applied: make(chan uint64, 1)}
		select {
		case s.asked <- a:
			s.asking[t] = a
		default: // There is no room now.
		}
		return false
	}
	select {
	case a.number = <-a.applied:
	default:
	}
	if a.number == 0 || s.beside.stored.Load() < a.number {
		return false
	}
	delete(s.asking, t)
	return true
}

// takeAsked takes in what was asked for.
func (s *stream) takeAsked() {
	for {
		select {
		case a := <-s.asked:
			s.askSnapshot(a.request)
			a.applied <- s.em.pos.backlog.version()
		default:
			return
		}
	}
}
