package worker

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/internal/kafkalog"
)

// Run writes what was put until ctx is done. A write that fails is tried again: the
// topic must not end up with an older state than the newest.
func (s *statusStore) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		for s.writeOut(ctx) != nil {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
		}
	}
}

// writeOut writes what is pending now.
func (s *statusStore) writeOut(ctx context.Context) error {
	s.mu.Lock()
	entries := make([]kafkalog.Entry, len(s.order))
	for i, key := range s.order {
		entries[i] = kafkalog.Entry{Key: []byte(key), Value: s.pending[key]}
	}
	clear(s.pending)
	s.order = s.order[:0]
	s.writing = true
	s.mu.Unlock()
	err := s.journal.Put(ctx, entries...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	if err != nil {
		s.log.Warn("writing states", "error", err)
		s.requeue(entries)
		return err
	}
	if len(s.order) == 0 {
		close(s.written)
		s.written = make(chan struct{})
	}
	return nil
}

// requeue puts back entries that were not written, unless newer ones have come. The
// caller holds mu.
func (s *statusStore) requeue(entries []kafkalog.Entry) {
	newer := s.order
	s.order = nil
	for _, e := range entries {
		if _, ok := s.pending[string(e.Key)]; !ok {
			s.pending[string(e.Key)] = e.Value
			s.order = append(s.order, string(e.Key))
		}
	}
	s.order = append(s.order, newer...)
}

// flush waits until everything put before is written.
func (s *statusStore) flush(ctx context.Context) {
	for {
		s.mu.Lock()
		done, written := len(s.order) == 0 && !s.writing, s.written
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-written:
		case <-ctx.Done():
			return
		}
	}
}
