package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// newTable begins a table that the engine can take in, as it writes its own.
func (d *Disk) newTable(path string) (*sstable.Writer, error) {
	f, err := d.room.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return sstable.NewWriter(objstorageprovider.NewFileWritable(f), d.engine.MakeWriterOptions(0, d.db.TableFormat())), nil
}

// tableWriter writes rows into tables.
type tableWriter struct {
	f      *Fill
	w      *sstable.Writer
	tables []string
	of     []byte // the store and partition of the last row
	fresh  bool   // the DB has nothing of it
}

// fewBytes is how large a table is at least before it ends with its partition.
const fewBytes = 1 << 20

// add writes a row. That there is none is not worth a row where there was none before.
func (w *tableWriter) add(key, value []byte, has bool) (err error) {
	if !bytes.Equal(key[:prefixLen], w.of) {
		if err = w.begin(key[:prefixLen]); err != nil {
			return err
		}
	}
	if !has && w.fresh {
		return nil
	}
	if w.w != nil && w.w.Raw().EstimatedSize() > 2*uint64(w.f.d.options.FillBytes) {
		if err = w.close(); err != nil {
			return err
		}
	}
	if w.w == nil {
		name := w.f.d.base.PathJoin(w.f.dir, fmt.Sprintf("%d.sst", len(w.tables)))
		if w.w, err = w.f.d.newTable(name); err != nil {
			return err
		}
		w.tables = append(w.tables, name)
	}
	if has {
		return w.w.Set(key, value)
	}
	return w.w.Delete(key)
}

// begin begins with the rows of another store or partition. A table that spans stores
// overlaps with what others have, and the engine would have to keep it on a higher level.
func (w *tableWriter) begin(of []byte) error {
	another := len(w.of) == 0 || !bytes.Equal(of[:4], w.of[:4])
	w.of = append(w.of[:0], of...)
	id := ID{Store: binary.BigEndian.Uint32(of), Partition: binary.BigEndian.Uint16(of[4:])}
	it := w.f.d.Reader(id).Scan(Range{})
	w.fresh = !it.Next()
	err := it.Close()
	if w.w != nil && (another || w.w.Raw().EstimatedSize() > fewBytes) {
		err = errors.Join(err, w.close())
	}
	return err
}

func (w *tableWriter) close() (err error) {
	if w.w != nil {
		err, w.w = w.w.Close(), nil
	}
	return err
}
