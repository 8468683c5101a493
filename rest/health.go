package rest

import (
	"net/http"
	"strings"

	"github.com/tidemill/tidemill/worker"
)

// health answers probes. The status code speaks of the worker alone: 200 when it is ready,
// 503 while it starts, 500 when it is not well. So whoever restarts workers that do not
// answer with 200 does not restart one for a fault in a connector's configuration, which
// no restart mends. The body speaks of all: while a connector or task has failed, it is
// not healthy, and names them. With scope=connectors the code says so too: 503.
func (s *Server) health(r *http.Request) (answer, error) {
	h := healthBody{Health: s.o.Herder.Health(r.Context())}
	status := http.StatusInternalServerError
	switch h.Status {
	case "healthy":
		status = http.StatusOK
		h.Failed = s.failed(r)
	case "starting":
		status = http.StatusServiceUnavailable
	}
	if len(h.Failed) > 0 {
		h.Status = "unhealthy"
		h.Message += " " + whatFailed(h.Failed)
		if r.URL.Query().Get("scope") == "connectors" {
			status = http.StatusServiceUnavailable
		}
	}
	h.Message = s.redact(h.Message)
	return answer{status: status, body: h}, nil
}

// healthBody is the answer of GET /health.
type healthBody struct {
	worker.Health
	// Failed are the connectors and tasks that have failed.
	Failed []string `json:"failed,omitempty"`
}

// whatFailed says in a sentence what has failed.
func whatFailed(failed []string) string {
	const most = 10
	text := "Failed: " + strings.Join(failed[:min(most, len(failed))], ", ")
	if len(failed) > most {
		text += " and others"
	}
	return text + " → GET /connectors/<name>/status tells why"
}

// failed returns what has failed of the connectors that whoever asks may see.
func (s *Server) failed(r *http.Request) (seen []string) {
	failed := s.o.Herder.Failed()
	if len(failed) == 0 {
		return nil
	}
	visible := map[string]bool{}
	for _, name := range s.visible(r) {
		visible[name] = true
	}
	for _, name := range failed {
		connector := name
		if dash := strings.LastIndexByte(name, '-'); dash > 0 && !visible[name] {
			connector = name[:dash] // It is a task.
		}
		if visible[connector] {
			seen = append(seen, name)
		}
	}
	return seen
}
