package host

import "syscall"

// childAttributes put a process into a group of its own, which is killed as one, and let
// the kernel kill it when the worker dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
