package query

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
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
	if !h.remote.signed(r.Header.Get(signature), body, time.Now()) {
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
	if err == nil {
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
