package postgres

import (
	"context"
	"net"
	"syscall"
	"time"
)

// A peer that vanished without a word, behind a firewall or by a power cut, is found by
// probes on a connection that is quiet, and by the limit below on one that has something
// to send. What waits for an answer without a limit of its own then ends.
const (
	probeAfter = 30 * time.Second
	probeEvery = 10 * time.Second
	probeTimes = 3
	// unackedMost is how long what was sent may stay without an acknowledgement.
	unackedMost = probeAfter + probeTimes*probeEvery
)

// dial opens a TCP connection or one over a Unix socket.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: probeAfter, Interval: probeEvery, Count: probeTimes},
		Control: func(network, _ string, c syscall.RawConn) error {
			if network == "unix" {
				return nil
			}
			// Where the system knows no such limit, the probes are left.
			return c.Control(func(fd uintptr) { _ = limitUnacked(int(fd), unackedMost) })
		},
	}
	return d.DialContext(ctx, network, address)
}
