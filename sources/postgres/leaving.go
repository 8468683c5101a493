package postgres

import (
	"context"
	"time"
)

// A server that shuts down waits for who reads its log. While the other side of the
// stream takes nothing, nothing is read here either, so that the server's question for a
// report does not arrive: whether it shuts down is then asked over another connection.
const (
	leaveEvery = 2 * time.Second
	leaveLimit = 3 * time.Second
)

// leaving returns an error when the server has been shutting down for longer than it is
// to be kept waiting.
func (w *shutdownWatch) leaving(ctx context.Context, s *stream, now time.Time) error {
	if now.Before(w.look) {
		return nil
	}
	w.look = now.Add(leaveEvery)
	if !s.serverLeaves(ctx) {
		w.left = time.Time{}
		return nil
	}
	if w.left.IsZero() {
		w.left = now
	}
	if now.Sub(w.left) < s.set.shutdownPatience {
		return nil
	}
	return errLeft()
}

// errLeft gives a connection up so that the server can go. What waits to be handed over
// stays, and nothing is lost: it was not confirmed.
func errLeft() error {
	return retriable("pg.shutdown", "the server shuts down and waits for what is not safe yet; the connection is given up", nil)
}

// serverLeaves asks whether the server shuts down.
func (s *stream) serverLeaves(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, leaveLimit)
	defer cancel()
	side, err := s.catalog(ctx)
	if err == nil {
		if err = side.Ping(ctx); err == nil {
			return false
		}
		s.dropSide(ctx)
	}
	code := sqlState(err)
	return code == "57P01" || code == "57P03"
}
