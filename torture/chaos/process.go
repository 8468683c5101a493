package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// process is a program that runs beside us, is started again whenever it ends, and dies
// with us.
type process struct {
	name string
	path string
	args []string
	env  []string // Beside our own.
	log  string   // The file that its output is appended to.
	said func(what, text string)

	mu      sync.Mutex // guards the following
	cmd     *exec.Cmd  // Nil while it does not run.
	held    bool       // It is to stay down.
	meant   bool       // Its next end is our doing.
	changed chan struct{}
	starts  int
	crashes int // Ends that were not our doing.
}

func newProcess(name, path, log string, args ...string) *process {
	return &process{name: name, path: path, args: args, log: log, said: func(string, string) {}, changed: make(chan struct{})}
}

// restartPause is how long a supervisor waits before it starts a program again.
const restartPause = 50 * time.Millisecond

// run keeps the program running until ctx is done.
func (p *process) run(ctx context.Context) error {
	// The kernel's parent death signal follows the thread that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		if err := p.wait(ctx, func() bool { return !p.held }); err != nil {
			return nil
		}
		if err := p.once(ctx); err != nil {
			return err
		}
		if !pause(ctx, restartPause) {
			return nil
		}
	}
}

// once starts the program and returns when it has ended.
func (p *process) once(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), p.env...)
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.set(func() { p.cmd, p.meant = cmd, false; p.starts++ })
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	err = cmd.Wait()
	p.set(func() {
		p.cmd = nil
		if !p.meant && ctx.Err() == nil {
			p.crashes++
			p.said("ended", p.name+" ended by itself: "+endOf(err))
		}
	})
	return nil
}

func endOf(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// set changes what is known of the process and wakes who waits for it.
func (p *process) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// wait returns when the condition, which is looked at under the lock, holds.
func (p *process) wait(ctx context.Context, holds func() bool) error {
	for {
		p.mu.Lock()
		ok, changed := holds(), p.changed
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// pid returns the number of the running process, 0 while there is none.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// signal sends sig to the process if it runs. ends tells that it will end of it.
func (p *process) signal(sig syscall.Signal, ends bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		p.meant = p.meant || ends
		_ = p.cmd.Process.Signal(sig) // One that has ended meanwhile is no error.
	}
}

// end sends sig and returns when the process has ended. With hold it stays down until
// release; otherwise it is started again.
func (p *process) end(ctx context.Context, sig syscall.Signal, hold bool) error {
	var running *exec.Cmd
	p.set(func() { running, p.held = p.cmd, hold })
	p.signal(sig, true)
	return p.wait(ctx, func() bool { return running == nil || p.cmd != running })
}

// release has a process that is held down started again.
func (p *process) release() { p.set(func() { p.held = false }) }

// stop ends the process in an orderly way, with force after patience, and keeps it down.
func (p *process) stop(ctx context.Context, patience time.Duration) error {
	polite, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := p.end(polite, syscall.SIGTERM, true)
	if err == nil || ctx.Err() != nil {
		return err
	}
	forced, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return errors.Join(fmt.Errorf("%s did not stop within %v", p.name, patience), p.end(forced, syscall.SIGKILL, true))
}

// pause waits; false means that ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
