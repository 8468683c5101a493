package postgres

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// spillMemory is how much of transactions in progress stays in memory, all together;
// spillPattern is how their files are called.
const (
	spillMemory  = 8 << 20
	spillPattern = "tx-*.spill"
)

// spillStore holds the transactions that the server sends before it knows whether they
// commit. It belongs to the goroutine of the stream.
type spillStore struct {
	dir       string
	most      int64 // Bytes on disk.
	onDisk    int64
	inMemory  int64
	txs       map[uint32]*spilled
	replaying *spilled
	prepared  bool // The directory is there, and empty.
	onSpill   func()
}

func newSpillStore(dir string, most int64) *spillStore {
	return &spillStore{dir: dir, most: most, txs: map[uint32]*spilled{}, onSpill: func() {}}
}

// spillDir is where the task's transactions in progress go. Directories that several
// tasks may share get one below them for each.
func spillDir(set *settings, env *connect.SourceTaskEnv) string {
	if set.spillDir == "" && env.StateDir != "" {
		return filepath.Join(env.StateDir, "transactions")
	}
	h := fnv.New64a()
	for _, part := range []string{env.Connector, set.host, fmt.Sprint(set.port), set.database, set.slot} {
		h.Write([]byte(part + "\x00"))
	}
	base := set.spillDir
	if base == "" {
		base = os.TempDir()
	}
	return filepath.Join(base, fmt.Sprintf("tidemill-transactions-%016x", h.Sum64()))
}

// clear removes what a process that was killed has left.
func (s *spillStore) clear() error {
	left, err := filepath.Glob(filepath.Join(s.dir, spillPattern))
	if err != nil {
		return err
	}
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// begin returns the transaction of a number, as its next block begins. The first block
// makes it.
func (s *spillStore) begin(xid uint32, first bool) (*spilled, error) {
	t := s.txs[xid]
	switch {
	case first:
		if err := s.drop(xid); err != nil {
			return nil, err
		}
		t = &spilled{xid: xid}
		s.txs[xid] = t
	case t == nil:
		return nil, errors.New("a block of a transaction came, but not its first")
	}
	return t, nil
}

// add keeps a message of a transaction.
func (s *spillStore) add(t *spilled, e spillEntry) error {
	n := int64(entryHead + len(e.message))
	if len(t.buf) == 0 {
		t.buf = append(t.buf, make([]byte, blockHead)...)
	}
	if len(t.buf) > blockHead && int64(len(t.buf))+n > blockSize {
		if err := s.spill(t, nil); err != nil {
			return err
		}
	}
	t.bytes += n
	t.buf = appendHead(t.buf, e)
	if n > blockSize {
		// It goes to the file at once, without another copy of it.
		s.inMemory += entryHead
		return s.spill(t, e.message)
	}
	t.buf = append(t.buf, e.message...)
	s.inMemory += n
	for s.inMemory > spillMemory {
		if err := s.spill(s.largest(), nil); err != nil {
			return err
		}
	}
	return nil
}

// largest returns the transaction that takes the most memory.
func (s *spillStore) largest() (most *spilled) {
	for _, t := range s.txs {
		if most == nil || len(t.buf) > len(most.buf) {
			most = t
		}
	}
	return most
}

// spill writes what a transaction has in memory to its file, and large behind it.
func (s *spillStore) spill(t *spilled, large []byte) error {
	n := int64(len(t.buf) + len(large))
	if s.onDisk+n > s.most {
		return errSpillFull
	}
	if t.file == nil {
		if err := s.open(t); err != nil {
			return err
		}
	}
	if err := failpoint.Fail("source.spill.write"); err != nil {
		return err
	}
	s.inMemory -= int64(len(t.buf) - blockHead)
	if err := t.flush(large); err != nil {
		return err
	}
	failpoint.At("source.spill.written")
	s.onDisk += n
	return nil
}

func (s *spillStore) open(t *spilled) error {
	if !s.prepared {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return err
		}
		s.prepared = true
	}
	f, err := os.CreateTemp(s.dir, fmt.Sprintf("tx-%d-*.spill", t.xid))
	if err != nil {
		return err
	}
	t.file = f
	s.onSpill()
	return nil
}

// take removes a transaction from the store, to be replayed; it is the caller's to
// release.
func (s *spillStore) take(xid uint32) *spilled {
	t := s.txs[xid]
	delete(s.txs, xid)
	if t != nil {
		s.replaying = t
	}
	return t
}

// release lets go of a transaction's memory and file.
func (s *spillStore) release(t *spilled) error {
	if s.replaying == t {
		s.replaying = nil
	}
	s.inMemory -= int64(max(0, len(t.buf)-blockHead))
	s.onDisk -= t.written
	t.buf, t.written = nil, 0
	return t.close()
}

// drop forgets a transaction, if it is known.
func (s *spillStore) drop(xid uint32) error {
	t := s.txs[xid]
	if t == nil {
		return nil
	}
	delete(s.txs, xid)
	return s.release(t)
}

// reset forgets all transactions: the next connection sends them anew.
func (s *spillStore) reset() error {
	var faults []error
	if s.replaying != nil {
		faults = append(faults, s.release(s.replaying))
	}
	for xid := range s.txs {
		faults = append(faults, s.drop(xid))
	}
	return errors.Join(faults...)
}

// close forgets all transactions and removes the directory, if nothing else is in it.
func (s *spillStore) close() error {
	err := s.reset()
	if s.prepared {
		// Another's file there is no fault of ours.
		_ = os.Remove(s.dir)
		s.prepared = false
	}
	return err
}

// heaviest returns the transactions with the most bytes, at most n of them.
func (s *spillStore) heaviest(n int) []*spilled {
	list := make([]*spilled, 0, len(s.txs))
	for _, t := range s.txs {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *spilled) int {
		if a.bytes != b.bytes {
			return int(min(1, max(-1, b.bytes-a.bytes)))
		}
		return int(a.xid) - int(b.xid)
	})
	return list[:min(n, len(list))]
}
