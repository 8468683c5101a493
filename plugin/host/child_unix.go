//go:build unix && !linux

package host

import "syscall"

// childAttributes put a process into a group of its own, which is killed as one.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
