//go:build unix

package file

import "syscall"

// openFlags keep the open of a named pipe from waiting for a reader.
const openFlags = syscall.O_NONBLOCK
