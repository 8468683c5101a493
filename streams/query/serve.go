package query

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// maxQuestion is the largest question that is read.
const maxQuestion = 16 << 20

// handler answers the questions of other instances.
type handler struct {
	remote *Remote
	host   string // by which this process may be asked, besides addresses
	find   func(app, store string) (*Rows, error)
}

// Handler answers the questions of other instances about the stores that find gives.
// address is where others reach this process.
func (o *Remote) Handler(address string, find func(app, store string) (*Rows, error)) http.Handler {
	host, _, _ := net.SplitHostPort(address)
	return &handler{remote: o, host: host, find: find}
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != path || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	// A page in a browser can send neither this type nor, where a name was made to
	// point here, another host than its own.
	if r.Header.Get("Content-Type") != questionType || !h.knows(r.Host) {
		http.Error(w, "this address answers instances of the application alone", http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuestion))
	if err != nil {
		http.Error(w, "the question is too large or was cut off", http.StatusBadRequest)
		return
	}
	if !h.remote.signed(path, r.Header.Get(signature), body, time.Now()) {
		http.Error(w, "the question is not signed with the secret of this instance", http.StatusUnauthorized)
		return
	}
	var q question
	if err := json.Unmarshal(body, &q); err != nil {
		http.Error(w, "the question cannot be read", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", answerType)
	frames := &frameWriter{w: bufio.NewWriterSize(patient{w, http.NewResponseController(w)}, q.room())}
	rows, err := h.find(q.App, q.Store)
	switch {
	case err != nil:
	case q.Op == opGets:
		err = rows.answerGets(r.Context(), &q, frames)
	default:
		err = rows.here(r.Context(), &q, frames.row)
	}
	// When the answer cannot be written, the one who asked is gone or sees it cut off.
	_ = frames.end(q.seen, err)
}

// knows tells whether a process is asked by its address or its own name.
func (h *handler) knows(asked string) bool {
	host := asked
	if name, _, err := net.SplitHostPort(asked); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(host)
	return err == nil || host == h.host || host == "localhost"
}

// patient gives every piece of an answer its own time, so that a reader that stands still
// does not hold what is read for ever.
type patient struct {
	io.Writer
	control *http.ResponseController
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(goOnWithin)); err != nil {
		return 0, err
	}
	return p.Writer.Write(b)
}

// Guard lets those through to next who may ask for rows too: by the process's address or
// own name, and signed where there is a secret. Whoever changes something says that the
// body is JSON, which a page of another site cannot.
func (o *Remote) Guard(address string, next http.Handler) http.Handler {
	host, _, _ := net.SplitHostPort(address)
	h := &handler{remote: o, host: host}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asks := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case !h.knows(r.Host) || !asks && r.Header.Get("Content-Type") != "application/json":
			http.Error(w, "this address answers programs that say whom they ask, and with a body of JSON where they change something", http.StatusUnsupportedMediaType)
		case !o.signed(r.Method+" "+r.URL.RequestURI(), r.Header.Get(signature), nil, time.Now()):
			http.Error(w, "the request is not signed with the secret of this instance", http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// Sign signs a request without a body for who is behind a Guard; without a secret it does
// nothing.
func (o *Remote) Sign(r *http.Request) {
	if o.Secret != "" {
		ms := strconv.FormatInt(time.Now().UnixMilli(), 10)
		r.Header.Set(signature, ms+":"+hex.EncodeToString(o.sign(r.Method+" "+r.URL.RequestURI(), ms, nil)))
	}
}
