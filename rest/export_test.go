package rest

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/tidemill/tidemill/rest/auth"
)

// SetBodyTimeout shortens the time bodies have to come.
func (s *Server) SetBodyTimeout(d time.Duration) { s.bodyTimeout = d }

// Route is what a test sees of a route.
type Route struct {
	Method, Path string
	Role         auth.Role
	Whole        bool
}

// Routes returns every route, so that a test can ask them all.
func Routes(o Options) []Route {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, log: o.Log}
	var all []Route
	for _, r := range s.routes() {
		all = append(all, Route{r.method, r.path, r.role, r.whole})
	}
	return all
}

// Concrete is the path with a name for each of its parts.
func (r Route) Concrete(connector string) string {
	return strings.NewReplacer("{$}", "", "{path...}", "x", "{task}", "0", "{name}", connector, "{", "", "}", "").Replace(r.Path)
}

// AnyHandler stands for an optional handler.
var AnyHandler = http.NotFoundHandler()

// Describe returns the description that a server of these options serves.
func Describe(o Options) (any, error) {
	s, err := New(o)
	if err != nil {
		return nil, err
	}
	return s.describe(), nil
}

// Operations returns the routes that operations.go describes.
func Operations() map[string]bool {
	all := map[string]bool{}
	for key := range operations() {
		all[key] = true
	}
	return all
}
