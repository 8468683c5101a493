package postgres

import (
	"crypto/tls"
	"net"
	"time"
)

// The server sends each change by itself, so an eager reader of a busy stream is
// woken for every one, and both sides spend most of their time on that. What was
// read is looked at in windows of time: when a window had many reads, reading rests
// for a moment before each further one, while the socket's buffers fill. A window
// that brought little ends this, so that single changes never wait.
//
// Resting alone is not enough: whoever waits for anything in this process is woken by
// what comes to the socket all the same. So while reading rests the socket is told not
// to wake anybody for less than paceQuiet (SO_RCVLOWAT); nobody waits for that much,
// since a read takes what there is.
const (
	paceWindow = 4 * time.Millisecond
	paceReads  = 48       // So many in a window are a busy stream.
	paceBytes  = 16 << 10 // So little in a window is not one.
	paceMuch   = 64 << 10 // After so large a read there is no need to rest.
	paceRest   = time.Millisecond
	paceQuiet  = 512 << 10
)

// pace decides when reading rests.
type pace struct {
	since        time.Time
	reads, bytes int
	last         int
	resting      bool
	// quiet tells the socket from how many bytes on it may wake somebody; nil when that
	// cannot be told.
	quiet func(bytes int)
	// pieces tells that a read gives one record of TLS, however much has come: then a
	// read that finds nothing is all the rest there may be.
	pieces bool
}

// read takes in how much a read brought.
func (p *pace) read(n int, now time.Time) {
	was := p.resting
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
	if p.resting == was || p.quiet == nil {
		return
	}
	if p.resting {
		p.quiet(paceQuiet)
	} else {
		p.quiet(1)
	}
}

// rest waits before the next read, if that is worth it, and returns until when that
// may wait: a socket that was told to be quiet does not tell of little.
func (p *pace) rest(due time.Time) time.Time {
	if !p.resting {
		return due
	}
	if p.last < paceMuch && !p.pieces {
		time.Sleep(paceRest)
	}
	if soon := time.Now().Add(paceRest); soon.Before(due) {
		return soon
	}
	return due
}

// byRecord tells whether reading from a connection gives one record of TLS at a time.
func byRecord(conn net.Conn) bool {
	_, secured := conn.(*tls.Conn)
	return secured
}
