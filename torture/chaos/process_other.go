//go:build !linux

package chaos

import "syscall"

// dieWithParent has no parent death signal to use here; an orderly end of ours ends the
// children.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
