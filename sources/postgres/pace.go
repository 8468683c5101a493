package postgres

import "time"

// The server sends each change by itself, so an eager reader of a busy stream is
// woken for every one, and both sides spend most of their time on that. What was
// read is looked at in windows of time: when a window had many reads, reading rests
// for a moment before each further one, while the socket's buffers fill. A window
// that brought little ends this, so that single changes never wait.
const (
	paceWindow = 4 * time.Millisecond
	paceReads  = 48       // So many in a window are a busy stream.
	paceBytes  = 16 << 10 // So little in a window is not one.
	paceMuch   = 64 << 10 // After so large a read there is no need to rest.
	paceRest   = time.Millisecond
)

// pace decides when reading rests.
type pace struct {
	since        time.Time
	reads, bytes int
	last         int
	resting      bool
}

// read takes in how much a read brought.
func (p *pace) read(n int, now time.Time) {
	p.last = n
	p.reads++
	p.bytes += n
	if p.reads >= paceReads && now.Sub(p.since) < paceWindow {
		p.resting = true
	}
	if now.Sub(p.since) >= paceWindow {
		p.resting = p.resting && p.bytes >= paceBytes
		p.since, p.reads, p.bytes = now, 0, 0
	}
}

// rest waits before the next read, if that is worth it.
func (p *pace) rest() {
	if p.resting && p.last < paceMuch {
		time.Sleep(paceRest)
	}
}
