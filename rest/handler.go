package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
)

// answer is what is written in return: a status, a JSON body unless it is nil, where
// what was created stands, and what should be known besides.
type answer struct {
	status            int
	body              any
	location, warning string
}

func ok(body any) (answer, error) { return answer{status: http.StatusOK, body: body}, nil }

// handler builds what answers the chosen routes: the routes themselves inside, the
// checks every request passes around them.
func (s *Server) handler(chosen func(route) bool) http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, r := range s.routes() {
		if !chosen(r) {
			continue
		}
		mux.Handle(r.method+" "+r.path, s.serve(r))
		methods[r.path] = append(methods[r.path], r.method)
	}
	for path, allowed := range methods {
		slices.Sort(allowed)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			s.writeError(w, r, httpStatus(http.StatusMethodNotAllowed))
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.writeError(w, r, httpStatus(http.StatusNotFound))
	})
	return s.guard(s.limitRequests(s.authenticate(s.tidyPath(mux))))
}

// serve runs one route within the request's time. Deadlines are taken off again when
// they have served: what is left of them would cut off the connection's next request,
// or end this one while its handler still works.
func (s *Server) serve(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		control := http.NewResponseController(w)
		if req.ContentLength != 0 {
			// Without a body there is nothing to wait for. A connection without deadlines,
			// such as a recorder in tests, does without.
			_ = control.SetReadDeadline(time.Now().Add(s.bodyTimeout))
		}
		if err := s.allow(req, r); err != nil {
			s.writeError(w, req, err)
			return
		}
		timed := timedBody{ReadCloser: http.MaxBytesReader(w, req.Body, s.maxBody), control: control}
		if r.stream != nil {
			copied := *req
			copied.Body = timed
			r.stream(w, &copied)
			return
		}
		ctx, cancel := context.WithTimeout(req.Context(), s.timeout)
		defer cancel()
		req = req.WithContext(ctx)
		req.Body = timed
		a, done, err := s.answerAnywhere(w, req, r.answer)
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		switch {
		case done:
		case err != nil:
			s.writeError(w, req, err)
		default:
			s.write(w, a)
		}
		_ = control.Flush() // What cannot be flushed is sent when the handler returns.
		_ = control.SetWriteDeadline(time.Time{})
	})
}

// timedBody is a body that must come within a time, which ends with the body. After
// an error the time stays over, so that nobody waits for the rest.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// write answers with a status and JSON.
func (s *Server) write(w http.ResponseWriter, a answer) {
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	if a.warning != "" {
		// The form of RFC 7234, 5.5. Code 299 is for what a person should read.
		w.Header().Set("Warning", "299 tidemill "+strconv.QuoteToASCII(a.warning))
	}
	if a.body == nil {
		if a.status != http.StatusNoContent {
			w.Header().Set("Content-Length", "0")
		}
		w.WriteHeader(a.status)
		return
	}
	text, err := appendJSON(a.body)
	if err != nil {
		s.log.Error("an answer cannot be written as JSON", "err", err)
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(a.status)
	_, _ = w.Write(text) // The client may be gone; there is nobody left to tell.
}

// appendJSON writes JSON as Connect does: <, > and & as they are, no line end.
func appendJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// body reads a request's body, which must be JSON if it has a type.
func (s *Server) body(r *http.Request) ([]byte, error) {
	if err := checkType(r, "application/json"); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return nil, err
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, fail(http.StatusRequestTimeout, "The request's body did not come in time")
		}
		return nil, fail(http.StatusBadRequest, "The request's body could not be read: "+err.Error())
	}
	return data, nil
}

// checkType refuses a body of another media type than those accepted. A client that
// names none is taken to mean the first.
func checkType(r *http.Request, accepted ...string) error {
	text := r.Header.Get("Content-Type")
	if text == "" {
		return nil
	}
	media, _, err := mime.ParseMediaType(text)
	if err != nil || !slices.Contains(accepted, media) {
		return httpStatus(http.StatusUnsupportedMediaType)
	}
	return nil
}

// settings reads a body that is a flat object of settings. With nulls, they are
// reported as Connect does.
func (s *Server) settings(r *http.Request) (connect.Config, error) {
	data, err := s.body(r)
	if err != nil {
		return nil, err
	}
	raw, err := config.ParseMap(data)
	if err != nil {
		return nil, err
	}
	return nonNull(raw)
}

func nonNull(raw map[string]*string) (connect.Config, error) {
	settings, nulls := config.NonNull(raw)
	if len(nulls) > 0 {
		var messages []string
		for _, e := range nulls {
			messages = append(messages, e.Message+" ("+e.Place+")")
		}
		return nil, invalid(messages)
	}
	return settings, nil
}

// redact takes known secrets out of a text.
func (s *Server) redact(text string) string {
	if s.o.Redactor == nil {
		return text
	}
	return s.o.Redactor.Text(text)
}

// tidyPath takes a slash off the end of the path, as the Java server does. A path
// with empty or dotted parts names nothing; the multiplexer would redirect it.
func (s *Server) tidyPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		escaped := r.URL.EscapedPath()
		if trimmed := strings.TrimSuffix(escaped, "/"); trimmed != escaped && trimmed != "" && trimmed != "/ui" {
			u := *r.URL
			u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
			copied := *r
			copied.URL = &u
			r, escaped = &copied, trimmed
		}
		if clean := path.Clean(escaped); clean != escaped && clean+"/" != escaped {
			s.writeError(w, r, httpStatus(http.StatusNotFound))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// recorder remembers the status for the log, and has the audit log told of it before the
// client sees it.
type recorder struct {
	http.ResponseWriter
	status int
	before func(status int)
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		w.before(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(data []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(data)
}

// Unwrap lets http.ResponseController find what lies beneath.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// guard is what stands around every request: its line in the log, the end of a
// panic, common headers, and the refusal of requests another site makes a browser
// send.
func (s *Server) guard(next http.Handler) http.Handler {
	inner := s.crossOrigin(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		e := &entry{}
		r = r.WithContext(context.WithValue(r.Context(), entryKey{}, e))
		rec := &recorder{ResponseWriter: w, before: func(status int) { s.auditLine(r, e, status, time.Since(start)) }}
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				s.log.Error("a request made the server panic", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				if rec.status == 0 {
					s.writeError(rec, r, fail(http.StatusInternalServerError, "Internal error; the log tells more"))
				}
			}
			if rec.status == 0 {
				rec.WriteHeader(http.StatusOK) // As the server does for a handler that has nothing to say.
			}
			s.logRequest(r, e, rec.status, time.Since(start))
		}()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		for _, extra := range s.headers {
			if extra.add {
				h.Add(extra.name, extra.value)
			} else {
				h.Set(extra.name, extra.value)
			}
		}
		inner.ServeHTTP(rec, r)
	})
}

// logRequest writes one line for each request; those that change something are for
// the record, the others for whoever looks closely.
func (s *Server) logRequest(r *http.Request, e *entry, status int, took time.Duration) {
	level := -4 // slog.LevelDebug
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		level = 0
	}
	e.mu.Lock()
	user := e.user
	e.mu.Unlock()
	s.logAt(r.Context(), level, "request", "method", r.Method, "path", r.URL.EscapedPath(), "status", status,
		"ms", took.Milliseconds(), "user", user, "from", r.RemoteAddr)
}
