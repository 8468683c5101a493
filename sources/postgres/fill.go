package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/tidemill/tidemill/connect"
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
// machine lost its last writes, all is forgotten, and the tables are read again beside
// the log; until a row is read its unavailable values have the placeholder.
//
// Keys of the store: table and key of the row, each behind its length, commit LSN and
// ordinal as big-endian numbers, column.
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
	dropped []dropping
}

// dropping is what becomes unreachable once its position is safe: a row, or all of a
// table.
type dropping struct {
	commit  uint64
	ordinal int64
	prefix  []byte
	table   bool
}

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

// covers tells whether nothing is missing up to a stored position.
func (f *fill) covers(end uint64) (bool, error) {
	mark, found, err := f.db.Reader(f.marks).Get(nil, fillMark)
	if err != nil || !found || len(mark) != 8 {
		return false, err
	}
	return binary.BigEndian.Uint64(mark) >= end, nil
}

// forget begins anew at a position.
func (f *fill) forget(end uint64) error {
	f.mu.Lock()
	f.batch.DeleteRange(f.values, state.Range{})
	f.dropped, f.fault = nil, nil
	f.mu.Unlock()
	return f.reached(end)
}

// reached notes, and makes lasting, that all values up to a position are kept. It comes
// before the position is handed over.
func (f *fill) reached(end uint64) error {
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
	f.batch.Put(f.marks, fillMark, binary.BigEndian.AppendUint64(nil, end))
	return f.commit()
}

func (f *fill) commit() error {
	if f.batch.Size() == 0 {
		return nil
	}
	err := f.batch.Commit()
	f.batch = f.db.Batch()
	if err != nil {
		return fillFault("large values cannot be kept", err)
	}
	return nil
}

// drop drops what rows that are gone have left, once no restart comes before that.
func (f *fill) drop() error {
	safe, kept := f.safe.Load(), f.dropped[:0]
	for _, d := range f.dropped {
		if d.commit >= safe {
			kept = append(kept, d)
			continue
		}
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
	f.dropped = kept
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
	f.prefix = appendLengthy(f.prefix[:0], p.table.String())
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
// stores a part of them apart, which it does with those over two kilobytes, are left out.
func (f *fill) put(p *plan, key, row connect.Value, pos *position) error {
	const small, batchBytes = 512, 1 << 20
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
	if size < small {
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
		f.value = appendStored(appendLengthy(append(f.value[:0], byte(fields[c.field].Schema.Kind())), fields[c.field].Schema.Name()), st.At(c.field))
		f.batch.Put(f.values, append(at, c.name...), f.value)
	}
	if f.batch.Size() >= batchBytes {
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

// gone notes that a row was deleted.
func (f *fill) gone(p *plan, key connect.Value, pos *position) {
	if key.IsNull() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	commit, ordinal := pos.version()
	f.dropped = append(f.dropped, dropping{commit: commit, ordinal: ordinal, prefix: bytes.Clone(f.row(p, key))})
}

// emptied notes that all rows of a table are gone.
func (f *fill) emptied(p *plan, pos *position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	commit, ordinal := pos.version()
	f.dropped = append(f.dropped, dropping{commit: commit, ordinal: ordinal, prefix: appendLengthy(nil, p.table.String()), table: true})
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
	missing := map[string]int{}
	for i := range p.columns {
		for _, field := range f.wants {
			if p.columns[i].field == field {
				missing[p.columns[i].name] = field
			}
		}
	}
	for len(missing) > 0 && it.Next() {
		_, _, column, ok := splitTail(it.Key()[len(prefix):])
		field, wanted := missing[column]
		if !ok || !wanted {
			continue
		}
		delete(missing, column)
		if v, ok := readStored(a, p.row.Fields()[field].Schema, it.Value()); ok {
			row.Struct().Set(field, v)
		} else {
			unknown++
		}
	}
	if err := it.Close(); err != nil {
		return 0, fillFault("large values cannot be read", err)
	}
	return unknown + int64(len(missing)), nil
}

// checkFill makes sure that the values kept reach as far as the stream's position, and
// otherwise has the tables read again.
func (w *work) checkFill(s *stream, end uint64) error {
	if w.fill == nil {
		return nil
	}
	covered, err := w.fill.covers(end)
	if err != nil || covered {
		return err
	}
	if err := w.fill.forget(end); err != nil {
		return err
	}
	if w.stored == nil {
		return nil // Nothing was ever read, so there is nothing to be missing.
	}
	w.log.Warn("The large values kept on this machine do not reach to the stored offset. The tables are read again beside the log; until then, values that it does not hold have the placeholder.",
		"offset", lsnText(end))
	s.askSnapshot(snapshotRequest{ID: "fill", Tables: []string{".*"}})
	return nil
}
