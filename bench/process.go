package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// tail keeps the end of what a process writes.
type tail struct {
	mu   sync.Mutex // guards the following
	text []byte
}

// tailBytes is how much of it is kept.
const tailBytes = 64 << 10

// Write keeps p and forgets what is too long ago.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > 2*tailBytes {
		t.text = append(t.text[:0], t.text[len(t.text)-tailBytes:]...)
	}
	return len(p), nil
}

// last returns the last n lines.
func (t *tail) last(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(t.text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

func (t *tail) contains(s string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Contains(t.text, []byte(s))
}

// process is a process under measurement.
type process struct {
	cmd    *exec.Cmd
	output *tail
	done   chan struct{} // Closed when it has ended.
}

// start starts a program, which dies with this process. The goroutine that starts it
// keeps its thread, since it is the thread's end that the kernel watches; and the program
// is in a group of its own, so that a Ctrl-C lets us end things in their order.
func start(program string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...), output: &tail{}, done: make(chan struct{})}
	p.cmd.Stderr, p.cmd.Stdout = p.output, p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // How it ended shows in ProcessState.
			close(p.done)
		}
	}()
	return p, <-started
}

// stop ends the process in an orderly way.
func (p *process) stop() {
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		return
	}
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.kill()
	}
}

// kill ends the process at once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// answers waits until url answers 200 or the process ends.
func (p *process) answers(ctx context.Context, url string) error {
	return p.until(ctx, url, func() bool {
		resp, err := http.Get(url)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// listens waits until something listens on the address.
func (p *process) listens(ctx context.Context, addr string) error {
	return p.until(ctx, addr, func() bool {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// until waits for a condition, as long as the process lives.
func (p *process) until(ctx context.Context, what string, met func() bool) error {
	for !met() {
		if err := p.pause(ctx); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
	}
	return nil
}

func (p *process) pause(ctx context.Context) error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %v\n%s", p.cmd.Path, p.cmd.ProcessState, p.output.last(30))
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Millisecond):
		return nil
	}
}
