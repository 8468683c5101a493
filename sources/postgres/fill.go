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
// What was kept up to which position is kept as well, and before any position is handed
// over. When that is behind a stored offset, because the directory is another or the
// machine lost its last writes, or of another history or from before a gap, all is
// forgotten, and the tables are read again beside the log; until a row is read its
// unavailable values have the placeholder.
//
// Keys of the store: the server's number of the table, the key of the row behind its
// length, commit LSN and ordinal as big-endian numbers, the name of the column. Values
// begin with the server's number of the column: names may pass to other tables and
// columns, whose values must not be taken for theirs.
type fill struct {
	db     *state.Disk
	values state.ID
	marks  state.ID
	reader state.Reader
	safe   *atomic.Uint64

	// wants are the fields of the row being made that the log does not hold. The
	// stream's own, as the reader.
	wants []int

	mu      sync.Mutex // Guards what follows: the readers of a snapshot put as well.
	fault   error      // The first; nothing is handed over any more.
	batch   state.Batch
	prefix  []byte
	value   []byte
	dropped []dropping // In the order of the log.
	// end and ordinal are those of the mark.
	end     uint64
	ordinal int64
}

// dropping is what becomes unreachable once its position is safe: a row, or all of a
// table.
type dropping struct {
	commit  uint64
	ordinal int64
	prefix  []byte
	table   bool
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
	db, err := state.OpenDisk(dir, state.DiskOptions{})
	if err != nil {
		return nil, fillFault("the directory of large values cannot be opened", err)
	}
	f := &fill{db: db, safe: safe}
	if f.values, err = db.Open("values", 0); err == nil {
		f.marks, err = db.Open("marks", 0)
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
	f.dropped, f.fault, f.end = nil, nil, 0
	f.mu.Unlock()
	return f.reached(p)
}

// reached notes, and makes lasting, that all values up to a position are kept. It comes
// before the position is handed over.
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
	f.end, f.ordinal = p.end, ordinal
	f.batch.Put(f.marks, fillMark, append(appendVersion(nil, f.end, f.ordinal), p.line().history()...))
	return f.commit()
}

func (f *fill) commit() error {
	if f.batch.Size() == 0 {
		return nil
	}
	failpoint.At("source.fill.commit")
	err := f.batch.Commit()
	f.batch = f.db.Batch()
	if err != nil {
		return fillFault("large values cannot be kept", err)
	}
	return nil
}

// drop drops what rows that are gone have left, once no restart comes before that.
func (f *fill) drop() error {
	safe := f.safe.Load()
	for ; len(f.dropped) > 0 && f.dropped[0].commit < safe; f.dropped = f.dropped[1:] {
		d := f.dropped[0]
		if !d.table {
			f.batch.DeleteRange(f.values, state.Range{Lo: d.prefix, Hi: appendVersion(bytes.Clone(d.prefix), d.commit, d.ordinal+1)})
			continue
		}
		it := f.db.Reader(f.values).Scan(state.Range{Lo: d.prefix, Hi: state.PrefixEnd(d.prefix)})
		for it.Next() {
			if commit, _, _, ok := splitVersion(it.Key(), len(d.prefix)); ok && commit <= d.commit {
				f.batch.Delete(f.values, it.Key())
			}
		}
		if err := it.Close(); err != nil {
			return fillFault("large values cannot be read", err)
		}
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

// kept tells whether a field's values may be stored apart: those of varying length.
func kept(s *connect.Schema) bool {
	switch s.Kind() {
	case connect.KindString, connect.KindBytes, connect.KindArray, connect.KindMap, connect.KindStruct:
		return true
	}
	return false
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
		f.gone(c.plan, c.key, pos)
	default:
		f.note(f.put(c.plan, c.key, c.after, pos))
	}
}

func (f *fill) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault == nil {
		f.fault = err
	}
}

// put keeps the values of a row as of a position. Rows so small that the server never
// stores a part of them apart, which it does with those over two kilobytes, are left out,
// unless a mask hides how large they are.
func (f *fill) put(p *plan, key, row connect.Value, pos *position) error {
	const small = 512
	if key.IsNull() || row.IsNull() {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	st, fields := row.Struct(), p.row.Fields()
	size := 8 * len(fields)
	for i, field := range fields {
		if size < small && kept(field.Schema) {
			size += sizeOf(st.At(i))
		}
	}
	if size < small && !slices.ContainsFunc(p.columns, func(c columnPlan) bool { return c.masked }) {
		return nil
	}
	commit, ordinal := pos.version()
	at := appendVersion(bytes.Clone(f.row(p, key)), commit, ordinal)
	if err := f.tidy(at); err != nil {
		return err
	}
	for i := range p.columns {
		c := &p.columns[i]
		if c.field < 0 || !kept(fields[c.field].Schema) || st.At(c.field).Equal(c.missing) {
			continue
		}
		f.value = binary.BigEndian.AppendUint16(f.value[:0], c.number)
		f.value = appendStored(appendLengthy(append(f.value, byte(fields[c.field].Schema.Kind())), fields[c.field].Schema.Name()), st.At(c.field))
		f.batch.Put(f.values, append(at, c.name...), f.value)
	}
	if f.batch.Size() >= fillBatch {
		return f.commit()
	}
	return nil
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

// gone notes that a row was deleted, or left what is published: what it had is not what
// it has when it comes back.
func (f *fill) gone(p *plan, key connect.Value, pos *position) {
	if key.IsNull() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	commit, ordinal := pos.version()
	prefix := bytes.Clone(f.row(p, key))
	f.dropped = append(f.dropped, dropping{commit: commit, ordinal: ordinal, prefix: prefix})
	f.batch.Put(f.values, appendVersion(bytes.Clone(prefix), commit, ordinal), []byte{0, 0})
	if f.batch.Size() >= fillBatch && f.fault == nil {
		f.fault = f.commit()
	}
}

// emptied notes that all rows of a table are gone.
func (f *fill) emptied(p *plan, pos *position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	commit, ordinal := pos.version()
	f.dropped = append(f.dropped, dropping{commit: commit, ordinal: ordinal, prefix: binary.BigEndian.AppendUint32(nil, p.relation.oid), table: true})
}

// complete puts the values that the log does not hold into a row, from the newest
// version of each before pos. key is the one the row had before the change. Those that
// are not known, or are of another type by now, stay as they are; it returns how many.
func (f *fill) complete(a *arena, p *plan, key, row connect.Value, pos *position) (unknown int64, err error) {
	if key.IsNull() {
		return int64(len(f.wants)), nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.commit(); err != nil {
		return 0, err
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
	unknown = int64(len(f.wants))
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
			unknown--
		}
	}
	if err := it.Close(); err != nil {
		return 0, fillFault("large values cannot be read", err)
	}
	return unknown, nil
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
