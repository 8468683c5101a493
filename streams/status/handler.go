package status

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Path begins the paths of a Handler.
const Path = "/streams/v1/applications"

// Source has applications; *streams.Engine is one.
type Source interface {
	// Apps lists the ids of the applications, sorted.
	Apps() []string
	// Status tells how one is doing. ctx bounds the questions to brokers, without whose
	// answers the ends of partitions are those that were heard of last.
	Status(ctx context.Context, id string) (*Application, error)
	// Drawn describes its topology, as text or in the language of Graphviz.
	Drawn(id string, dot bool) (string, error)
	// Pause stops it from taking in records.
	Pause(id string) error
	// Resume lets it go on.
	Resume(id string) error
}

// askWithin is how long brokers are asked for the ends of partitions.
const askWithin = 2 * time.Second

// Handler answers questions about applications. source is asked anew for each request, and
// returns an error while there is none.
func Handler(source func() (Source, error)) http.Handler {
	mux := http.NewServeMux()
	answer := func(pattern string, do func(context.Context, Source, *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), askWithin)
			defer cancel()
			s, err := source()
			var body any
			if err == nil {
				body, err = do(ctx, s, r)
			}
			write(w, body, err)
		})
	}
	answer("GET "+Path, func(ctx context.Context, s Source, _ *http.Request) (any, error) { return list(ctx, s) })
	answer("GET "+Path+"/{id}", func(ctx context.Context, s Source, r *http.Request) (any, error) {
		return s.Status(ctx, r.PathValue("id"))
	})
	answer("GET "+Path+"/{id}/topology", func(_ context.Context, s Source, r *http.Request) (any, error) {
		text, err := s.Drawn(r.PathValue("id"), r.URL.Query().Get("format") == "dot")
		return drawing(text), err
	})
	answer("PUT "+Path+"/{id}/pause", func(_ context.Context, s Source, r *http.Request) (any, error) {
		return nil, s.Pause(r.PathValue("id"))
	})
	answer("PUT "+Path+"/{id}/resume", func(_ context.Context, s Source, r *http.Request) (any, error) {
		return nil, s.Resume(r.PathValue("id"))
	})
	return mux
}

// Summary is an application in short.
type Summary struct {
	ID    string `json:"id"`
	State string `json:"state"`
	Error *Error `json:"error,omitempty"`
	Tasks int    `json:"tasks"`
	Lag   int64  `json:"lag"`
}

func list(ctx context.Context, s Source) ([]Summary, error) {
	all := []Summary{}
	for _, id := range s.Apps() {
		a, err := s.Status(ctx, id)
		if err != nil {
			continue // It was removed meanwhile.
		}
		all = append(all, Summary{ID: id, State: a.State, Error: a.Error, Tasks: len(a.Tasks), Lag: a.Lag()})
	}
	return all, nil
}

// drawing is a topology in a text.
type drawing string

func write(w http.ResponseWriter, body any, err error) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if text, is := body.(drawing); is && err == nil {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(text)) // The client may be gone; there is nobody left to tell.
		return
	}
	code := http.StatusOK
	switch {
	case err != nil:
		code = http.StatusInternalServerError
		if e := connect.AsError(err); e.Code == "streams.app.unknown" {
			code = http.StatusNotFound
		} else if e.Class == connect.ClassRetriable {
			code = http.StatusServiceUnavailable
		}
		body = NewError(err)
	case body == nil:
		w.WriteHeader(http.StatusAccepted)
		return
	}
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, "the answer cannot be written as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(text)
}
