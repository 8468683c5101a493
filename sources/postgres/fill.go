package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
	"github.com/tidemill/tidemill/streams/state"
)

// fill keeps the values of columns that the server may store apart (TOAST), since the
// log does not repeat one that an update leaves alone. With unavailable.value.mode=fill
// such a value is put into the event from here: exactly the one the row had at that
// place of the log, however often the place is read again.
//
// Every value is kept under the position of its change, so that a reader that begins
// again at an earlier position finds what was true there. Versions that no restart can
// ask for any more are dropped when a newer one comes.
//
// What was kept up to which position is kept as well, and is on the disk before any
// position is handed over. When that is behind a stored offset, because the directory is
// another, or of another history or from before a gap, all is forgotten, and the tables
// are read again beside the log; until a row is read its unavailable values have the
// placeholder.
//
// How large a row is says little of whether the server stores a part of it apart: other
// columns, which we may not see, were larger once, or the table's toast_tuple_target was
// lowered. So all values are kept that ever could be, see apartness.
//
// Keys of the store: the server's number of the table, the key of the row behind its
// length, commit LSN and ordinal as big-endian numbers, the name of the column. Values
// begin with the server's number of the column: names may pass to other tables and
// columns, whose values must not be taken for theirs.
type fill struct {
	db     *state.Disk
	values state.ID
	marks  state.ID
	drops  state.ID
	reader state.Reader
	safe   *atomic.Uint64

	// wants are the fields of the row being made that the log does not hold, and after
	// complete those that are not known. The stream's own, as the reader.
	wants []int

	mu     sync.Mutex // Guards what follows: the readers of a snapshot put as well.
	fault  error      // The first; nothing is handed over any more.
	batch  state.Batch
	prefix []byte
	value  []byte
	oldest uint64 // A commit that no note of what is to be dropped is older than.
	// end and ordinal are those of the mark.
	end     uint64
	ordinal int64
	lasting bool // All of it is on the disk.
}

// fillBatch is how many bytes wait to be written at most.
const fillBatch = 1 << 20

// fillMark is under which key the position is kept up to which nothing is missing.
var fillMark = []byte("complete")

// openFill opens the values kept in a directory of the task's own.
func openFill(dir string, safe *atomic.Uint64) (*fill, error) {
	if dir == "" {
		return nil, fatal("pg.fill.dir", "unavailable.value.mode=fill needs a directory on this machine, and the worker has none", nil, "set plugin.state.dir in the worker's settings")
	}
	dir = filepath.Join(dir, "values")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fillFault("the directory of large values cannot be made", err)
	}
	// The memory that it takes stands beside that of rows on their way.
	const cache, newest = 32 << 20, 8 << 20
	db, err := state.OpenDisk(dir, state.DiskOptions{CacheBytes: cache, MemTableBytes: newest})
	if err != nil {
		return nil, fillFault("the directory of large values cannot be opened", err)
	}
	f := &fill{db: db, safe: safe}
	if f.values, err = db.Open("values", 0); err == nil {
		f.marks, err = db.Open("marks", 0)
	}
	if err == nil {
		f.drops, err = db.Open("drops", 0)
	}
	if err != nil {
		return nil, errors.Join(fillFault("the directory of large values cannot be read", err), db.Close())
	}
	f.reader, f.batch = db.Reader(f.values), db.Batch()
	return f, nil
}

func fillFault(what string, err error) error {
	return retriable("pg.fill.state", what, err)
}

// close is safe on nil.
func (f *fill) close() error {
	if f == nil {
		return nil
	}
	return f.db.Close()
}

// covers tells whether nothing is missing up to a position.
func (f *fill) covers(p *position) (bool, error) {
	mark, found, err := f.db.Reader(f.marks).Get(nil, fillMark)
	const places = 16
	if err != nil || !found || len(mark) < places || string(mark[places:]) != p.line().history() {
		return false, err
	}
	end, ordinal := binary.BigEndian.Uint64(mark), int64(binary.BigEndian.Uint64(mark[8:]))
	return end > p.end || end == p.end && ordinal >= p.within(), nil
}

// history names the history that values belong to: one server, and no gap.
func (l *lineage) history() string {
	if l == nil {
		return ""
	}
	return strconv.FormatInt(l.gapAt, 10) + " " + l.systemID
}

// within is how many changes a position has of the transaction it stands in.
func (p *position) within() int64 {
	if p.commit == 0 {
		return 0
	}
	return p.ordinal
}

// forget begins anew at a position.
func (f *fill) forget(p *position) error {
	f.mu.Lock()
	f.batch.DeleteRange(f.values, state.Range{})
	f.batch.DeleteRange(f.drops, state.Range{})
	f.oldest, f.fault, f.end, f.lasting = nothingToDrop, nil, 0, false
	f.mu.Unlock()
	return f.reached(p)
}

// reached notes, and makes lasting, that all values up to a position are kept. It comes
// before the position is handed over, and so before an offset of it is stored: also a
// process that is killed, or a machine that dies, leaves no offset without its values.
func (f *fill) reached(p *position) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault == nil {
		f.fault = f.drop()
	}
	if f.fault != nil {
		return f.fault
	}
	ordinal := p.within()
	if p.end == f.end {
		ordinal = max(ordinal, f.ordinal) // What was seen is passed over after a connection broke.
	}
	if f.lasting && p.end == f.end && ordinal == f.ordinal && f.batch.Size() == 0 {
		return nil // Asked again, for a batch that waits.
	}
	f.end, f.ordinal = p.end, ordinal
	f.batch.Put(f.marks, fillMark, append(appendVersion(nil, f.end, f.ordinal), p.line().history()...))
	if err := f.commit(); err != nil {
		return err
	}
	if err := f.db.Sync(); err != nil {
		return fillFault("large values cannot be kept", err)
	}
	f.lasting = true
	return nil
}

func (f *fill) commit() error {
	if f.batch.Size() == 0 {
		return nil
	}
	failpoint.At("source.fill.commit")
	f.lasting = false
	err := f.batch.Commit()
	f.batch = f.db.Batch()
	if err != nil {
		return fillFault("large values cannot be kept", err)
	}
	return nil
}

// appendLengthy appends b behind its length, so that no name is the beginning of
// another.
func appendLengthy(dst []byte, b string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

func appendVersion(dst []byte, commit uint64, ordinal int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, commit), uint64(ordinal))
}

// splitVersion reads what stands behind the table in a key of the store.
func splitVersion(key []byte, table int) (commit uint64, ordinal int64, column string, ok bool) {
	rest := key[table:]
	n, size := binary.Uvarint(rest)
	if size <= 0 || uint64(len(rest)-size) < n+16 {
		return 0, 0, "", false
	}
	return splitTail(rest[size+int(n):])
}

func splitTail(b []byte) (commit uint64, ordinal int64, column string, ok bool) {
	if len(b) < 16 {
		return 0, 0, "", false
	}
	return binary.BigEndian.Uint64(b), int64(binary.BigEndian.Uint64(b[8:])), string(b[16:]), true
}

// row returns where the values of a row are kept, without their versions. The caller
// holds mu.
func (f *fill) row(p *plan, key connect.Value) []byte {
	f.prefix = binary.BigEndian.AppendUint32(f.prefix[:0], p.relation.oid)
	text := connect.AppendJSON(f.value[:0], p.key, key)
	f.prefix = appendLengthy(f.prefix, string(text))
	f.value = text[:0]
	return f.prefix
}

// follow takes in a change on its way into an envelope. A fault shows when something is
// to be handed over.
func (f *fill) follow(c *change, pos *position) {
	if f.fault != nil {
		return
	}
	switch {
	case c.op.Str() == connect.OpTruncate:
		f.emptied(c.plan, pos)
	case c.after.IsNull():
		f.note(f.gone(c.plan, c.key, pos))
	default:
		f.note(f.put(fillRow{plan: c.plan, key: c.key, row: c.after, unknown: f.wants}, pos))
	}
}

func (f *fill) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault == nil {
		f.fault = err
	}
}

// fillRow is a row whose values are to be kept, but those of the fields that are not
// known.
type fillRow struct {
	plan     *plan
	key, row connect.Value
	unknown  []int
}

// put keeps the values of a row as of a position.
func (f *fill) put(r fillRow, pos *position) error {
	if r.key.IsNull() || r.row.IsNull() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	st, fields := r.row.Struct(), r.plan.row.Fields()
	var at []byte
	for i := range r.plan.columns {
		c := &r.plan.columns[i]
		if !c.mayBeApart(st) || slices.Contains(r.unknown, c.field) {
			continue
		}
		if at == nil {
			commit, ordinal := pos.version()
			at = appendVersion(f.row(r.plan, r.key), commit, ordinal)
			f.prefix = at
			if err := f.tidy(at); err != nil {
				return err
			}
		}
		f.value = binary.BigEndian.AppendUint16(f.value[:0], c.number)
		f.value = appendStored(appendLengthy(append(f.value, byte(fields[c.field].Schema.Kind())), fields[c.field].Schema.Name()), st.At(c.field))
		f.batch.Put(f.values, append(at, c.name...), f.value)
	}
	return f.commitIfLarge()
}

// commitIfLarge writes what was gathered once it is much. The caller holds mu.
func (f *fill) commitIfLarge() error {
	if f.batch.Size() < fillBatch {
		return nil
	}
	return f.commit()
}

// version is the place of a change among those of its row.
func (p *position) version() (commit uint64, ordinal int64) {
	if p.commit != 0 {
		return p.commit, p.ordinal
	}
	return p.end, 0
}

// tidy drops the versions of a row that nobody can ask for: of each column those older
// than the newest one at a safe position.
func (f *fill) tidy(at []byte) error {
	prefix, safe := at[:len(at)-16], f.safe.Load()
	it := f.db.Reader(f.values).Scan(state.Range{Lo: prefix, Hi: at, Reverse: true})
	settled := map[string]bool{}
	for it.Next() {
		commit, _, column, ok := splitTail(it.Key()[len(prefix):])
		switch {
		case !ok:
		case settled[column]:
			f.batch.Delete(f.values, it.Key())
		case commit < safe:
			settled[column] = true
		}
	}
	if err := it.Close(); err != nil {
		return fillFault("large values cannot be read", err)
	}
	return nil
}

// complete puts the values that the log does not hold into a row, from the newest
// version of each before pos. key is the one the row had before the change. Those that
// are not known, or are of another type by now, stay as they are and in wants.
func (f *fill) complete(a *arena, p *plan, key, row connect.Value, pos *position) error {
	if key.IsNull() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.commit(); err != nil {
		return err
	}
	commit, ordinal := pos.version()
	prefix := f.row(p, key)
	it := f.reader.Scan(state.Range{Lo: prefix, Hi: appendVersion(bytes.Clone(prefix), commit, ordinal), Reverse: true})
	missing := map[uint16]int{}
	for i := range p.columns {
		if c := &p.columns[i]; c.number != 0 && slices.Contains(f.wants, c.field) {
			missing[c.number] = c.field
		}
	}
	for len(missing) > 0 && it.Next() {
		const size = 2
		stored := it.Value()
		if len(stored) < size {
			continue
		}
		number := binary.BigEndian.Uint16(stored)
		if number == 0 {
			break // Whose values these are is not known, or the row was gone: nothing older can be trusted.
		}
		field, wanted := missing[number]
		if !wanted {
			continue
		}
		delete(missing, number)
		if v, ok := readStored(a, p.row.Fields()[field].Schema, stored[size:]); ok {
			row.Struct().Set(field, v)
			f.wants = slices.DeleteFunc(f.wants, func(w int) bool { return w == field })
		}
	}
	if err := it.Close(); err != nil {
		return fillFault("large values cannot be read", err)
	}
	return nil
}

// checkFill makes sure that the values kept reach as far as the stream's position, and
// otherwise has the tables read again.
func (w *work) checkFill(s *stream, p *position) error {
	if w.fill == nil {
		return nil
	}
	covered, err := w.fill.covers(p)
	if err != nil || covered {
		return err
	}
	if err := w.fill.forget(p); err != nil {
		return err
	}
	if line := p.line(); w.stored == nil && (line == nil || line.gapAt == 0) {
		return nil // Nothing was ever read, so there is nothing to be missing.
	}
	w.log.Warn("The large values kept on this machine do not reach to the offset, or are from before a gap. The tables are read again beside the log; until then, values that it does not hold have the placeholder.",
		"offset", lsnText(p.end))
	s.askSnapshot(snapshotRequest{ID: "fill", Tables: []string{".*"}})
	return nil
}
