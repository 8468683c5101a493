package chaos

import "syscall"

// dieWithParent has the kernel end a child when we die, whatever we die of. Its own
// process group keeps a Ctrl-C at the terminal for us.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
