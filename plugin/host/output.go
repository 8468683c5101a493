package host

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// longestLine is how much of a line is logged, in bytes.
const longestLine = 4096

// output takes what a process writes, logs it line by line, and remembers why the process
// panicked. The runtime of Go writes that before it ends the process.
type output struct {
	log *slog.Logger

	mu    sync.Mutex // Guards what follows.
	rest  []byte
	panic string
}

func newOutput(log *slog.Logger) *output { return &output{log: log} }

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest = append(o.rest, p...)
	for {
		line, rest, whole := bytes.Cut(o.rest, []byte{'\n'})
		if !whole && len(o.rest) < longestLine {
			break
		}
		o.line(string(line[:min(len(line), longestLine)]))
		o.rest = rest
	}
	return len(p), nil
}

func (o *output) line(text string) {
	if text = strings.TrimRight(text, "\r"); text == "" {
		return
	}
	for _, start := range []string{"panic: ", "fatal error: ", "runtime: out of memory"} {
		if strings.HasPrefix(text, start) && o.panic == "" {
			o.panic = text
		}
	}
	o.log.Warn("the plugin's process writes", "output", text)
}

// reason returns why the process panicked, if it did.
func (o *output) reason() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.panic == "" {
		return ""
	}
	return ": " + o.panic
}

// relay logs a line of a plugin's own log, as the worker's.
func relay(log *slog.Logger, body []byte) {
	var all map[string]any
	if json.Unmarshal(body, &all) != nil {
		return
	}
	var level slog.Level
	if text, ok := all[slog.LevelKey].(string); !ok || level.UnmarshalText([]byte(text)) != nil {
		level = slog.LevelInfo
	}
	if !log.Enabled(context.Background(), level) {
		return
	}
	when := time.Now()
	if text, ok := all[slog.TimeKey].(string); ok {
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			when = t
		}
	}
	message, _ := all[slog.MessageKey].(string)
	record := slog.NewRecord(when, level, message, 0)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name != slog.LevelKey && name != slog.TimeKey && name != slog.MessageKey {
			record.AddAttrs(slog.Any(name, all[name]))
		}
	}
	_ = log.Handler().Handle(context.Background(), record) // As slog's own methods do.
}
