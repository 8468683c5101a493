package fleet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Itself is the number that stands, among those of a connector's tasks, for the
// connector itself.
const Itself = -1

// Work is one thing a worker runs: a task of a connector or, with the number [Itself],
// the connector.
type Work struct {
	Connector string
	Task      int32
}

// compare orders work by connector, the connector itself before its tasks.
func compare(a, b Work) int {
	if c := strings.Compare(a.Connector, b.Connector); c != 0 {
		return c
	}
	return int(a.Task) - int(b.Task)
}

// The versions of the formats, which are those of the protocols a group may choose.
const (
	versionEager      int16 = 0
	versionCompatible int16 = 1
	versionSessioned  int16 = 2
)

// Metadata is what a member says of itself when it joins.
type Metadata struct {
	// Version is 0 (eager), 1 (compatible) or 2 (sessioned).
	Version int16
	// URL is that of the worker's REST interface.
	URL string
	// Offset is the next one to be read of the config topic.
	Offset int64
	// Current is what the member runs, nil for a member that has just begun. Version 0
	// knows none.
	Current *Assignment
}

// Assignment is what the leader sends to a member.
type Assignment struct {
	Version int16
	// Error is 0, or 1 when the leader's configurations are behind a member's.
	Error int16
	// Leader is the leader's member id, LeaderURL its worker's REST interface.
	Leader, LeaderURL string
	// Offset is the place in the config topic that the division was made by.
	Offset int64
	// Assigned is to be run and Revoked to be stopped. Version 0 knows no Revoked.
	Assigned, Revoked []Work
	// Delay is when to join again, in whole milliseconds, 0 for never.
	Delay time.Duration
}

// configMismatch is the error of an assignment whose leader is behind.
const configMismatch int16 = 1

// maxMessage bounds what is read of metadata and assignments, in bytes. Brokers take no
// larger messages by far.
const maxMessage = 64 << 20

var errShort = errors.New("it ends too early")

// Encode returns the bytes that Kafka Connect's workers write: all numbers big-endian, a
// text behind two bytes of its length, lists behind four of their number.
func (m Metadata) Encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(m.Version))
	b = appendText(b, m.URL)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Offset))
	if m.Version == versionEager {
		return b
	}
	if m.Current == nil {
		return binary.BigEndian.AppendUint32(b, 0xffffffff)
	}
	current := *m.Current
	current.Version = m.Version
	bytes := current.Encode()
	b = binary.BigEndian.AppendUint32(b, uint32(len(bytes)))
	return append(b, bytes...)
}

// ParseMetadata reads what [Metadata.Encode] writes. Bytes behind it, which a later
// version may add, are passed over.
func ParseMetadata(data []byte) (Metadata, error) {
	r := reader{rest: data}
	if len(data) > maxMessage {
		r.err = fmt.Errorf("%d bytes are too many", len(data))
	}
	m := Metadata{Version: r.int16(), URL: r.text(), Offset: r.int64()}
	if m.Version > versionEager && r.err == nil {
		if current := r.bytes(); len(current) > 0 && r.err == nil {
			a, err := ParseAssignment(current)
			if err != nil {
				return Metadata{}, fmt.Errorf("a member's metadata: %w", err)
			}
			m.Current = &a
		}
	}
	if r.err != nil {
		return Metadata{}, fmt.Errorf("a member's metadata: %w", r.err)
	}
	return m, nil
}

// Encode returns the bytes that Kafka Connect's leader writes.
func (a Assignment) Encode() []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(a.Version))
	b = binary.BigEndian.AppendUint16(b, uint16(a.Error))
	b = appendText(appendText(b, a.Leader), a.LeaderURL)
	b = binary.BigEndian.AppendUint64(b, uint64(a.Offset))
	b = appendWork(b, a.Assigned)
	if a.Version == versionEager {
		return b
	}
	b = appendWork(b, a.Revoked)
	return binary.BigEndian.AppendUint32(b, uint32(a.Delay.Milliseconds()))
}

// ParseAssignment reads what [Assignment.Encode] writes. Bytes behind it are passed over.
func ParseAssignment(data []byte) (Assignment, error) {
	r := reader{rest: data}
	if len(data) > maxMessage {
		r.err = fmt.Errorf("%d bytes are too many", len(data))
	}
	a := Assignment{Version: r.int16(), Error: r.int16(), Leader: r.text(), LeaderURL: r.text(), Offset: r.int64(), Assigned: r.work()}
	if a.Version > versionEager {
		a.Revoked = r.work()
		a.Delay = time.Duration(r.int32()) * time.Millisecond
	}
	if r.err != nil {
		return Assignment{}, fmt.Errorf("an assignment: %w", r.err)
	}
	return a, nil
}

// appendText appends a text of at most 32767 bytes, which names of connectors and
// addresses are.
func appendText(b []byte, text string) []byte {
	text = text[:min(len(text), 1<<15-1)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
}

// appendWork appends work by connector, in the order in which each is first named, as
// Kafka Connect does.
func appendWork(b []byte, list []Work) []byte {
	var names []string
	tasks := map[string][]int32{}
	for _, w := range list {
		if _, seen := tasks[w.Connector]; !seen {
			names = append(names, w.Connector)
		}
		tasks[w.Connector] = append(tasks[w.Connector], w.Task)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(names)))
	for _, name := range names {
		b = appendText(b, name)
		b = binary.BigEndian.AppendUint32(b, uint32(len(tasks[name])))
		for _, task := range tasks[name] {
			b = binary.BigEndian.AppendUint32(b, uint32(task))
		}
	}
	return b
}

// reader takes values off the front of a message. After its first error it gives zeros.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) take(n int) []byte {
	if r.err == nil && len(r.rest) < n {
		r.err = errShort
	}
	if r.err != nil {
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) text() string { return string(r.take(max(0, int(r.int16())))) }

// bytes reads a byte string, nil for one that is null.
func (r *reader) bytes() []byte { return r.take(max(0, int(r.int32()))) }

// count reads the length of a list whose elements take at least the given bytes; null
// counts as empty.
func (r *reader) count(least int) int {
	n := max(0, int(r.int32()))
	if r.err == nil && n > len(r.rest)/least {
		r.err = errShort
	}
	if r.err != nil {
		return 0
	}
	return n
}

func (r *reader) work() []Work {
	var list []Work
	for range r.count(6) {
		name := r.text()
		for range r.count(4) {
			list = append(list, Work{name, r.int32()})
		}
		if r.err != nil {
			return nil
		}
	}
	return list
}
