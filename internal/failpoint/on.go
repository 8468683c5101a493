//go:build failpoint

package failpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Enabled tells whether this build acts at its failpoints.
const Enabled = true

// action is what happens at one point.
type action struct {
	verb   string
	stand  time.Duration
	nth    int64
	passed atomic.Int64
}

// plan reads the environment once. A text that means nothing ends the process: who
// sets it wants to see something happen.
var plan = sync.OnceValue(func() map[string]*action {
	text := os.Getenv("TIDEMILL_FAILPOINT")
	var err error
	if file, named := strings.CutPrefix(text, "@"); named {
		text, err = read(file)
	}
	var p map[string]*action
	if err == nil {
		p, err = parse(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "TIDEMILL_FAILPOINT:", err)
		os.Exit(2)
	}
	return p
})

// read reads a file that may be missing.
func read(file string) (string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(text), err
}

// parse reads name=verb[:duration][@n], several of them divided by semicolons.
func parse(text string) (map[string]*action, error) {
	known := map[string]bool{}
	for _, p := range Points() {
		known[p.Name] = true
	}
	list := map[string]*action{}
	for _, part := range strings.Split(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, what, _ := strings.Cut(part, "=")
		if !known[name] {
			return nil, fmt.Errorf("%q is no failpoint", name)
		}
		a := &action{nth: 1}
		verb, nth, counted := strings.Cut(what, "@")
		if counted {
			n, err := strconv.ParseInt(nth, 10, 64)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("%q: behind @ stands the number of a pass, from 1 on", part)
			}
			a.nth = n
		}
		var stand string
		a.verb, stand, _ = strings.Cut(verb, ":")
		var err error
		switch a.verb {
		case "kill", "error", "count":
		case "stop":
			a.stand, err = time.ParseDuration(stand)
		default:
			err = fmt.Errorf("the action %q is none of kill, stop, error and count", a.verb)
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", part, err)
		}
		list[name] = a
	}
	return list, nil
}

// At marks a place that is passed.
func At(name string) { _ = Fail(name) }

// Fail marks a place that may fail, and returns the error when it is to.
func Fail(name string) error {
	a := plan()[name]
	if a == nil || a.passed.Add(1) != a.nth || !once(name) {
		return nil
	}
	switch a.verb {
	case "kill":
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {} // It takes a moment; nothing behind this place may happen.
	case "stop":
		time.Sleep(a.stand)
	case "error":
		return fmt.Errorf("failpoint %s", name)
	}
	return nil
}

// once tells whether a point has not acted yet, and notes that it has now.
func once(name string) bool {
	dir := os.Getenv("TIDEMILL_FAILPOINT_DIR")
	if dir == "" {
		return true
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	return f.Close() == nil
}
