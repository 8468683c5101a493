package pgwire

import (
	"net"
	"sync"
	"time"
)

const (
	// maxHeld is how many bytes of an answer are held before they are sent.
	maxHeld = 32 << 10
	// flushAfter is how long rows are gathered when many come at once. A row that comes
	// alone is sent at once.
	flushAfter = 5 * time.Millisecond
	// writeTimeout is how long a client may take nothing before it is given up.
	writeTimeout = time.Minute
)

// outlet gathers what is sent to a client, up to maxHeld.
type outlet struct {
	conn net.Conn

	mu     sync.Mutex // Guards the following: a timer sends what a query's goroutine wrote.
	held   []byte
	last   time.Time // When something was last sent.
	timer  *time.Timer
	failed error
}

// Write implements io.Writer.
func (o *outlet) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = append(o.held, p...)
	if len(o.held) >= maxHeld {
		o.send()
	}
	return len(p), o.failed
}

// Flush sends what is held.
func (o *outlet) Flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.send()
	return o.failed
}

// soon sends what is held at once when nothing was sent just before, else within flushAfter.
func (o *outlet) soon() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.timer != nil || len(o.held) == 0:
	case time.Since(o.last) >= flushAfter:
		o.send()
	default:
		o.timer = time.AfterFunc(flushAfter, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.timer = nil
			o.send()
		})
	}
	return o.failed
}

// err is why nothing can be sent any more, nil if something can.
func (o *outlet) err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}

// send sends what is held. It is called with mu held.
func (o *outlet) send() {
	if len(o.held) == 0 || o.failed != nil {
		return
	}
	_ = o.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, o.failed = o.conn.Write(o.held)
	o.last = time.Now()
	if o.held = o.held[:0]; cap(o.held) > 4*maxHeld {
		o.held = nil // A large row is not remembered for ever.
	}
}
