package chaos

import (
	"context"
	"time"
)

// Pause has nobody look at what is confirmed until Resume is called: while a gap is
// mended the slot may be made anew, or moved by the server itself.
func (m *Monitor) Pause() {
	m.sampling.Lock()
	defer m.sampling.Unlock()
	m.paused = true
	m.r.forgetPosition()
}

// Resume ends what Pause has begun. What is confirmed by then is where it begins anew.
func (m *Monitor) Resume() {
	m.sampling.Lock()
	defer m.sampling.Unlock()
	m.paused, m.first = false, 0
}

// Forget gives up the markers that were not known to be committed before a position: the
// server that had them is gone, and another gives their numbers to others.
func (m *Monitor) Forget(ctx context.Context, from uint64) {
	m.writing.Lock()
	defer m.writing.Unlock()
	_ = m.r.catchUp(ctx) // Without a broker nothing new has come.
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.marks[:0]
	for _, k := range m.marks {
		if k.lsn <= from {
			kept = append(kept, k)
		}
	}
	m.marks = kept
	m.r.renumber(kept)
}

// Seen tells whether a marker that was written after since has been read from Kafka.
func (m *Monitor) Seen(since time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.made.After(since)
}
