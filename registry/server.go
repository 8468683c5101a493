package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

const (
	contentType          = "application/vnd.schemaregistry.v1+json"
	defaultMaxBody int64 = 8 << 20
	latestVersion        = -1
)

// Options says how a registry is set up. The zero value is a registry in
// memory.
type Options struct {
	// Store keeps the schemas. Default: [Memory].
	Store Store
	// Compatibility is the global level while no client has set one.
	// Default: BACKWARD.
	Compatibility string
	// MaxBody bounds the body of a request, in bytes. Default: 8 MiB.
	MaxBody int64
}

// Server is a schema registry. Its handler may be called by many goroutines.
type Server struct {
	store   Store
	maxBody int64

	mu    sync.RWMutex // guards the following
	state *state
}

// New returns a registry with what its store holds. The caller closes the
// server, which closes the store.
func New(opts Options) (*Server, error) {
	s := &Server{store: opts.Store, maxBody: opts.MaxBody, state: newState()}
	if s.store == nil {
		s.store = Memory()
	}
	if s.maxBody == 0 {
		s.maxBody = defaultMaxBody
	}
	if opts.Compatibility != "" {
		_, name, ok := levelNamed(opts.Compatibility)
		if !ok {
			return nil, fmt.Errorf("starting the schema registry: %q is no compatibility level", opts.Compatibility)
		}
		s.state.levels[""] = name
	}
	if err := s.store.Load(s.state.replay); err != nil {
		return nil, fmt.Errorf("starting the schema registry: %w", err)
	}
	return s, nil
}

// Close closes the store; requests that change something fail from then on.
func (s *Server) Close() error { return s.store.Close() }

// answer handles one kind of request: it returns what to send as JSON.
type answer func(r *http.Request) (any, error)

// Handler returns the REST API.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, answer := range s.routes() {
		mux.Handle(pattern, s.handle(answer))
	}
	mux.Handle("/", s.handle(func(r *http.Request) (any, error) {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
			other := r.Clone(r.Context())
			other.Method = method
			if _, pattern := mux.Handler(other); pattern != "/" {
				return nil, &apiError{http.StatusMethodNotAllowed, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed"}
			}
		}
		return nil, &apiError{http.StatusNotFound, http.StatusNotFound, "HTTP 404 Not Found"}
	}))
	return mux
}

// routes lists the API: to add an endpoint, add a line.
func (s *Server) routes() map[string]answer {
	return map[string]answer{
		"GET /{$}":                         func(*http.Request) (any, error) { return struct{}{}, nil },
		"GET /v1/metadata/id":              func(*http.Request) (any, error) { return json.RawMessage(metadata), nil },
		"GET /contexts":                    func(*http.Request) (any, error) { return []string{"."}, nil },
		"GET /schemas/types":               func(*http.Request) (any, error) { return []string{"AVRO"}, nil },
		"GET /schemas":                     s.getSchemas,
		"GET /schemas/ids/{id}":            s.getSchema,
		"GET /schemas/ids/{id}/schema":     s.getSchemaText,
		"GET /schemas/ids/{id}/subjects":   s.getSchemaSubjects,
		"GET /schemas/ids/{id}/versions":   s.getSchemaVersions,
		"GET /subjects":                    s.getSubjects,
		"POST /subjects/{subject}":         s.postSubject,
		"DELETE /subjects/{subject}":       s.deleteSubject,
		"GET /subjects/{subject}/versions": s.getVersions,

		"POST /subjects/{subject}/versions":                       s.postVersion,
		"GET /subjects/{subject}/versions/{version}":              s.getVersion,
		"GET /subjects/{subject}/versions/{version}/schema":       s.getVersionText,
		"GET /subjects/{subject}/versions/{version}/referencedby": s.getReferencedBy,
		"DELETE /subjects/{subject}/versions/{version}":           s.deleteVersion,

		"POST /compatibility/subjects/{subject}/versions":           s.postCompatibility,
		"POST /compatibility/subjects/{subject}/versions/{version}": s.postCompatibility,

		"GET /config":              s.getSetting(levelSetting()),
		"PUT /config":              s.putLevel,
		"DELETE /config":           s.deleteSetting(levelSetting()),
		"GET /config/{subject}":    s.getSetting(levelSetting()),
		"PUT /config/{subject}":    s.putLevel,
		"DELETE /config/{subject}": s.deleteSetting(levelSetting()),
		"GET /mode":                s.getSetting(modeSetting()),
		"PUT /mode":                s.putMode,
		"GET /mode/{subject}":      s.getSetting(modeSetting()),
		"PUT /mode/{subject}":      s.putMode,
		"DELETE /mode/{subject}":   s.deleteSetting(modeSetting()),
	}
}

// metadata names this registry to clients that ask.
const metadata = `{"scope":{"path":[],"clusters":{"kafka-cluster":"tidemill-dev","schema-registry-cluster":"schema-registry"}},"id":""}`

// handle sends what an answer gives, or its error in the API's form.
func (s *Server) handle(answer answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, s.maxBody)
		status := http.StatusOK
		v, err := answer(r)
		if err != nil {
			fault := &apiError{http.StatusInternalServerError, codeStore, err.Error()}
			errors.As(err, &fault)
			status, v = fault.status, struct {
				Code    int    `json:"error_code"`
				Message string `json:"message"`
			}{fault.code, fault.message}
		}
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(v) // Only a lost connection fails here, and nobody is left to tell.
	})
}

// body reads a request's JSON.
func body(r *http.Request, into any) error {
	err := json.NewDecoder(r.Body).Decode(into)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &apiError{http.StatusRequestEntityTooLarge, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("The request is larger than %d bytes", tooLarge.Limit)}
	case err != nil:
		return &apiError{http.StatusBadRequest, http.StatusBadRequest, "Cannot read the request: " + err.Error()}
	}
	return nil
}

// flag reads a yes-or-no query parameter.
func flag(r *http.Request, name string) bool {
	yes, err := strconv.ParseBool(r.URL.Query().Get(name))
	return err == nil && yes
}

// versionIn reads the version of a path: a number, "latest" or -1.
func versionIn(r *http.Request) (int, error) {
	text := r.PathValue("version")
	if strings.EqualFold(text, "latest") || text == "-1" {
		return latestVersion, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 1 {
		return 0, unprocessable(codeInvalidVersion,
			"The specified version '%s' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\"", text)
	}
	return int(n), nil
}
