package rest

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
)

// errorBody is the body of every error, with Connect's names in Connect's order.
type errorBody struct {
	ErrorCode int    `json:"error_code"`
	Message   string `json:"message"`
}

// statusError is an error that knows its status.
type statusError struct {
	status  int
	message string
}

func (e *statusError) Error() string { return e.message }

// fail returns an error with a status and the message to send.
func fail(status int, message string) error { return &statusError{status: status, message: message} }

// httpStatus returns the error the Java server's own library answers with.
func httpStatus(status int) error {
	return fail(status, "HTTP "+strconv.Itoa(status)+" "+http.StatusText(status))
}

// status returns the status of an error.
func (s *Server) status(err error) int {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.status
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return http.StatusRequestEntityTooLarge
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return http.StatusInternalServerError
	}
	e := connect.AsError(err)
	switch e.Code {
	case "connector.not_found", "remedy.unknown", "dlq.none", "dlq.no_replay", "offsets.no_entry":
		return http.StatusNotFound
	case "connector.exists", "request.conflict", "task.not_running":
		return http.StatusConflict
	case "request.forbidden":
		return http.StatusForbidden
	case "request.invalid", "config.invalid", "config.null", "config.masked":
		return http.StatusBadRequest
	case "worker.starting", "task.busy", "sql.starting", "streams.app.not_ready", "streams.store.elsewhere":
		return http.StatusServiceUnavailable
	case "config.too_large":
		return http.StatusRequestEntityTooLarge
	case "config.syntax", "config.shape", "config.duplicate", "request.unknown_field", "plugin.unknown":
		// The Java server does not know these for faults of the client.
		if s.strict {
			return http.StatusBadRequest
		}
		return http.StatusInternalServerError
	}
	if e.Class == connect.ClassConfig {
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// message returns what a person is told: cause and mend, no secret.
func (s *Server) message(err error) string {
	if e, ok := errors.AsType[*statusError](err); ok {
		return s.redact(e.message)
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return "The request is larger than " + strconv.FormatInt(e.Limit, 10) + " bytes → raise rest.max.body.bytes"
	}
	if errors.Is(err, context.DeadlineExceeded) && connect.AsError(err).Code == "internal" {
		return "Request timed out"
	}
	messages := config.Messages(err)
	for i, f := range config.Faults(err) {
		// A fault of the document is of little use without its place in it.
		if strings.HasPrefix(f.Code, "config.") && f.Code != "config.invalid" && f.Code != "config.null" && f.Place != "" {
			messages[i] = f.Place + ": " + messages[i]
		}
	}
	return s.redact(strings.Join(messages, "\n"))
}

// writeError answers with an error.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	status := s.status(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable {
		s.log.WarnContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	s.write(w, answer{status: status, body: errorBody{ErrorCode: status, Message: s.message(err)}})
}

// invalid is Connect's answer to a configuration with errors.
func invalid(messages []string) error {
	return fail(http.StatusBadRequest, "Connector configuration is invalid and contains the following "+strconv.Itoa(len(messages))+
		" error(s):\n"+strings.Join(messages, "\n")+
		"\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`")
}
