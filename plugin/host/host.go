package host

import (
	"log/slog"
	"sync"

	"github.com/tidemill/tidemill/connect"
)

// Options are what a host is made from.
type Options struct {
	// Dirs are the directories of plugin.path.
	Dirs []string
	// Log takes what is found and refused, and what processes say that belong to no
	// connector; nil for nowhere.
	Log *slog.Logger
}

// Host knows the plugins there are. Its methods may be called from any goroutine.
type Host struct {
	dirs []string
	log  *slog.Logger

	scanning sync.Mutex // One looks at a time.
	tidy     sync.Once  // What killed workers have left is removed before the first look.

	mu      sync.Mutex // Guards what follows.
	files   map[string]*program
	said    map[string]string // What was last said of a path, to say it once.
	plugins connect.Plugins
}

// New returns a host that has not looked yet.
func New(o Options) *Host {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Host{dirs: o.Dirs, log: o.Log, files: map[string]*program{}, said: map[string]string{}}
}

// Plugins returns the plugins there are, in which a class has an entry for each of its
// versions: those known, at once, or with look those that a look at the directories finds.
// Files that have not changed cost next to nothing then, others are started to be asked.
func (h *Host) Plugins(look bool) connect.Plugins {
	h.mu.Lock()
	known := h.plugins
	h.mu.Unlock()
	if !look || len(h.dirs) == 0 {
		return known
	}
	h.scanning.Lock()
	defer h.scanning.Unlock()
	h.tidy.Do(h.sweep)
	found := h.scan()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.plugins = found
	return found
}

// say logs something about a path, unless it was the last thing said of it.
func (h *Host) say(path, text string, args ...any) {
	h.mu.Lock()
	before := h.said[path]
	h.said[path] = text
	h.mu.Unlock()
	if before != text {
		h.log.Warn(text, append([]any{"file", path}, args...)...)
	}
}
