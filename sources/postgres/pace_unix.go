//go:build unix

package postgres

import (
	"crypto/tls"
	"net"
	"syscall"
)

// quieter returns what sets the bytes from which on a socket wakes its readers, nil
// when the connection has none of its own.
func quieter(conn net.Conn) func(bytes int) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return func(bytes int) {
		// A socket that cannot do it only wakes more often.
		_ = raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes) })
	}
}
