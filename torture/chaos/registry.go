package chaos

import (
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// sickRegistry stands before the schema registry and answers in its place, or slowly,
// when it is told to.
type sickRegistry struct {
	url    string
	server *http.Server
	served chan error

	mu     sync.Mutex // guards the following
	status int        // Answered instead; 0: the registry answers.
	drip   time.Duration
}

func newSickRegistry(target, listen string) (*sickRegistry, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	s := &sickRegistry{url: "http://" + l.Addr().String(), served: make(chan error, 1)}
	healthy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
	s.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		status, drip := s.status, s.drip
		s.mu.Unlock()
		if status != 0 {
			w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"error_code":50003,"message":"torture"}`))
			return
		}
		if drip > 0 {
			w = &dripping{ResponseWriter: w, pause: drip, gone: r.Context().Done()}
		}
		healthy.ServeHTTP(w, r)
	})}
	go func() { s.served <- s.server.Serve(l) }()
	return s, nil
}

// set makes the registry answer a status, or a byte at a time with a pause before each;
// zeros make it well.
func (s *sickRegistry) set(status int, drip time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.drip = status, drip
}

func (s *sickRegistry) close() error {
	err := s.server.Close()
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// dripping sends a byte at a time.
type dripping struct {
	http.ResponseWriter
	pause time.Duration
	gone  <-chan struct{}
}

// Write implements io.Writer.
func (d *dripping) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.ResponseWriter.Write(p[i : i+1]); err != nil {
			return i, err
		}
		if err := http.NewResponseController(d.ResponseWriter).Flush(); err != nil {
			return i, err
		}
		t := time.NewTimer(d.pause)
		select {
		case <-t.C:
		case <-d.gone:
			t.Stop()
			return i, net.ErrClosed
		}
	}
	return len(p), nil
}
