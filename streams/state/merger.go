package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// run is a file of sorted rows that is read.
type run struct {
	file  vfs.File
	age   int // counted from the newest
	head  [runHead]byte
	block []byte
	at    int // in it

	key, value []byte
	has        bool
}

var errTorn = errors.New("a file of sorted rows is not what was written")

// next steps to the next row.
func (r *run) next() (bool, error) {
	if r.at == len(r.block) {
		if more, err := r.read(); !more || err != nil {
			return false, err
		}
	}
	var n int
	r.key, r.value, r.has, n = readRow(r.block[r.at:])
	r.at += n
	return true, nil
}

// read reads the next block, of which the last one is empty.
func (r *run) read() (bool, error) {
	if _, err := io.ReadFull(r.file, r.head[:]); err != nil {
		return false, fmt.Errorf("%w: %w", errTorn, err)
	}
	n := int(binary.BigEndian.Uint32(r.head[:]))
	if n == 0 {
		return false, nil
	}
	if cap(r.block) < n {
		r.block = make([]byte, max(n, runBlock))
	}
	r.block, r.at = r.block[:n], 0
	if _, err := io.ReadFull(r.file, r.block); err != nil {
		return false, fmt.Errorf("%w: %w", errTorn, err)
	}
	if crc32.Checksum(r.block, checksums) != binary.BigEndian.Uint32(r.head[4:]) {
		return false, errTorn
	}
	return true, nil
}

// before tells whether the row of r comes before that of o: of one key the newest first.
func (r *run) before(o *run) bool {
	c := bytes.Compare(r.key, o.key)
	return c < 0 || c == 0 && r.age < o.age
}

// merger reads runs as one, of each key the newest row.
type merger struct {
	runs []*run // all there are
	heap []*run // that have more, the one with the next row first
	used bool   // the first one was given

	key, value []byte
	has        bool
	last       []byte // scratch
	err        error
}

// begin reads the first row of each.
func (m *merger) begin() {
	for _, r := range m.runs {
		more, err := r.next()
		if m.err = errors.Join(m.err, err); more && err == nil {
			m.heap = append(m.heap, r)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
}

// next steps to the next key. What it gives is valid until the next call.
func (m *merger) next() bool {
	if m.used && m.err == nil {
		m.step()
		m.used = false
	}
	if len(m.heap) == 0 || m.err != nil {
		return false
	}
	first := m.heap[0]
	m.key, m.value, m.has, m.used = first.key, first.value, first.has, true
	return true
}

// step leaves the key that was given, in all runs.
func (m *merger) step() {
	m.last = append(m.last[:0], m.key...)
	for m.err == nil && len(m.heap) > 0 && bytes.Equal(m.heap[0].key, m.last) {
		more, err := m.heap[0].next()
		if m.err = err; !more {
			m.heap[0] = m.heap[len(m.heap)-1]
			m.heap = m.heap[:len(m.heap)-1]
		}
		m.sink(0)
	}
}

// sink moves a run down to its place.
func (m *merger) sink(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(m.heap); child++ {
			if m.heap[child].before(m.heap[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		m.heap[i], m.heap[least] = m.heap[least], m.heap[i]
		i = least
	}
}

func (m *merger) close() (err error) {
	for _, r := range m.runs {
		err = errors.Join(err, r.file.Close())
	}
	return err
}
