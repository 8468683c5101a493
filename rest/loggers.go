package rest

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// rootLogger is the logger above all others.
const rootLogger = "root"

// maxLoggers bounds the names clients can make up.
const maxLoggers = 1000

// levels are Connect's names for levels.
var levels = map[string]slog.Level{
	"ALL": -100, "TRACE": slog.LevelDebug - 4, "DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARN": slog.LevelWarn,
	"ERROR": slog.LevelError, "FATAL": slog.LevelError + 4, "OFF": 100,
}

// Loggers are named log levels that can be changed while the worker runs. Names are
// dotted; a change of one is a change of those below it, and root is above all. It
// is safe for concurrent use.
type Loggers struct {
	mu    sync.Mutex // Guards named.
	named map[string]*namedLevel
}

// namedLevel is the level of one logger, and when a client last changed it.
type namedLevel struct {
	level    slog.LevelVar
	text     string
	modified *int64 // Milliseconds since 1970.
}

// NewLoggers returns loggers with the given level for all.
func NewLoggers(level slog.Level) *Loggers {
	l := &Loggers{named: map[string]*namedLevel{}}
	root := &namedLevel{text: levelText(level)}
	root.level.Set(level)
	l.named[rootLogger] = root
	return l
}

// Logger returns a logger of that name, which writes to next what its level lets
// through. A new name begins with the level of the nearest one above it.
func (l *Loggers) Logger(name string, next slog.Handler) *slog.Logger {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slog.New(levelHandler{next: next, level: &l.get(name).level}).With("logger", name)
}

// get returns the level of a name, which it makes if need be.
func (l *Loggers) get(name string) *namedLevel {
	if n := l.named[name]; n != nil {
		return n
	}
	above := l.named[rootLogger]
	for up := name; ; {
		i := strings.LastIndexByte(up, '.')
		if i < 0 {
			break
		}
		up = up[:i]
		if n := l.named[up]; n != nil {
			above = n
			break
		}
	}
	n := &namedLevel{text: above.text}
	n.level.Set(above.level.Level())
	l.named[name] = n
	return n
}

// Set changes the level of a name and of those below it, as a request has asked for at
// another worker of the group. A level that is none changes nothing.
func (l *Loggers) Set(name, level string) {
	if _, known := levels[level]; known {
		l.set(name, level, time.Now())
	}
}

// set changes the level of a name and of those below it, and returns them sorted.
func (l *Loggers) set(name, level string, now time.Time) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.named) < maxLoggers {
		l.get(name)
	}
	changed := []string{}
	millis := now.UnixMilli()
	for other, n := range l.named {
		if name != rootLogger && other != name && !strings.HasPrefix(other, name+".") {
			continue
		}
		changed = append(changed, other)
		if n.text != level {
			n.text, n.modified = level, &millis
			n.level.Set(levels[level])
		}
	}
	slices.Sort(changed)
	return changed
}

func levelText(level slog.Level) string {
	best := "INFO"
	for _, text := range []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR"} {
		if level >= levels[text] {
			best = text
		}
	}
	return best
}

// levelHandler lets through what a level allows.
type levelHandler struct {
	next  slog.Handler
	level *slog.LevelVar
}

func (h levelHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h levelHandler) Handle(ctx context.Context, r slog.Record) error { return h.next.Handle(ctx, r) }

func (h levelHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return levelHandler{next: h.next.WithAttrs(attrs), level: h.level}
}

func (h levelHandler) WithGroup(name string) slog.Handler {
	return levelHandler{next: h.next.WithGroup(name), level: h.level}
}

// levelBody is one logger in an answer.
type levelBody struct {
	Level        string `json:"level"`
	LastModified *int64 `json:"last_modified"`
}

func (s *Server) listLoggers(*http.Request) (answer, error) {
	l := s.o.Loggers
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]levelBody, len(l.named))
	for name, n := range maps.All(l.named) {
		all[name] = levelBody{Level: n.text, LastModified: n.modified}
	}
	return ok(all)
}

func (s *Server) getLogger(r *http.Request) (answer, error) {
	l := s.o.Loggers
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.named[r.PathValue("logger")]
	if n == nil {
		return answer{}, fail(http.StatusNotFound, "Logger "+r.PathValue("logger")+" not found.")
	}
	return ok(levelBody{Level: n.text, LastModified: n.modified})
}

func (s *Server) setLogger(r *http.Request) (answer, error) {
	data, err := s.body(r)
	if err != nil {
		return answer{}, err
	}
	var body map[string]string
	if json.Unmarshal(data, &body) != nil || body["level"] == "" {
		return answer{}, fail(http.StatusBadRequest, "Desired 'level' parameter was not specified in request.")
	}
	level := strings.ToUpper(strings.TrimSpace(body["level"]))
	if _, known := levels[level]; !known {
		return answer{}, fail(http.StatusNotFound, "invalid log level '"+body["level"]+"'.")
	}
	if strings.EqualFold(r.URL.Query().Get("scope"), "cluster") {
		if err := s.o.Herder.SetLevel(r.Context(), r.PathValue("logger"), level); err != nil {
			return answer{}, err
		}
		return answer{status: http.StatusNoContent}, nil
	}
	return ok(s.o.Loggers.set(r.PathValue("logger"), level, time.Now()))
}
