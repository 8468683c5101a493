//go:build !linux

package devstack

import "syscall"

// childAttr has no parent death signal to use here: the reaper alone ends the
// child when we die.
func childAttr(as account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if as.drop {
		attr.Credential = &syscall.Credential{Uid: uint32(as.uid), Gid: uint32(as.gid)}
	}
	return attr
}
