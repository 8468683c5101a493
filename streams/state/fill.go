package state

import (
	"context"
	"errors"
	"fmt"
)

// Fill puts rows into stores by the million, for a DB that has to be rebuilt. What is put
// does not go through the engine's log, its table of newest writes and all of its levels:
// it is sorted in memory, a run at a time, the runs are merged, and the engine takes in the
// tables that come of it. Each row is written twice, whatever order the keys come in.
//
// It is a Batch that can be used again after Commit. Nothing of it is in the DB until then,
// all together or not at all, and lasting. What DeleteRange removes goes right after the
// rest: it is for what nobody looks for any more. Between two commits nobody else writes to
// the stores. A Fill is used by one goroutine; Close releases it.
type Fill struct {
	d      *Disk
	dir    string
	sorter sorter
	runs   []string // files of sorted rows, the newest last
	bytes  int64    // that were put since Commit
	spans  []stagedSpan
	err    error
}

const (
	// fillBytes is how many bytes of rows a Fill has in memory, if nothing else is said.
	fillBytes = 16 << 20
	// fillRuns is how many runs are merged at once. Files of as many bytes are on the disk
	// beside the tables that are made of them, and after a crash as much is put again.
	fillRuns = 64
	// fillsAtOnce bounds how many there are at one time, and so what they have in memory.
	fillsAtOnce = 2
	fillFolder  = "fill"
)

// Fill returns an empty Fill, nil when as many as may be are in use: a Batch does the same.
func (d *Disk) Fill() *Fill {
	if d.fills.Add(1) > fillsAtOnce {
		d.fills.Add(-1)
		return nil
	}
	f := &Fill{d: d, dir: d.base.PathJoin(d.dir, fillFolder, fmt.Sprint(d.filled.Add(1)))}
	f.sorter.limit = d.options.FillBytes
	return f
}

// Put implements Batch.
func (f *Fill) Put(id ID, key, value []byte) { f.add(id, key, value, true) }

// Delete implements Batch.
func (f *Fill) Delete(id ID, key []byte) { f.add(id, key, nil, false) }

func (f *Fill) add(id ID, key, value []byte, has bool) {
	if f.err != nil {
		return
	}
	f.bytes += int64(f.sorter.add(id, key, value, has))
	if f.sorter.full() {
		f.err = f.spill()
	}
}

// DeleteRange implements Batch.
func (f *Fill) DeleteRange(id ID, r Range) { f.spans = append(f.spans, stagedSpan{id, r}) }

// Size implements Batch.
func (f *Fill) Size() int { return int(f.bytes) }

// Due tells whether it is time for Commit: there is as much as can be merged at once.
func (f *Fill) Due() bool { return len(f.runs) >= fillRuns }

// Commit implements Batch. After an error nothing is taken in any more.
func (f *Fill) Commit() error {
	if f.err == nil {
		f.err = f.commit()
	}
	if f.err != nil {
		return fmt.Errorf("writing state: %w", f.err)
	}
	return nil
}

func (f *Fill) commit() error {
	if err := f.spill(); err != nil {
		return err
	}
	if len(f.runs) > 0 {
		tables, err := f.merge()
		if err == nil {
			err = f.ingest(tables)
		}
		if err = f.lost(err); err != nil {
			return err
		}
	}
	f.runs, f.bytes = f.runs[:0], 0
	if len(f.spans) == 0 {
		return nil
	}
	after := f.d.Batch()
	for _, span := range f.spans {
		after.DeleteRange(span.id, span.r)
	}
	f.spans = nil
	return after.Commit()
}

// ingest has the engine take tables in. What was committed before, and may be in the memory
// of the process alone, lasts from then on too: a crash does not take back what was earlier.
func (f *Fill) ingest(tables []string) error {
	d := f.d
	if d.room.lost.Load() {
		return nil // It is told by lost.
	}
	if err := d.Sync(); err != nil {
		return err
	}
	return errors.Join(d.health.note(d.db.Ingest(context.Background(), tables)), d.idle.end(), d.room.RemoveAll(f.dir))
}

// lost is the error of a Fill of which not all has reached the disk, because that fails, or
// because the DB is closed while it is full. Other than the engine, it has nothing in memory.
func (f *Fill) lost(err error) error {
	switch {
	case !f.d.room.lost.Load():
		return err
	case f.d.Damage() != nil:
		return f.d.Damage()
	default:
		return ErrFull
	}
}

// Close forgets what was not committed.
func (f *Fill) Close() error {
	f.d.fills.Add(-1)
	if f.err == nil {
		f.err = ErrClosed
	}
	if err := f.d.room.RemoveAll(f.dir); err != nil {
		return fmt.Errorf("removing rows that were sorted: %w", err)
	}
	return nil
}

// spill sorts what is in memory and writes it to a file.
func (f *Fill) spill() error {
	if f.sorter.empty() {
		return nil
	}
	err := f.d.room.MkdirAll(f.dir, 0o750)
	if err == nil {
		f.runs = append(f.runs, f.d.base.PathJoin(f.dir, fmt.Sprintf("%d.run", len(f.runs))))
		err = f.sorter.write(f.d.room, f.runs[len(f.runs)-1])
	}
	if err = f.lost(err); err != nil {
		return fmt.Errorf("sorting rows: %w", err)
	}
	return nil
}

// merge writes what the runs have into tables that do not overlap, of each key the last.
func (f *Fill) merge() (tables []string, err error) {
	m, err := f.open()
	defer func() { err = errors.Join(err, m.close()) }()
	w := tableWriter{f: f}
	for err == nil && m.next() {
		err = w.add(m.key, m.value, m.has)
	}
	if err == nil {
		err = m.err
	}
	return w.tables, errors.Join(err, w.close())
}

// open opens the runs.
func (f *Fill) open() (m merger, err error) {
	for i, name := range f.runs {
		r := &run{age: len(f.runs) - i}
		if r.file, err = f.d.room.Open(name); err != nil {
			return m, fmt.Errorf("reading sorted rows: %w", err)
		}
		m.runs = append(m.runs, r)
	}
	m.begin()
	return m, nil
}
