package host

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// inherited are the variables of the worker's environment that a plugin may see: they say
// nothing but where the machine keeps what every program needs.
var inherited = []string{"TZ", "ZONEINFO", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG"}

// child is a plugin's process as the system sees it. It implements go-plugin's
// runner.Runner.
type child struct {
	path string
	done chan struct{} // Closed when the process is gone.

	mu             sync.Mutex // Guards what follows.
	cmd            *exec.Cmd
	stdout, stderr io.ReadCloser
	dir            string
	claim          *os.File // Tells later workers that dir is in use.
	killed         bool
}

func newChild(path string) *child { return &child{path: path, done: make(chan struct{})} }

// prepare makes a process that sees the variables it is told, a few of the worker's, and
// dir as its place for what is temporary.
func (c *child) prepare(told []string, dir string) error {
	cmd := exec.Command(c.path)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "TMPDIR=" + dir}, told...)
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = childAttributes()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cmd, c.dir = cmd, dir
	var err error
	if c.claim, err = claim(dir); err != nil {
		return err
	}
	if c.stdout, err = cmd.StdoutPipe(); err == nil {
		c.stderr, err = cmd.StderrPipe()
	}
	return err
}

// Start implements runner.Runner.
func (c *child) Start(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.killed {
		return context.Canceled
	}
	return c.cmd.Start()
}

// Diagnose implements runner.Runner.
func (c *child) Diagnose(context.Context) string {
	return "What the file says when it is started is not what a plugin of Tidemill says"
}

// Stdout implements runner.Runner.
func (c *child) Stdout() io.ReadCloser { return c.stdout }

// Stderr implements runner.Runner.
func (c *child) Stderr() io.ReadCloser { return c.stderr }

// Name implements runner.Runner.
func (c *child) Name() string { return c.path }

// Wait implements runner.AttachedRunner. It is called once.
func (c *child) Wait(context.Context) error {
	defer close(c.done)
	return c.cmd.Wait()
}

// Kill implements runner.AttachedRunner.
func (c *child) Kill(context.Context) error {
	c.kill()
	return nil
}

// kill kills the process, and keeps one from starting that has not.
func (c *child) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killed = true
	select {
	case <-c.done:
		return
	default:
	}
	if c.cmd != nil && c.cmd.Process != nil {
		_ = killGroup(c.cmd.Process) // It may be gone by now.
	}
}

// clean removes what the process left of its temporary files.
func (c *child) clean() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dir != "" {
		_ = os.RemoveAll(c.dir)
	}
	if c.claim != nil {
		_ = c.claim.Close()
	}
}

func (c *child) pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd == nil || c.cmd.Process == nil {
		return 0
	}
	return c.cmd.Process.Pid
}

// ID implements runner.AttachedRunner.
func (c *child) ID() string {
	if pid := c.pid(); pid != 0 {
		return strconv.Itoa(pid)
	}
	return ""
}

// PluginToHost implements runner.AddrTranslator.
func (c *child) PluginToHost(network, address string) (hostNetwork, hostAddress string, err error) {
	if network != "unix" || !strings.HasPrefix(address, "/") {
		return "", "", errors.New("it listens at no socket of its own")
	}
	return network, address, nil
}

// HostToPlugin implements runner.AddrTranslator.
func (c *child) HostToPlugin(network, address string) (pluginNetwork, pluginAddress string, err error) {
	return network, address, nil
}

// outcome says how the process ended, when that is known soon.
func (c *child) outcome(atMost time.Duration) string {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-c.done:
		return c.cmd.ProcessState.String()
	case <-timer.C:
		return "its connection is closed"
	}
}
