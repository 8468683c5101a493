package devstack

import (
	"os"
	"os/exec"
	"runtime"
)

// process is a child with an owner: one goroutine starts it, waits for it and
// then says so.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has ended
}

// startProcess starts cmd in a process group of its own, so that a Ctrl-C at
// the terminal reaches us alone and we decide what ends when.
//
// The starting goroutine keeps its operating system thread until the child
// ends: the kernel's parent death signal follows the thread that forked, not
// the process, and Go lets idle threads end.
func startProcess(cmd *exec.Cmd, as account) (*process, error) {
	cmd.SysProcAttr = childAttr(as)
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // How the child ended shows in ProcessState.
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// signal sends sig; a child that has already ended is no error.
func (p *process) signal(sig os.Signal) {
	_ = p.cmd.Process.Signal(sig)
}

// ended reports whether the child has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
