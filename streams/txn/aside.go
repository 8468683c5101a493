package txn

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/state"
)

// Codec writes what a Gate holds when that goes to the disk.
type Codec[R any] interface {
	// Append appends r to dst.
	Append(dst []byte, r R) []byte
	// Decode reads what Append has written. b is valid during the call only.
	Decode(b []byte) (R, error)
}

// PutAside has the gate put the largest transactions into a database in dir when more is
// held than may be in memory, up to [Source.MaxDiskBytes]. dir is the gate's own: what is
// there is removed, now and at the end.
func (g *Gate[R]) PutAside(dir string, c Codec[R]) error {
	g.aside = &aside[R]{dir: dir, codec: c, most: g.source.diskLimit()}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing transactions that were put aside: %w", err)
	}
	return nil
}

// Close forgets everything that is held and removes what was put aside.
func (g *Gate[R]) Close() error {
	g.forget(g.done, g.based)
	return g.aside.close()
}

// relieve puts transactions aside when too much is in memory, the largest first.
func (g *Gate[R]) relieve() error {
	a := g.aside
	if a == nil || g.fault != nil {
		return g.fault
	}
	for _, o := range a.doomed {
		if err := a.drop(o); err != nil {
			return err
		}
	}
	a.doomed = nil
	if g.held <= g.source.Limit() {
		return nil
	}
	heavy := slices.SortedFunc(maps.Values(g.open), func(a, b *gathering[R]) int { return cmp.Compare(b.bytes, a.bytes) })
	for _, o := range heavy {
		if g.held <= g.source.Limit()/2 || o.bytes == 0 {
			break
		}
		if err := g.move(o); err != nil {
			return err
		}
	}
	return nil
}

// move brings the events of a transaction from memory to the disk.
func (g *Gate[R]) move(o *gathering[R]) error {
	for i := range o.events {
		h, key := &o.events[i], []byte(nil)
		if o.rows != nil && o.rows[i] != "" {
			key = []byte(o.rows[i])[rowHead:]
		}
		if _, err := g.aside.add(o, g.parts[h.Part].number, h, key); err != nil {
			return err
		}
	}
	g.held -= o.bytes
	o.events, o.rows, o.keys, o.bytes = nil, nil, nil, 0
	return nil
}

// rowHead is the length of what stands before the key in the name of a row.
const rowHead = 4

// appendRow appends the name of a row of a snapshot: its partition's number and its key.
func appendRow(dst []byte, part int, key []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(part)), key...)
}

// keyless stands in place of a partition's number before what tells rows without key
// apart.
const keyless = ^uint32(0)

// aside keeps transactions on the disk, in a database of its own. Its keys are the transaction (8 bytes) and in it the number of the event (8
// bytes) or, in a snapshot, the name of the row; all numbers have the most significant
// byte first.
type aside[R any] struct {
	dir   string
	codec Codec[R]
	most  int64
	bytes int64 // of all keys and values
	users int   // transactions that are here
	ever  int64 // events that were
	// written is how many bytes were, since the database was made.
	written int64
	doomed  []*gathering[R]

	db     *state.Disk
	id     state.ID
	reader state.Reader
	batch  state.Batch
	rows   map[string]bool // of snapshots, in batch

	key, value []byte // scratch
}

// asideBatch is how many bytes are gathered before they are written, and asideMuch after
// how many a database that is not needed is removed rather than kept for the next time.
const (
	asideBatch = 256 << 10
	asideMuch  = 64 << 20
)

func (a *aside[R]) open() (err error) {
	if a.db != nil {
		return nil
	}
	if a.db, err = state.OpenDisk(a.dir, state.DiskOptions{CacheBytes: 4 << 20, MemTableBytes: 4 << 20}); err != nil {
		return fmt.Errorf("putting a transaction aside: %w", err)
	}
	if a.id, err = a.db.Open("events", 0); err != nil {
		return err
	}
	a.reader, a.batch, a.rows = a.db.Reader(a.id), a.db.Batch(), map[string]bool{}
	return nil
}

// add writes an event unless it is there already, which the caller knows of events that
// have a number.
func (a *aside[R]) add(o *gathering[R], part int, h *Held[R], key []byte) (isNew bool, err error) {
	if err := a.open(); err != nil {
		return false, err
	}
	if !o.aside {
		o.aside = true
		a.users++
	}
	a.key = binary.BigEndian.AppendUint64(a.key[:0], uint64(o.at))
	switch {
	case h.Order > 0:
		a.key = binary.BigEndian.AppendUint64(a.key, uint64(h.Order))
	case key != nil:
		a.key = appendRow(a.key, part, key)
		if had, err := a.has(); had || err != nil {
			return false, err
		}
	default:
		a.key = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(a.key, keyless), uint32(part))
		a.key = binary.BigEndian.AppendUint64(a.key, uint64(h.Offset))
	}
	a.value = a.appendEvent(a.value[:0], part, h)
	n := int64(len(a.key) + len(a.value))
	if a.bytes+n > a.most {
		return false, &connect.Error{
			Code: "streams.transaction.size", Class: connect.ClassFatal, Place: "the transaction at " + o.at.String(),
			Message: fmt.Sprintf("%d bytes of transactions that are not whole are on the disk, and no more may be", a.bytes),
			Mend:    "raise MaxDiskBytes of the transactions' Source; a snapshot is held whole, too",
		}
	}
	a.bytes, o.disk, a.written = a.bytes+n, o.disk+n, a.written+n
	a.ever++
	a.batch.Put(a.id, a.key, a.value)
	if a.batch.Size() >= asideBatch {
		err = a.flush()
	}
	return true, err
}

// has tells whether the row of a snapshot that key names is there.
func (a *aside[R]) has() (had bool, err error) {
	if a.rows[string(a.key)] {
		return true, nil
	}
	if a.value, had, err = a.reader.Get(a.value[:0], a.key); had || err != nil {
		return had, err
	}
	a.rows[string(a.key)] = true
	return false, nil
}

func (a *aside[R]) flush() error {
	err := a.batch.Commit()
	a.batch = a.db.Batch()
	clear(a.rows)
	if err != nil {
		return fmt.Errorf("putting a transaction aside: %w", err)
	}
	return nil
}

// The value of an event is the number of its partition (4 bytes), its offset and its own
// number (8 bytes each), 1 for a truncate or 0, the table's name with a length of 2 bytes
// before it, and the record.
const eventHead = 4 + 8 + 8 + 1 + 2

func (a *aside[R]) appendEvent(dst []byte, part int, h *Held[R]) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(part))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Offset))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.Order))
	truncate := byte(0)
	if h.Truncate {
		truncate = 1
	}
	dst = binary.BigEndian.AppendUint16(append(dst, truncate), uint16(len(h.Collection)))
	return a.codec.Append(append(dst, h.Collection...), h.Record)
}

var errAside = errors.New("an event that was put aside is damaged")

func (a *aside[R]) readEvent(b []byte, list []Part, h *Held[R]) (err error) {
	if len(b) < eventHead {
		return errAside
	}
	part, name := binary.BigEndian.Uint32(b), int(binary.BigEndian.Uint16(b[21:]))
	if part >= uint32(len(list)) || len(b) < eventHead+name {
		return errAside
	}
	h.Part, h.Truncate = list[part], b[20] == 1
	h.Offset, h.Order = int64(binary.BigEndian.Uint64(b[4:])), int64(binary.BigEndian.Uint64(b[12:]))
	h.Collection = string(b[eventHead : eventHead+name])
	h.Record, err = a.codec.Decode(b[eventHead+name:])
	return err
}

// span is where the events of a transaction are.
func span(at Epoch) state.Range {
	lo := binary.BigEndian.AppendUint64(nil, uint64(at))
	return state.Range{Lo: lo, Hi: state.PrefixEnd(lo)}
}

// each gives the events of a transaction in their order.
func (a *aside[R]) each(o *gathering[R], list []Part, take func(*Held[R]) error) error {
	if err := a.flush(); err != nil {
		return err
	}
	n, err := a.walk(o, list, take)
	if err == nil && n != o.n {
		err = fmt.Errorf("%w: there are %d of %d", errAside, n, o.n)
	}
	return err
}

// walk ends its walk over the events also when take panics.
func (a *aside[R]) walk(o *gathering[R], list []Part, take func(*Held[R]) error) (n int64, err error) {
	it := a.reader.Scan(span(o.at))
	defer func() { err = errors.Join(err, it.Close()) }()
	for ; err == nil && it.Next(); n++ {
		h := Held[R]{Event: Event{Epoch: o.at}}
		if err = a.readEvent(it.Value(), list, &h); err == nil {
			err = take(&h)
		}
	}
	return n, err
}

// drop removes a transaction, and the database when it was the last and much was in it:
// that gives the room on the disk back at once.
func (a *aside[R]) drop(o *gathering[R]) error {
	if a.users--; a.users == 0 && a.written > asideMuch {
		return a.close()
	}
	a.bytes -= o.disk
	if err := a.flush(); err != nil {
		return err
	}
	a.batch.DeleteRange(a.id, span(o.at))
	return a.flush()
}

// close removes everything.
func (a *aside[R]) close() error {
	if a == nil || a.db == nil {
		return nil
	}
	err := errors.Join(a.db.Close(), os.RemoveAll(a.dir))
	a.db, a.batch, a.reader, a.rows, a.doomed, a.bytes, a.written, a.users = nil, nil, nil, nil, nil, 0, 0, 0
	if err != nil {
		return fmt.Errorf("removing transactions that were put aside: %w", err)
	}
	return nil
}

// numbers is a set of numbers that lie close together: 4096 neighbours share a bitmap.
type numbers map[int64]*[64]uint64

// add tells whether the number is a new one.
func (s *numbers) add(n int64) bool {
	if *s == nil {
		*s = numbers{}
	}
	page := (*s)[n>>12]
	if page == nil {
		page = new([64]uint64)
		(*s)[n>>12] = page
	}
	bit := uint64(1) << (n & 63)
	had := page[n>>6&63]&bit != 0
	page[n>>6&63] |= bit
	return !had
}
