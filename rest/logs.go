package rest

import (
	"context"
	"encoding"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// The bounds of what is kept: of all connectors, of one, and of a line.
const (
	logBytes      = 16 << 20
	logBytesOfOne = 256 << 10
	logLines      = 1000
	logTextBytes  = 4 << 10
)

// Logs keeps the newest lines of the log of each connector and its tasks in memory, within
// bounds. It is safe for concurrent use.
type Logs struct {
	mu sync.Mutex // Guards of.
	of map[string]*logRing
}

// logRing are the lines of one connector.
type logRing struct {
	lines   []LogLine
	sizes   []int
	bytes   int
	dropped int64         // How many lines were here before the first.
	changed chan struct{} // Closed at the next line; nil when nobody waits.
}

// LogLine is a line of a connector's log, as it is shown.
type LogLine struct {
	Time    time.Time `json:"time"`
	Level   string    `json:"level"`
	Task    *int      `json:"task,omitempty"`   // Absent: it is about the connector itself.
	Worker  string    `json:"worker,omitempty"` // host:port of another worker than the one that is asked.
	Logger  string    `json:"logger,omitempty"`
	Message string    `json:"message"`
	// Fields are what else the line says, by name.
	Fields map[string]any `json:"fields,omitempty"`

	level slog.Level
}

// NewLogs returns logs without a line.
func NewLogs() *Logs { return &Logs{of: map[string]*logRing{}} }

// Handler returns a log handler that keeps the lines of connectors, and hands all on to
// next. It belongs behind what takes secrets out of lines.
func (l *Logs) Handler(next slog.Handler) slog.Handler { return &logKeeper{logs: l, next: next} }

// logKeeper is a handler of lines with some attributes.
type logKeeper struct {
	logs      *Logs
	next      slog.Handler
	connector string
	line      LogLine
	group     string
}

// Enabled implements slog.Handler.
func (k *logKeeper) Enabled(ctx context.Context, level slog.Level) bool {
	return k.next.Enabled(ctx, level)
}

// WithGroup implements slog.Handler.
func (k *logKeeper) WithGroup(name string) slog.Handler {
	c := *k
	c.next, c.group = k.next.WithGroup(name), k.group+name+"."
	return &c
}

// WithAttrs implements slog.Handler.
func (k *logKeeper) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := k.copied()
	c.next = k.next.WithAttrs(attrs)
	for _, a := range attrs {
		c.take(a)
	}
	return c
}

// copied returns a keeper whose fields are its own.
func (k *logKeeper) copied() *logKeeper {
	c := *k
	c.line.Fields = make(map[string]any, len(k.line.Fields)+4)
	for name, v := range k.line.Fields {
		c.line.Fields[name] = v
	}
	return &c
}

// Handle implements slog.Handler.
func (k *logKeeper) Handle(ctx context.Context, r slog.Record) error {
	c := k.copied()
	r.Attrs(func(a slog.Attr) bool {
		c.take(a)
		return true
	})
	if c.connector != "" {
		line := c.line
		line.Time, line.level, line.Level, line.Message = r.Time.UTC(), r.Level, levelText(r.Level), short(r.Message)
		k.logs.add(c.connector, line)
	}
	return k.next.Handle(ctx, r)
}

// take takes in one attribute.
func (k *logKeeper) take(a slog.Attr) {
	v := a.Value.Resolve()
	switch {
	case v.Kind() == slog.KindGroup:
		in := *k
		in.group += a.Key + "."
		for _, one := range v.Group() {
			in.take(one)
		}
		return
	case k.group == "" && a.Key == "connector" && v.Kind() == slog.KindString:
		k.connector = v.String()
	case k.group == "" && a.Key == "task" && v.Kind() == slog.KindInt64:
		task := int(v.Int64())
		k.line.Task = &task
	case k.group == "" && a.Key == "logger":
		k.line.Logger = v.String()
	case a.Key != "":
		k.line.Fields[k.group+a.Key] = plain(v)
	}
}

// plain returns a value as JSON shows it best.
func plain(v slog.Value) any {
	switch v.Kind() {
	case slog.KindBool, slog.KindInt64, slog.KindUint64:
		return v.Any()
	case slog.KindAny:
		if text, ok := v.Any().(encoding.TextMarshaler); ok {
			if data, err := text.MarshalText(); err == nil {
				return short(string(data))
			}
		}
		return short(fmt.Sprintf("%+v", v.Any()))
	}
	return short(v.String())
}

// short cuts a text that is too long to keep.
func short(text string) string {
	if len(text) <= logTextBytes {
		return text
	}
	return strings.ToValidUTF8(text[:logTextBytes], "") + "…"
}

// add keeps a line, for which the oldest may go.
func (l *Logs) add(connector string, line LogLine) {
	const lineBytes = 200 // Of what holds the texts.
	size := lineBytes + len(line.Message) + len(line.Logger)
	for name, v := range line.Fields {
		size += lineBytes/4 + len(name)
		if text, ok := v.(string); ok {
			size += len(text)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ring := l.of[connector]
	if ring == nil {
		ring = &logRing{}
		l.of[connector] = ring
		for _, other := range l.of {
			other.shrink(min(logBytesOfOne, logBytes/len(l.of)))
		}
	}
	ring.lines, ring.sizes, ring.bytes = append(ring.lines, line), append(ring.sizes, size), ring.bytes+size
	if most := min(logBytesOfOne, logBytes/len(l.of)); ring.bytes > most || len(ring.lines) > logLines {
		ring.shrink(most / 10 * 9)
	}
	if ring.changed != nil {
		close(ring.changed)
		ring.changed = nil
	}
}

// shrink drops the oldest lines until there are few enough, and room for some more.
func (r *logRing) shrink(most int) {
	gone := 0
	for gone < len(r.lines) && (r.bytes > most || len(r.lines)-gone > logLines/10*9) {
		r.bytes -= r.sizes[gone]
		gone++
	}
	if gone > 0 {
		r.lines, r.sizes, r.dropped = slices.Delete(r.lines, 0, gone), slices.Delete(r.sizes, 0, gone), r.dropped+int64(gone)
	}
}

// since returns the lines of a connector from a number on that are asked for, the number
// of the line after them, how many have gone before they were read, and what is closed when
// there are more.
func (l *Logs) since(connector string, number int64, q logQuery) (lines []LogLine, next, missed int64, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ring := l.of[connector]
	if ring == nil {
		ring = &logRing{}
		l.of[connector] = ring
	}
	missed = max(0, ring.dropped-number)
	for _, line := range ring.lines[min(int64(len(ring.lines)), max(0, number-ring.dropped)):] {
		if line.level >= q.level && (q.task == nil || line.Task != nil && *line.Task == *q.task) {
			lines = append(lines, line)
		}
	}
	if ring.changed == nil {
		ring.changed = make(chan struct{})
	}
	return lines, ring.dropped + int64(len(ring.lines)), missed, ring.changed
}
