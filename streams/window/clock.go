package window

import (
	"encoding/binary"
	"fmt"
	"time"
)

// clock is the time of an operator: that of the latest record it has met. Windows close
// by it, and it is kept with the operator's rows, so that after a restart they close as
// they would have.
type clock struct {
	observed int64 // -1 before the first record
	emitted  int64 // windows that had closed by then were passed on
	next     int64 // when to look for closed windows again, by the wall clock
	// inputs are the times of several streams, where records come from such; observed is
	// the latest of them.
	inputs []int64
}

// observe meets a record and returns the time by which windows with all their moments
// before have closed.
func (c *clock) observe(t, wait int64) (closed int64) {
	c.observed = max(c.observed, t)
	return c.observed - wait
}

// observeOf is observe for one of several streams.
func (c *clock) observeOf(input int, t, wait int64) (closed int64) {
	for len(c.inputs) <= input {
		c.inputs = append(c.inputs, -1)
	}
	c.observed = max(c.observed, t)
	c.inputs[input] = max(c.inputs[input], t)
	return c.inputs[input] - wait
}

// recall takes the clock from a note.
func (c *clock) recall(note []byte) error {
	*c = clock{observed: -1, inputs: c.inputs[:0]}
	switch {
	case len(note) == 0:
		return nil
	case len(note) < 16 || len(note)%8 != 0:
		return fmt.Errorf("the note of the operator's time has %d bytes", len(note))
	}
	c.observed = int64(binary.BigEndian.Uint64(note))
	c.emitted = int64(binary.BigEndian.Uint64(note[8:]))
	for rest := note[16:]; len(rest) > 0; rest = rest[8:] {
		c.inputs = append(c.inputs, int64(binary.BigEndian.Uint64(rest)))
	}
	return nil
}

// save appends a note.
func (c *clock) save(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.observed))
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.emitted))
	for _, t := range c.inputs {
		dst = binary.BigEndian.AppendUint64(dst, uint64(t))
	}
	return dst
}

// due tells whether it is time to look for windows that have closed: when some may have,
// and either the wall clock says so or the store could not keep them for longer.
func (c *clock) due(closed, slack, every int64, now func() time.Time) bool {
	if closed <= c.emitted {
		return false
	}
	if every > 0 && closed-c.emitted <= slack {
		ms := now().UnixMilli()
		if ms < c.next {
			return false
		}
		c.next = ms + every
	}
	return true
}
