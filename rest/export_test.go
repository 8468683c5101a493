package rest

import (
	"log/slog"
	"net/http"
	"time"
)

// SetBodyTimeout shortens the time bodies have to come.
func (s *Server) SetBodyTimeout(d time.Duration) { s.bodyTimeout = d }

// Routes returns method and path of every route, so that a test can ask them all.
func Routes(o Options) [][2]string {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, log: o.Log}
	var all [][2]string
	for _, r := range s.routes() {
		all = append(all, [2]string{r.method, r.path})
	}
	return all
}

// AnyHandler stands for an optional handler.
var AnyHandler = http.NotFoundHandler()
