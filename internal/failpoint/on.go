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
	passed int64
}

// plan is what happens at which point. One for the process, as the environment is.
var plan planned

// planned is what the environment asks for, or the file that it names.
type planned struct {
	mu   sync.Mutex  // guards the following
	file fs.FileInfo // As it was when it was read; nil for none.
	read bool
	list map[string][]*action
}

// renew reads the environment, once, and the file that it names whenever that is
// another. A text that means nothing ends the process: who sets it wants to see
// something happen. The caller holds mu.
func (p *planned) renew() {
	text := os.Getenv("TIDEMILL_FAILPOINT")
	file, named := strings.CutPrefix(text, "@")
	if p.read && !named {
		return
	}
	var err error
	if named {
		var now fs.FileInfo
		if now, err = stat(file); err == nil && p.read && same(p.file, now) {
			return
		}
		p.file, text = now, ""
	}
	if err == nil && p.file != nil {
		text, err = read(file)
	}
	if err == nil {
		p.list, err = parse(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "TIDEMILL_FAILPOINT:", err)
		os.Exit(2)
	}
	p.read = true
}

// stat looks at a file that may be missing.
func stat(file string) (fs.FileInfo, error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return info, err
}

// read reads a file that may be gone meanwhile.
func read(file string) (string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(text), err
}

// same tells whether a file is the one that it was.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// parse reads name=verb[:duration][@n], several of them divided by semicolons.
func parse(text string) (map[string][]*action, error) {
	known := map[string]bool{}
	for _, p := range Points() {
		known[p.Name] = true
	}
	list := map[string][]*action{}
	for _, part := range strings.Split(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, what, _ := strings.Cut(part, "=")
		if !known[name] {
			return nil, fmt.Errorf("%q is no failpoint", name)
		}
		a, err := parseAction(what)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", part, err)
		}
		list[name] = append(list[name], a)
	}
	return list, nil
}

func parseAction(what string) (*action, error) {
	a := &action{nth: 1}
	verb, nth, counted := strings.Cut(what, "@")
	if counted {
		n, err := strconv.ParseInt(nth, 10, 64)
		if err != nil || n < 1 {
			return nil, errors.New("behind @ stands the number of a pass, from 1 on")
		}
		a.nth = n
	}
	var stand string
	var err error
	a.verb, stand, _ = strings.Cut(verb, ":")
	switch a.verb {
	case "kill", "error", "count":
	case "stop":
		a.stand, err = time.ParseDuration(stand)
	default:
		err = fmt.Errorf("the action %q is none of kill, stop, error and count", a.verb)
	}
	return a, err
}

// At marks a place that is passed.
func At(name string) { _ = Fail(name) }

// Fail marks a place that may fail, and returns the error when it is to.
func Fail(name string) error {
	a := plan.due(name)
	if a == nil {
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

// due counts a pass and returns what is to happen at it: the first action of the point
// whose pass it is, or was, and that has not been taken.
func (p *planned) due(name string) *action {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.renew()
	var due *action
	for _, a := range p.list[name] {
		a.passed++
		if due == nil && a.passed >= a.nth && once(name, a) {
			due = a
		}
	}
	return due
}

// taken is the number of passes of an action that was taken: none is as far.
const taken = -1 << 62

// once tells whether an action has not been taken yet, and notes that it is now.
func once(name string, a *action) bool {
	a.passed = taken
	dir := os.Getenv("TIDEMILL_FAILPOINT_DIR")
	if dir == "" {
		return true
	}
	f, err := os.OpenFile(filepath.Join(dir, name+"="+a.verb), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false
	}
	return f.Close() == nil
}
