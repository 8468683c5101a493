package chaos

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// MonitorOptions say what a monitor watches.
type MonitorOptions struct {
	// Database is captured by Connector, through the replication slot Slot, into topics
	// that begin with Prefix and a dot.
	Database, Connector, Slot, Prefix string
	// Mark is a statement that writes a row into Table, in a transaction of its own, and
	// returns the number that is the row's key.
	Mark, Table string
	// Memory is how many bytes the worker may take, 0 for as many as it wants.
	Memory int64
	// Marked is told of each marker that was written: its number, and a moment before that;
	// nil for nobody.
	Marked func(id int64, made time.Time)
}

const (
	markEvery   = 50 * time.Millisecond
	sampleEvery = 250 * time.Millisecond
)

// mark is a marker row: known to be committed before the log was at lsn.
type mark struct {
	id   int64
	made time.Time // Before it was written.
	lsn  uint64
}

// Monitor watches a connector while things go wrong. Its methods may be called by any
// goroutine.
type Monitor struct {
	w *World
	o MonitorOptions
	r *reader

	writing sync.Mutex  // Held while a marker is written, and to have none written.
	settled atomic.Bool // See Settled.

	mu      sync.Mutex // guards the following
	marks   []mark     // Those that are not seen in Kafka yet, oldest first.
	made    time.Time  // When the newest of those that were seen was written,
	read    time.Time  // and when it was seen.
	usage   Usage
	samples int

	sampling sync.Mutex // Held while a sample is taken; guards the following.
	paused   bool
	first    uint64 // What was confirmed when sampling began: a new slot begins with a position that nobody confirmed.
}

// Usage is what the worker has used at most.
type Usage struct {
	RSS        int64 `json:"rss_bytes"`
	Goroutines int   `json:"goroutines"`
	Files      int   `json:"files"`
}

// NewMonitor prepares a monitor of a database.
func (w *World) NewMonitor(o MonitorOptions) (*Monitor, error) {
	m := &Monitor{w: w, o: o}
	r, err := newReader(w, o.Prefix+"."+o.Table, o.Connector, m.arrived)
	m.r = r
	return m, err
}

// Run writes markers, follows them and takes samples until ctx is done.
func (m *Monitor) Run(ctx context.Context) error {
	defer m.r.close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.r.run(ctx) })
	group.Go(func() error { return m.write(ctx) })
	group.Go(func() error { return m.sample(ctx) })
	group.Go(func() error { return m.watchProcesses(ctx) })
	return group.Wait()
}

// Samples tells how often it was looked whether PostgreSQL was told to forget too much.
func (m *Monitor) Samples() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.samples
}

// Usage returns what the worker has used at most so far.
func (m *Monitor) Usage() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usage
}

// write inserts markers, whatever happens to the server.
func (m *Monitor) write(ctx context.Context) error {
	for ctx.Err() == nil {
		_ = m.writeUntilLost(ctx) // The server is gone or has cut us off: both are meant.
		pause(ctx, markEvery)
	}
	return nil
}

func (m *Monitor) writeUntilLost(ctx context.Context) error {
	conn, err := m.w.Connect(ctx, m.o.Database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		m.writing.Lock()
		next := mark{made: time.Now()}
		err := m.markOnce(ctx, conn, &next)
		m.writing.Unlock()
		if err != nil {
			return err // Whether it is there nobody knows.
		}
		if !pause(ctx, markEvery) {
			return nil
		}
	}
}

// markOnce writes a marker. The caller holds writing.
func (m *Monitor) markOnce(ctx context.Context, conn *pgx.Conn, next *mark) error {
	if err := conn.QueryRow(ctx, m.o.Mark).Scan(&next.id); err != nil {
		return err
	}
	if err := conn.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").Scan(&next.lsn); err != nil {
		return err
	}
	if m.o.Marked != nil {
		m.o.Marked(next.id, next.made)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.marks = append(m.marks, *next)
	return nil
}

// Hold stops the writing of markers until release is called, and waits until those that
// were written have come to Kafka.
func (m *Monitor) Hold(ctx context.Context) (release func(), err error) {
	m.writing.Lock()
	for {
		m.mu.Lock()
		left := len(m.marks)
		m.mu.Unlock()
		if left == 0 {
			return m.writing.Unlock, nil
		}
		if !pause(ctx, 20*time.Millisecond) {
			m.writing.Unlock()
			return nil, fmt.Errorf("%d markers have not come to Kafka: %w", left, context.Cause(ctx))
		}
	}
}

// arrived forgets the marks that were read.
func (m *Monitor) arrived(seen func(id int64) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.marks[:0]
	for _, k := range m.marks {
		if !seen(k.id) {
			kept = append(kept, k)
		} else if k.made.After(m.made) {
			m.made, m.read = k.made, time.Now()
		}
	}
	m.marks = kept
}

// Recovered waits until a marker that was written after since has been read from Kafka,
// and returns how long after since that was.
func (m *Monitor) Recovered(ctx context.Context, since time.Time) (time.Duration, error) {
	for {
		m.mu.Lock()
		made, read := m.made, m.read
		m.mu.Unlock()
		if made.After(since) {
			return max(0, read.Sub(since)), nil
		}
		if !pause(ctx, 10*time.Millisecond) {
			return time.Since(since), fmt.Errorf("no change made after the fault has come to Kafka in %v", time.Since(since).Round(time.Millisecond))
		}
	}
}

// Settled says that the connector has begun. A worker that kills itself while it begins
// makes the slot anew, and what was written before that comes when the tables are read
// again: until it has, positions are not held against Kafka.
func (m *Monitor) Settled() { m.settled.Store(true) }

// sample holds the slot against Kafka, four times a second.
func (m *Monitor) sample(ctx context.Context) error {
	for ctx.Err() == nil {
		m.sampleOnce(ctx)
		pause(ctx, sampleEvery)
	}
	return nil
}

func (m *Monitor) sampleOnce(ctx context.Context) {
	m.sampling.Lock()
	defer m.sampling.Unlock()
	if m.paused {
		return
	}
	confirmed, err := m.confirmed(ctx)
	switch {
	case err != nil || confirmed == 0:
	case m.first == 0, m.w.o.Points != "" && !m.settled.Load(), m.r.snapshotting(): // A snapshot that begins anew has a new slot.
		m.first = confirmed
	case confirmed > m.first:
		m.judge(ctx, confirmed)
	}
}

// confirmed asks the server how far it was told to forget.
func (m *Monitor) confirmed(ctx context.Context) (lsn uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := m.w.Connect(ctx, m.o.Database)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, "SELECT coalesce(confirmed_flush_lsn, '0/0') - '0/0'::pg_lsn FROM pg_replication_slots WHERE slot_name = $1", m.o.Slot).Scan(&lsn)
	return lsn, err
}

// judge compares the confirmed position with what can be read from Kafka after it was
// confirmed: all markers before it, and an offset as far as it.
func (m *Monitor) judge(ctx context.Context, confirmed uint64) {
	m.mu.Lock()
	var due []mark
	for _, k := range m.marks {
		if k.lsn <= confirmed {
			due = append(due, k)
		}
	}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := m.r.catchUp(ctx); err != nil {
		return // The broker is gone; the next sample tells.
	}
	m.mu.Lock()
	m.samples++
	m.mu.Unlock()
	for _, k := range due {
		if !m.r.has(k.id) {
			m.w.o.Journal.Found(AnomalyEarlyAck, "%s is confirmed to PostgreSQL, but marker %d, committed before %s, cannot be read from Kafka", lsnText(confirmed), k.id, lsnText(k.lsn))
		}
	}
	if stored := m.r.storedPosition(); confirmed > stored {
		m.w.o.Journal.Found(AnomalyEarlyAck, "%s is confirmed to PostgreSQL, but the stored offsets reach only to %s", lsnText(confirmed), lsnText(stored))
	}
}

// lsnText writes a position as PostgreSQL does.
func lsnText(lsn uint64) string { return fmt.Sprintf("%X/%X", lsn>>32, uint32(lsn)) }
