package postgres

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// frame writes a message as the server sends it.
func frame(typ byte, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{typ}, uint32(len(body)+4)), body...)
}

// TestFramesInPieces sends messages of all sizes in pieces that do not fit them.
func TestFramesInPieces(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _ = ours.Close() }()
	sizes := []int{0, 1, 5, 4095, readSize - 5, readSize, readSize + 1, 3*readSize + 7, 5 * readSize, 2}
	go func() {
		defer func() { _ = theirs.Close() }()
		var all []byte
		for i, n := range sizes {
			all = append(all, frame('N', []byte("noise"))...)
			all = append(all, frame('d', bytes.Repeat([]byte{byte(i)}, n))...)
		}
		for len(all) > 0 {
			n := min(len(all), 70001)
			if _, err := theirs.Write(all[:n]); err != nil {
				return
			}
			all = all[n:]
		}
	}()
	c := &replication{conn: ours, buf: make([]byte, readSize)}
	for i, want := range sizes {
		for {
			typ, body, err := c.frame()
			if err != nil {
				t.Fatal(err)
			}
			if typ == 'd' {
				if len(body) != want || bytes.Count(body, []byte{byte(i)}) != want {
					t.Fatalf("message %d has %d bytes, want %d", i, len(body), want)
				}
				break
			}
			if err := c.fill(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(c.buf) > 8*readSize {
		t.Errorf("the buffer has grown to %d bytes", len(c.buf))
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(frame('d', []byte("w")))
	f.Add(frame('E', []byte("SFATAL\x00C57P01\x00Mgone\x00\x00")))
	f.Add([]byte{'d', 0xff, 0xff, 0xff, 0xff, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		if len(stream) > readSize {
			return
		}
		c := &replication{buf: append([]byte(nil), stream...), w: len(stream)}
		for {
			typ, _, err := c.frame()
			if typ == 0 || err != nil {
				return
			}
		}
	})
}

func TestPacing(t *testing.T) {
	var told []int
	p := pace{quiet: func(bytes int) { told = append(told, bytes) }}
	now := time.Now()
	for range 100 {
		now = now.Add(time.Millisecond)
		p.read(300, now)
	}
	if p.resting {
		t.Error("a thousand small reads in a second are no reason to rest")
	}
	for range 200 {
		now = now.Add(20 * time.Microsecond)
		p.read(300, now)
	}
	if !p.resting {
		t.Error("fifty thousand small reads in a second are a reason to rest")
	}
	for range 3 {
		now = now.Add(10 * time.Millisecond)
		p.read(300, now)
	}
	if p.resting {
		t.Error("the stream is quiet again")
	}
	if len(told)%2 != 0 || told[0] != paceQuiet || told[len(told)-1] != 1 {
		t.Errorf("the socket was told %v", told)
	}
	if due := now.Add(time.Hour); p.rest(due) != due {
		t.Error("a quiet stream waits for as long as nothing is due")
	}
	p.resting, p.last = true, paceMuch
	if p.rest(now.Add(time.Hour)).After(time.Now().Add(paceRest)) {
		t.Error("a read that rests must look again soon: the socket does not tell of little")
	}
}

// TestRestingOverTLS: a read gives one record of TLS, so resting after each would let
// through eight kilobytes in a millisecond.
func TestRestingOverTLS(t *testing.T) {
	for _, pieces := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := pace{resting: true, last: 8 << 10, pieces: pieces}
			began := time.Now()
			due := p.rest(began.Add(time.Hour))
			if rested := time.Now().After(began); rested == pieces {
				t.Errorf("records of TLS: %v; rested: %v", pieces, rested)
			}
			if due.After(time.Now().Add(paceRest)) {
				t.Error("a socket that is quiet does not tell of little")
			}
		})
	}
}

// TestGraveNotices tells the loss of changes from the waiting for a standby, of which the
// server warns with the same code.
func TestGraveNotices(t *testing.T) {
	t.Parallel()
	for message, grave := range map[string]bool{
		`skipped loading publication "p"`: true,
		`replication slot "s" specified in parameter "synchronized_standby_slots" does not have active_pid`: false,
	} {
		notice, err := (&pgproto3.NoticeResponse{Severity: "WARNING", Code: "55000", Message: message}).Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := graveNotice(notice[5:]); (err != nil) != grave {
			t.Errorf("%s: %v", message, err)
		}
	}
}
