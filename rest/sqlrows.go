package rest

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// rowTimeout is how long a client of a query may leave a row unread.
const rowTimeout = time.Minute

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

// rowWriter writes the answer to a query while it comes. Whatever happens, a JSON
// array that was begun is closed.
type rowWriter struct {
	w       http.ResponseWriter
	out     *bufio.Writer
	control *http.ResponseController
	style   rowsStyle
	media   string
	server  *Server
	cancel  context.CancelFunc

	begun bool
	push  bool
	id    string
	// last is the message that ends objectRows.
	last string
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

// Header implements SQLRows.
func (rw *rowWriter) Header(h SQLHeader) error {
	if rw.begun {
		return errors.New("a header was written already")
	}
	rw.push, rw.id = h.Push, h.QueryID
	rw.server.queries.Store(rw.id, rw.cancel)
	var body any
	if rw.style == objectRows {
		var o objectHeader
		o.Header.QueryID, o.Header.Schema = h.QueryID, h.schema()
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
	switch rw.style {
	case objectRows:
		rw.out.WriteByte('[')
	case arrayRows:
		rw.out.Write(append([]byte{'['}, text...))
		return rw.sent(true)
	}
	rw.element(text)
	return rw.sent(true)
}

// element writes one part of the answer. Where lines count, the line is finished
// with it, so that a client that reads lines need not wait for the next part: a
// comma can be set at once in objectRows, because a last element always follows.
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

// Row implements SQLRows.
func (rw *rowWriter) Row(columns []byte, tombstone bool) error {
	if rw.style != objectRows {
		rw.element(columns)
		return rw.sent(rw.push)
	}
	rw.out.WriteString(`{"row":{"columns":`)
	rw.out.Write(columns)
	if tombstone {
		rw.out.WriteString(`,"tombstone":true`)
	}
	rw.out.WriteString("}},\n")
	return rw.sent(rw.push)
}

// Done implements SQLRows. Only objectRows have a place for the message.
func (rw *rowWriter) Done(message string) error {
	rw.last = message
	return nil
}

// sent pushes what was written on its way: at once, or when the buffer is full.
func (rw *rowWriter) sent(now bool) error {
	if !now && rw.out.Available() > 1024 {
		return nil
	}
	// A connection without deadlines, such as a recorder in tests, does without.
	_ = rw.control.SetWriteDeadline(time.Now().Add(rowTimeout))
	if err := rw.out.Flush(); err != nil {
		return err
	}
	return rw.control.Flush()
}

// end closes what was begun; err, or in objectRows a message, is the last element.
func (rw *rowWriter) end(err *sqlError) {
	if rw.id != "" {
		rw.server.queries.Delete(rw.id)
	}
	if rw.style == objectRows {
		var body any = map[string]any{"finalMessage": rw.last}
		if err != nil {
			body = map[string]any{"errorMessage": err}
		}
		text, failed := appendJSON(body)
		if failed != nil {
			text = []byte("{}")
		}
		rw.out.Write(text)
	} else if err != nil {
		if text, failed := appendJSON(err); failed == nil {
			rw.element(text)
		}
	}
	if rw.style != delimitedRows {
		rw.out.WriteString("]\n")
	}
	_ = rw.sent(true) // The client may be gone; there is nobody left to tell.
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
	_, request, err := s.readSQL(w, r)
	if err != nil {
		s.failSQL(w, r, s.sqlFault(err, "", nil))
		return
	}
	rw.last = "Query Completed"
	rw.w, rw.out, rw.control, rw.server, rw.cancel = w, bufio.NewWriterSize(w, 32<<10), http.NewResponseController(w), s, cancel
	err = s.o.SQL.Query(ctx, request, rw)
	if err != nil && !rw.begun {
		s.failSQL(w, r, s.sqlFault(err, request.Text, nil))
		return
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fault := s.sqlFault(err, request.Text, nil)
		rw.end(&fault)
		return
	}
	if !rw.begun {
		s.writeSQL(w, r, http.StatusOK, []any{})
		return
	}
	rw.end(nil)
}

// closeQuery answers POST /close-query.
func (s *Server) closeQuery(w http.ResponseWriter, r *http.Request) {
	body, _, err := s.readSQL(w, r)
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
