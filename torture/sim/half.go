package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// window is how many bytes one direction of a connection holds before its writer
// waits, as the buffers of a socket do.
const window = 256 << 10

// half is one direction of a connection: bytes that one side has written and the
// other has not read yet.
type half struct {
	mu     sync.Mutex // Guards what follows.
	change *sync.Cond
	buf    []byte
	// delay is how long bytes are on their way; late are those that are.
	delay   time.Duration
	late    []parcel
	lateSum int
	arrival *time.Timer
	// closed tells that no more comes; what is there can still be read.
	closed bool
	// reading and writing are what the two sides get from now on.
	reading, writing error
	// lost tells that the way swallows what is written.
	lost bool
	// budget is how many more bytes get through before the connection is cut; negative
	// for any number.
	budget int
	cut    func()

	read, write limit
}

// parcel is what one write has sent, and when it arrives.
type parcel struct {
	at    time.Time
	bytes []byte
}

func newHalf(delay time.Duration) *half {
	h := &half{budget: -1, delay: delay}
	h.change = sync.NewCond(&h.mu)
	h.read.change, h.write.change = h.change, h.change
	return h
}

// limit is a deadline that wakes those who wait when it passes.
type limit struct {
	at     time.Time
	timer  *time.Timer
	change *sync.Cond
}

// set moves the deadline; the caller holds the lock.
func (l *limit) set(at time.Time) {
	l.at = at
	if l.timer != nil {
		l.timer.Stop()
	}
	l.change.Broadcast()
	if wait := time.Until(at); !at.IsZero() && wait > 0 {
		wake := func() {
			l.change.L.Lock()
			defer l.change.L.Unlock()
			l.change.Broadcast()
		}
		if l.timer == nil {
			l.timer = time.AfterFunc(wait, wake)
		} else {
			l.timer.Reset(wait)
		}
	}
}

func (l *limit) passed() bool { return !l.at.IsZero() && !time.Now().Before(l.at) }

// take reads what has come.
func (h *half) take(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.reading != nil:
			return 0, h.reading
		case h.read.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(h.buf) > 0:
			n := copy(p, h.buf)
			h.buf = h.buf[n:]
			h.change.Broadcast()
			return n, nil
		case h.closed && len(h.late) == 0:
			return 0, io.EOF
		}
		h.change.Wait()
	}
}

// put writes all of p, waiting for room.
func (h *half) put(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.writing != nil:
			return n, h.writing
		case h.closed:
			return n, net.ErrClosed
		case h.write.passed():
			return n, os.ErrDeadlineExceeded
		case len(p) == 0:
			return n, nil
		case len(h.buf)+h.lateSum < window:
			part := p[:min(len(p), window-len(h.buf)-h.lateSum)]
			if h.budget >= 0 {
				part = part[:min(len(part), h.budget)]
				h.budget -= len(part)
			}
			h.send(part)
			n, p = n+len(part), p[len(part):]
			if h.budget == 0 {
				h.budget = -1
				go h.cut()
			}
			continue
		}
		h.change.Wait()
	}
}

// send puts bytes on their way; the caller holds the lock.
func (h *half) send(part []byte) {
	switch {
	case h.lost:
	case h.delay == 0:
		h.buf = append(h.buf, part...)
		h.change.Broadcast()
	default:
		h.late = append(h.late, parcel{time.Now().Add(h.delay), append([]byte(nil), part...)})
		h.lateSum += len(part)
		if len(h.late) > 1 {
			return // Somebody waits for the first one already.
		}
		if h.arrival == nil {
			h.arrival = time.AfterFunc(h.delay, h.arrive)
		} else {
			h.arrival.Reset(h.delay)
		}
	}
}

// arrive lets the reader have what has come.
func (h *half) arrive() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.late) > 0 && !time.Now().Before(h.late[0].at) {
		if h.reading == nil {
			h.buf = append(h.buf, h.late[0].bytes...)
		}
		h.lateSum -= len(h.late[0].bytes)
		h.late = h.late[1:]
	}
	if len(h.late) > 0 {
		h.arrival.Reset(time.Until(h.late[0].at))
	}
	h.change.Broadcast()
}

// end closes the direction from the writing side: the reader finds the end behind
// what was written.
func (h *half) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.change.Broadcast()
}

// fail breaks the direction: reading and writing are the errors of the two sides, nil
// for a side that is not told. What the reader can no longer read is gone.
func (h *half) fail(reading, writing error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reading == nil && reading != nil {
		h.reading, h.buf = reading, nil
	}
	if h.writing == nil {
		h.writing = writing
	}
	h.change.Broadcast()
}

// lose makes the way swallow what is written from now on.
func (h *half) lose() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lost, h.late, h.lateSum = true, nil, 0
}

// allow lets so many more bytes through and then calls cut.
func (h *half) allow(bytes int, cut func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.budget, h.cut = max(1, bytes), cut
}

func (h *half) deadline(l *limit, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.set(at)
}
