package worker

import (
	"fmt"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// stages remember what the worker is doing, to be told when a request takes too long.
type stages struct {
	mu   sync.Mutex // Guards what follows.
	now  []stageEntry
	last stageEntry
}

type stageEntry struct {
	what         string
	began, ended time.Time
}

// enter says that something begins, and returns how to say that it has ended.
func (s *stages) enter(what string) func() {
	e := stageEntry{what: what, began: time.Now()}
	s.mu.Lock()
	s.now = append(s.now, e)
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range s.now {
			if s.now[i] == e {
				s.now = append(s.now[:i], s.now[i+1:]...)
				break
			}
		}
		s.last = stageEntry{what: what, began: e.began, ended: time.Now()}
	}
}

// String says what the worker is doing, or did last, in Connect's words. It is empty
// when it never did anything.
func (s *stages) String() string {
	const instant = "2006-01-02T15:04:05.000Z"
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.now) > 0 {
		return fmt.Sprintf("The worker is currently %s, which began at %s", s.now[0].what, s.now[0].began.UTC().Format(instant))
	}
	if s.last.what == "" {
		return ""
	}
	return fmt.Sprintf("The last operation the worker completed was %s, which began at %s and completed at %s",
		s.last.what, s.last.began.UTC().Format(instant), s.last.ended.UTC().Format(instant))
}

// timeout is the error of a request whose time is over.
func (h *Herder) timeout() error {
	e := &connect.Error{Code: "worker.timeout", Class: connect.ClassRetriable, Message: "Request timed out."}
	if text := h.stages.String(); text != "" {
		e.Message += " " + text
	}
	return e
}
