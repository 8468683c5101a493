package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
)

// binary builds tidemill once for all tests of the package.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tidemill-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tidemill")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// transcript is what a process has said so far. It may be read while it is written.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write adds p.
func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

// String returns what was written.
func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// process is a tidemill that runs beside the test and dies with it.
type process struct {
	t      *testing.T
	args   []string
	cmd    *exec.Cmd
	stderr transcript
	ended  chan struct{}
}

// launch starts tidemill with the given arguments.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, args: args}
	t.Cleanup(p.kill)
	p.start()
	return p
}

func (p *process) start() {
	p.t.Helper()
	path, err := binary()
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(path, p.args...)
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended, cmd := make(chan error, 1), make(chan struct{}), p.cmd
	p.ended = ended
	go func() { // Ends with the process.
		defer close(ended)
		// The process dies with the thread that started it, so that must be one's own.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		p.t.Fatal(err)
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.ended
}

// waitHealthy waits until the worker takes requests.
func (p *process) waitHealthy(ctx context.Context, url string) {
	p.t.Helper()
	err := until(ctx, "the worker to be healthy", func() (bool, error) {
		select {
		case <-p.ended:
			return false, fmt.Errorf("tidemill ended")
		default:
		}
		resp, err := http.Get(url + "/health")
		if err != nil {
			return false, nil
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.stderr.String())
	}
}

// freePorts returns n ports nobody listens on.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		port, err := devstack.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = port
	}
	return ports
}

// timeout returns a context that ends the test's waiting.
func timeout(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
