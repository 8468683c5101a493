package rest

import "net/http"

// health answers probes: 200 when the worker is ready, 503 while it starts, 500 when
// it is not well.
func (s *Server) health(r *http.Request) (answer, error) {
	h := s.o.Herder.Health(r.Context())
	h.Message = s.redact(h.Message)
	status := http.StatusInternalServerError
	switch h.Status {
	case "healthy":
		status = http.StatusOK
	case "starting":
		status = http.StatusServiceUnavailable
	}
	return answer{status: status, body: h}, nil
}
