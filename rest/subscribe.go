package rest

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest/live"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/sql"
)

// resetParameter chooses where a query that gathers a stream begins.
const resetParameter = "auto.offset.reset"

// subscribe answers GET /subscribe with Server-Sent Events, see
// https://html.spec.whatwg.org/multipage/server-sent-events.html.
func (s *Server) subscribe(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.streams, cancel)()
	asked := r.URL.Query()
	request := sql.Request{Text: asked.Get("query"), Properties: map[string]string{}}
	if reset := asked.Get(resetParameter); reset != "" {
		request.Properties[resetParameter] = reset
	}
	s.LearnSQL(request.Text)
	after := r.Header.Get("Last-Event-ID")
	if after == "" {
		after = asked.Get("after")
	}
	control, begun := http.NewResponseController(w), false
	err := s.live.Serve(ctx, live.Request{
		Key: request.Properties[resetParameter] + "\n" + request.Text, After: after, Fault: s.told,
		Run: func(ctx context.Context, from query.Position, to sql.Follower) error {
			return s.o.SQL.Follow(ctx, request, from, to)
		},
	}, func(events []byte) error {
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusOK)
		}
		if _, err := w.Write(events); err != nil {
			return err
		}
		return control.Flush()
	})
	_ = control.SetWriteDeadline(time.Time{})
	switch {
	case begun: // It was told in an event.
	case err != nil:
		s.failSQL(w, r, s.sqlFault(err, request.Text, nil))
	default:
		http.Error(w, "the server stops", http.StatusServiceUnavailable)
	}
}

// told is what the event of an error says.
func (s *Server) told(err error) any {
	body := struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{connect.AsError(err).Code, s.message(err)}
	if fault, ok := errors.AsType[*sql.Error](err); ok {
		body.Code, body.Message = fault.Code, s.redact(fault.Error())
	}
	return body
}
