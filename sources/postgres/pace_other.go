//go:build !unix

package postgres

import "net"

// quieter returns nil: here sockets cannot be told when to wake their readers.
func quieter(net.Conn) func(bytes int) { return nil }
