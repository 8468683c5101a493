package query

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tidemill/tidemill/connect"
)

// An answer is a stream of frames, each a byte that says what it is:
//
//	'r'  uvarint length, key; uvarint length, value; varint time in milliseconds
//	'v'  the same, and varint time from which on the key had another row
//	'n'  one of several rows that were asked for is not there
//	'x'  uvarint length, the fault as JSON of one of several; others follow
//	'f'  uvarint length, the fault as JSON; nothing follows
//	'e'  uvarint length, how far the answer is as JSON; nothing follows
//
// One that ends without 'e' or 'f' was cut off.
const (
	frameRow     = 'r'
	frameVersion = 'v'
	frameNone    = 'n'
	frameRefused = 'x'
	frameFault   = 'f'
	frameEnd     = 'e'
)

// The media types carry the version of the forms.
const (
	questionType = "application/vnd.tidemill.question.v1+json"
	answerType   = "application/vnd.tidemill.rows.v1"
)

// maxPart bounds what is read of a key, a value or a fault, against answers of somebody
// who speaks something else.
const maxPart = 64 << 20

// fault is an error on its way.
type fault struct {
	Code    string `json:"code"`
	Class   uint8  `json:"class"`
	Place   string `json:"place,omitempty"`
	Message string `json:"message,omitempty"`
	Mend    string `json:"mend,omitempty"`
	Cause   string `json:"cause,omitempty"`
}

// frameWriter writes an answer.
type frameWriter struct {
	w   *bufio.Writer
	buf []byte // scratch
}

func (f *frameWriter) row(row Row) error {
	f.buf = append(f.buf[:0], frameRow)
	f.part(row.Key)
	f.part(row.Value)
	f.buf = binary.AppendVarint(f.buf, row.Time)
	if row.Until != 0 {
		f.buf[0] = frameVersion
		f.buf = binary.AppendVarint(f.buf, row.Until)
	}
	_, err := f.w.Write(f.buf)
	return err
}

func (f *frameWriter) part(b []byte) {
	f.buf = append(binary.AppendUvarint(f.buf, uint64(len(b))), b...)
}

// none says that one of several rows is not there.
func (f *frameWriter) none() error { return f.w.WriteByte(frameNone) }

// refused says why one of several questions is not answered.
func (f *frameWriter) refused(err error) error { return f.text(frameRefused, away(err)) }

func (f *frameWriter) end(at Position, err error) error {
	if err != nil {
		err = f.text(frameFault, away(err))
	} else {
		err = f.text(frameEnd, at)
	}
	if err != nil {
		return err
	}
	return f.w.Flush()
}

func (f *frameWriter) text(kind byte, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f.buf = append(f.buf[:0], kind)
	f.part(text)
	_, err = f.w.Write(f.buf)
	return err
}

// away makes an error one that can travel.
func away(err error) fault {
	e := connect.AsError(err)
	f := fault{Code: e.Code, Class: uint8(e.Class), Place: e.Place, Message: e.Message, Mend: e.Mend}
	if e.Cause != nil {
		f.Cause = e.Cause.Error()
	}
	return f
}

// frameReader reads an answer.
type frameReader struct {
	r          *bufio.Reader
	key, value []byte // scratch
}

var errFrame = errors.New("the answer is not of the form of this version")

// next reads a frame: a row, whose bytes are valid until the next call, or the end with
// how far the answer is, or an error.
func (f *frameReader) next() (row Row, end bool, at Position, err error) {
	kind, err := f.r.ReadByte()
	if err != nil {
		return row, false, nil, cutOff(err)
	}
	switch kind {
	case frameRow, frameVersion:
		if f.key, err = f.part(f.key); err == nil {
			f.value, err = f.part(f.value)
		}
		if err == nil {
			row.Time, err = binary.ReadVarint(f.r)
		}
		if err == nil && kind == frameVersion {
			row.Until, err = binary.ReadVarint(f.r)
		}
		row.Key, row.Value = f.key, f.value
		return row, false, nil, cutOff(err)
	case frameEnd:
		if f.value, err = f.part(f.value); err != nil {
			return row, false, nil, cutOff(err)
		}
		return row, true, at, json.Unmarshal(f.value, &at)
	case frameFault:
		if f.value, err = f.part(f.value); err != nil {
			return row, false, nil, cutOff(err)
		}
		return row, false, nil, decodeFault(f.value)
	}
	return row, false, nil, errFrame
}

// single reads the answer to one of several questions. An error that is this one's alone is
// a refusal.
func (f *frameReader) single() (row Row, found bool, err error) {
	switch kind, err := f.r.ReadByte(); {
	case err != nil:
		return row, false, cutOff(err)
	case kind == frameNone:
		return row, false, nil
	case kind == frameRefused:
		if f.value, err = f.part(f.value); err != nil {
			return row, false, cutOff(err)
		}
		return row, false, &refusal{decodeFault(f.value)}
	}
	if err := f.r.UnreadByte(); err != nil {
		return row, false, err
	}
	row, end, _, err := f.next()
	if end && err == nil {
		err = errFrame
	}
	row.Value = bytes.Clone(row.Value) // The reader keeps it.
	return row, err == nil, err
}

func decodeFault(text []byte) error {
	var away fault
	if err := json.Unmarshal(text, &away); err != nil {
		return errors.Join(errFrame, err)
	}
	e := &connect.Error{Code: away.Code, Class: connect.Class(away.Class), Place: away.Place, Message: away.Message, Mend: away.Mend}
	if away.Cause != "" {
		e.Cause = errors.New(away.Cause)
	}
	return e
}

// cutOff makes an end that comes too early an error of its own.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// part reads a length and as many bytes, into room where it is large enough. What is not
// there yet is not made room for at once: the length may be nonsense.
func (f *frameReader) part(room []byte) ([]byte, error) {
	n, err := binary.ReadUvarint(f.r)
	if err != nil {
		return room, err
	}
	if n > maxPart {
		return room, fmt.Errorf("%w: a part of %d bytes", errFrame, n)
	}
	room = room[:0]
	for left := int(n); left > 0; {
		step := min(left, 64<<10)
		at := len(room)
		if cap(room)-at < step {
			room = append(room, make([]byte, step)...)
		}
		room = room[:at+step]
		if _, err := io.ReadFull(f.r, room[at:]); err != nil {
			return room, err
		}
		left -= step
	}
	return room, nil
}
