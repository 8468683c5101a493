package streams

import (
	"sync/atomic"

	"github.com/tidemill/tidemill/streams/status"
)

// transactionMetrics are the figures of an application in transaction mode, in the
// process that does its work; elsewhere they stand still.
type transactionMetrics struct {
	// Committed is how many transactions of the database were taken in and committed,
	// snapshots included.
	Committed atomic.Int64
	// HeldRecords wait until their transaction is there whole, HeldBytes is about what
	// they take in memory, and SpilledBytes on the disk.
	HeldRecords, HeldBytes, SpilledBytes atomic.Int64
	// Spilled is how many records have gone to the disk.
	Spilled atomic.Int64
	// StagedBytes is how many bytes of rows that transactions have changed went to the
	// disk before their commit, because they did not fit into memory, and of records on
	// their way to other operators. PeakBytes is the most that the changes of one commit
	// took in memory.
	StagedBytes, PeakBytes atomic.Int64
	// LSN is the position in the log of the database that the stores are true for, and
	// NewestLSN that of the newest transaction that is known to have ended: the bytes
	// between them, and Waiting, of how many ended transactions not all has come, are how
	// far the application is behind.
	LSN, NewestLSN atomic.Uint64
	Waiting        atomic.Int64
}

// status is what of the figures others are told.
func (m *transactionMetrics) status() *status.Epochs {
	return &status.Epochs{
		Committed: m.Committed.Load(), HeldRecords: m.HeldRecords.Load(), HeldBytes: m.HeldBytes.Load(),
		SpilledBytes: m.SpilledBytes.Load(), SpilledRecords: m.Spilled.Load(), StagedBytes: m.StagedBytes.Load(), PeakBytes: m.PeakBytes.Load(),
		LSN: m.LSN.Load(), NewestLSN: m.NewestLSN.Load(), Waiting: m.Waiting.Load(),
	}
}

// measure brings the figures up to date.
func (e *epochs) measure() {
	f := e.gate.Figures()
	m := e.metrics
	m.HeldRecords.Store(f.Events)
	m.HeldBytes.Store(f.InMemory)
	m.SpilledBytes.Store(f.OnDisk)
	m.Spilled.Add(f.PutAside - e.spilled)
	e.spilled = f.PutAside
	m.Waiting.Store(int64(f.Waiting))
	m.LSN.Store(e.saved.LSN())
	m.NewestLSN.Store(f.Newest.LSN())
}
