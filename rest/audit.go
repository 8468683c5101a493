package rest

import (
	"context"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest/auth"
)

// entry is what the audit log says of a request: who did what to which connector, and how
// it ended. What may hold secrets has no place in it: of a configuration it names the
// settings that changed, of a statement the words it begins with.
type entry struct {
	mu        sync.Mutex // Guards the following.
	action    string     // Method and pattern of the route.
	role      auth.Role
	connector string
	task      string
	changed   []string
	statement string
	refused   string // Why, "" when it was not.
	user, how string
	forwarded bool // Another worker has asked who it is.
}

type entryKey struct{}

// note lets f add to what is said of a request.
func note(ctx context.Context, f func(*entry)) {
	if e, ok := ctx.Value(entryKey{}).(*entry); ok {
		e.mu.Lock()
		defer e.mu.Unlock()
		f(e)
	}
}

// noteChange names the settings by which two configurations differ.
func noteChange(ctx context.Context, connector string, before, after connect.Config) {
	note(ctx, func(e *entry) {
		e.connector = connector
		changed := map[string]bool{}
		for name, text := range after {
			was, had := before[name]
			changed[name] = !had || was != text
		}
		for name := range before {
			_, has := after[name]
			changed[name] = changed[name] || !has
		}
		maps.DeleteFunc(changed, func(_ string, is bool) bool { return !is })
		e.changed = slices.Sorted(maps.Keys(changed))
	})
}

// statementWords are the words a statement begins with, which name what it does.
var statementWords = regexp.MustCompile(`^\s*(?:[A-Za-z]+\s+){0,3}[A-Za-z]+`)

// noteSQL tells what statements do, without the texts and settings in them.
func noteSQL(ctx context.Context, text string) {
	var all []string
	for one := range strings.SplitSeq(text, ";") {
		if words := strings.Fields(statementWords.FindString(one)); len(words) > 0 && len(all) < 10 {
			all = append(all, strings.ToUpper(strings.Join(words[:min(len(words), 2)], " ")))
		}
	}
	note(ctx, func(e *entry) { e.statement = strings.Join(all, "; ") })
}

// auditLine writes a line for each request that changes something, or is refused for who
// sent it.
func (s *Server) auditLine(r *http.Request, e *entry, status int, took time.Duration) {
	if s.o.Audit == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	// What needs no more than a viewer changes nothing; workers among themselves do what
	// somebody has asked one of them.
	if e.refused == "" && (e.role == auth.Viewer || e.role == auth.Worker || e.action == "") {
		return
	}
	outcome := "done"
	switch {
	case e.refused != "":
		outcome = "refused"
	case status >= http.StatusBadRequest:
		outcome = "failed"
	}
	args := []any{"action", e.action, "outcome", outcome, "status", status, "user", e.user, "how", e.how, "from", r.RemoteAddr, "ms", took.Milliseconds()}
	if e.action == "" {
		args[1] = r.Method // A path that is none is whatever somebody liked to send.
	}
	for _, more := range []struct{ name, text string }{{"connector", e.connector}, {"task", e.task}, {"statement", e.statement}, {"reason", e.refused}} {
		if more.text != "" {
			args = append(args, more.name, more.text)
		}
	}
	if len(e.changed) > 0 {
		args = append(args, "changed", e.changed)
	}
	if e.forwarded {
		args = append(args, "forwarded", true)
	}
	s.o.Audit.InfoContext(r.Context(), "audit", args...)
}
