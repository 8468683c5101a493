package devstack

import "syscall"

// childAttr makes the kernel end the child at once when we die, whatever we
// die of: SIGQUIT is PostgreSQL's immediate shutdown.
func childAttr(as account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if as.drop {
		attr.Credential = &syscall.Credential{Uid: uint32(as.uid), Gid: uint32(as.gid)}
	}
	return attr
}
