//go:build unix

package host

import (
	"os"
	"syscall"
)

// killGroup kills a process and all it has started.
func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }
