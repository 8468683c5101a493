package rest

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/streams/sql"
)

// rowsStyle is one of the forms in which rows are written.
type rowsStyle uint8

const (
	// objectRows is /query: a JSON array of {"header":…}, {"row":…} and the like.
	objectRows rowsStyle = iota
	// arrayRows is a JSON array of a header and one array for each row.
	arrayRows
	// delimitedRows is the same with a line for each, and no array around it.
	delimitedRows
)

// flushAfter is how long rows are gathered when many come at once. A row that comes
// alone is sent at once.
const flushAfter = 5 * time.Millisecond

// rowWriter writes the answer to a query while it comes. Whatever happens, a JSON
// array that was begun is closed.
type rowWriter struct {
	w      http.ResponseWriter
	style  rowsStyle
	media  string
	server *Server
	cancel context.CancelFunc

	begun bool
	id    string
	row   []byte // One row as JSON, reused.

	mu      sync.Mutex // Guards the following: a timer sends what the query's goroutine wrote.
	out     *bufio.Writer
	control *http.ResponseController
	last    time.Time // When something was last sent.
	timer   *time.Timer
	failed  error // Of a send by the timer.
	over    bool
}

// objectHeader is the header of /query.
type objectHeader struct {
	Header struct {
		QueryID string `json:"queryId"`
		Schema  string `json:"schema"`
	} `json:"header"`
}

// arrayHeader is the header of /query-stream.
type arrayHeader struct {
	QueryID string   `json:"queryId"`
	Names   []string `json:"columnNames"`
	Types   []string `json:"columnTypes"`
}

// Header implements sql.Answer.
func (rw *rowWriter) Header(h sql.Header) error {
	if rw.begun {
		return errors.New("a header was written already")
	}
	if rw.id = h.QueryID; rw.id != "" {
		rw.server.queries.Store(rw.id, rw.cancel)
	}
	var body any
	if rw.style == objectRows {
		var o objectHeader
		o.Header.QueryID, o.Header.Schema = h.QueryID, h.Schema()
		body = o
	} else {
		a := arrayHeader{QueryID: h.QueryID, Names: []string{}, Types: []string{}}
		for _, c := range h.Columns {
			a.Names, a.Types = append(a.Names, c.Name), append(a.Types, c.Type)
		}
		body = a
	}
	text, err := appendJSON(body)
	if err != nil {
		return err
	}
	rw.w.Header().Set("Content-Type", rw.media)
	rw.w.WriteHeader(http.StatusOK)
	rw.begun = true
	rw.mu.Lock()
	defer rw.mu.Unlock()
	if rw.style != delimitedRows {
		rw.out.WriteByte('[')
	}
	if rw.style == arrayRows {
		rw.out.Write(text)
	} else {
		rw.element(text)
	}
	return rw.send()
}

// Row implements sql.Answer.
func (rw *rowWriter) Row(r sql.Row) error {
	rw.row = rw.row[:0]
	if rw.style == objectRows {
		rw.row = r.AppendJSON(append(rw.row, `{"row":{"columns":`...))
		if r.Tombstone {
			rw.row = append(rw.row, `,"tombstone":true`...)
		}
		rw.row = append(rw.row, "}}"...)
	} else {
		rw.row = r.AppendJSON(rw.row)
	}
	rw.mu.Lock()
	defer rw.mu.Unlock()
	rw.element(rw.row)
	return rw.soon()
}

// element writes one part of the answer. Where lines count, the line is finished
// with it, so that a client that reads lines need not wait for the next part: a
// comma can be set at once in objectRows, because a last element always follows. It
// is called with mu held.
func (rw *rowWriter) element(text []byte) {
	switch rw.style {
	case objectRows:
		rw.out.Write(text)
		rw.out.WriteString(",\n")
	case arrayRows:
		rw.out.WriteString(",\n")
		rw.out.Write(text)
	default:
		rw.out.Write(text)
		rw.out.WriteByte('\n')
	}
}

// soon sends what was written at once when nothing was sent just before, else within
// flushAfter. It is called with mu held.
func (rw *rowWriter) soon() error {
	if rw.failed != nil {
		return rw.failed
	}
	if rw.timer != nil {
		return nil
	}
	if time.Since(rw.last) >= flushAfter {
		return rw.send()
	}
	rw.timer = time.AfterFunc(flushAfter, func() {
		rw.mu.Lock()
		defer rw.mu.Unlock()
		rw.timer = nil
		if !rw.over {
			rw.failed = rw.send()
		}
	})
	return nil
}

// send sends what was written. It is called with mu held.
func (rw *rowWriter) send() error {
	_ = rw.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	err := rw.out.Flush()
	if err == nil {
		err = rw.control.Flush()
	}
	_ = rw.control.SetWriteDeadline(time.Time{})
	rw.last = time.Now()
	return err
}

// timedWriter writes within a time, which ends with the write: a query may be silent
// for hours.
type timedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w timedWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	n, err := w.ResponseWriter.Write(p)
	_ = w.control.SetWriteDeadline(time.Time{})
	return n, err
}

// end closes what was begun; fault, or in objectRows a message, is the last element.
func (rw *rowWriter) end(message string, fault *sqlError) {
	if rw.id != "" {
		rw.server.queries.Delete(rw.id)
	}
	var body any
	switch {
	case fault != nil && rw.style == objectRows:
		body = map[string]any{"errorMessage": fault}
	case fault != nil:
		body = fault
	default:
		body = map[string]string{"finalMessage": message}
	}
	text, err := appendJSON(body)
	if err != nil {
		text = []byte("{}")
	}
	rw.mu.Lock()
	defer rw.mu.Unlock()
	rw.over = true
	switch {
	case rw.style == objectRows:
		rw.out.Write(text)
	case fault != nil:
		rw.element(text)
	}
	if rw.style != delimitedRows {
		rw.out.WriteString("]\n")
	}
	_ = rw.send() // The client may be gone; there is nobody left to tell.
}

// query answers POST /query.
func (s *Server) query(w http.ResponseWriter, r *http.Request) {
	s.runQuery(w, r, &rowWriter{style: objectRows, media: sqlMedia(r)})
}

// queryStream answers POST /query-stream.
func (s *Server) queryStream(w http.ResponseWriter, r *http.Request) {
	rw := &rowWriter{style: delimitedRows, media: delimitedType}
	switch accept := r.Header.Get("Accept"); {
	case strings.Contains(accept, ksqlType):
		rw.style, rw.media = objectRows, ksqlType
	case strings.Contains(accept, jsonType):
		rw.style, rw.media = arrayRows, jsonType
	}
	s.runQuery(w, r, rw)
}

// runQuery runs a query until it ends, the client goes, another request closes it,
// or the server stops.
func (s *Server) runQuery(w http.ResponseWriter, r *http.Request, rw *rowWriter) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.streams, cancel)()
	_, request, err := s.readSQL(r)
	if err != nil {
		s.failSQL(w, r, s.sqlFault(err, "", nil))
		return
	}
	rw.w, rw.control, rw.server, rw.cancel = w, http.NewResponseController(w), s, cancel
	rw.out = bufio.NewWriterSize(timedWriter{w, rw.control}, 32<<10)
	complete, err := s.o.SQL.Query(ctx, request, rw)
	if err != nil && !rw.begun {
		s.failSQL(w, r, s.sqlFault(err, request.Text, nil))
		return
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fault := s.sqlFault(err, request.Text, nil)
		rw.end("", &fault)
		return
	}
	message := "Query Completed"
	if complete && rw.id != "" {
		message = "Limit Reached"
	}
	rw.end(message, nil)
}

// closeQuery answers POST /close-query.
func (s *Server) closeQuery(w http.ResponseWriter, r *http.Request) {
	body, _, err := s.readSQL(r)
	if err == nil {
		cancel, found := s.queries.LoadAndDelete(body.QueryID)
		if found {
			cancel.(context.CancelFunc)()
			w.WriteHeader(http.StatusOK)
			return
		}
		err = fail(http.StatusBadRequest, "No query with id "+body.QueryID)
	}
	s.failSQL(w, r, s.sqlFault(err, "", nil))
}
