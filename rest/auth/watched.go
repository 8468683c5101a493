package auth

import (
	"io"
	"os"
	"sync"
	"time"
)

// maxFileBytes bounds the files that are read.
const maxFileBytes = 4 << 20

// watched is what a file says, read again when the file has changed.
type watched[T any] struct {
	path   string
	parse  func(data []byte) (T, error)
	report func(message string, err error)

	mu    sync.Mutex // Guards the following.
	value T
	seen  stamp
}

// stamp tells two states of a file apart.
type stamp struct {
	modified time.Time
	size     int64
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stamp{info.ModTime(), info.Size()}, nil
}

// watch reads a file for the first time.
func watch[T any](path string, parse func([]byte) (T, error), report func(string, error)) (*watched[T], error) {
	w := &watched[T]{path: path, parse: parse, report: report}
	var err error
	if w.seen, err = stampOf(path); err == nil {
		w.value, err = w.read()
	}
	return w, err
}

func (w *watched[T]) read() (value T, err error) {
	f, err := os.Open(w.path)
	if err != nil {
		return value, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes))
	if err != nil {
		return value, err
	}
	return w.parse(data)
}

// get returns what the file says now. While it cannot be used, that is what it said
// before; the report of it comes once for each state of the file.
func (w *watched[T]) get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, err := stampOf(w.path)
	if now == w.seen {
		return w.value
	}
	w.seen = now
	if err == nil {
		var value T
		if value, err = w.read(); err == nil {
			w.value = value
			return value
		}
	}
	if w.report != nil {
		w.report("the file "+w.path+" cannot be used, and what it said before stays in force", err)
	}
	return w.value
}
