package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/sql"
)

// SQL answers the SQL routes: *sql.Engine. It is called from any number of
// goroutines.
type SQL interface {
	Execute(ctx context.Context, r sql.Request) ([]sql.Entity, error)
	Query(ctx context.Context, r sql.Request, to sql.Answer) (complete bool, err error)
	Follow(ctx context.Context, r sql.Request, from query.Position, to sql.Follower) error
}

var _ SQL = (*sql.Engine)(nil)

const (
	ksqlType      = "application/vnd.ksql.v1+json"
	delimitedType = "application/vnd.ksqlapi.delimited.v1"
	jsonType      = "application/json"
	// curlType is what curl says of a body when nobody tells it better, as in most
	// examples of ksqlDB's interface. Pages of other sites cannot use it: their
	// requests are refused for where they come from.
	curlType = "application/x-www-form-urlencoded"
)

// sqlError is the body of an error of the SQL routes; the code is the status and two
// digits more.
type sqlError struct {
	Type      string       `json:"@type"`
	Code      int          `json:"error_code"`
	Message   string       `json:"message"`
	Statement string       `json:"statementText,omitempty"`
	Entities  []sql.Entity `json:"entities,omitempty"`
}

// sqlFault turns an error into what the client is told.
func (s *Server) sqlFault(err error, text string, entities []sql.Entity) sqlError {
	if fault, ok := errors.AsType[*sql.Error](err); ok {
		e := sqlError{Type: "statement_error", Code: 40001, Message: s.redact(fault.Error()), Statement: s.redact(text), Entities: entities}
		if fault.Code == "sql.use_query" {
			e.Code = 40002
		}
		return e
	}
	status := s.status(err)
	if e := connect.AsError(err); status == http.StatusInternalServerError && strings.HasPrefix(e.Code, "config.") {
		status = http.StatusBadRequest // ksqlDB, unlike Connect, blames the client for a malformed body.
	}
	return sqlError{Type: "generic_error", Code: status * 100, Message: s.message(err)}
}

// writeSQL answers with JSON in the media type the client asked for.
func (s *Server) writeSQL(w http.ResponseWriter, r *http.Request, status int, body any) {
	text, err := appendJSON(body)
	if err != nil {
		s.log.Error("an answer cannot be written as JSON", "err", err)
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", sqlMedia(r))
	w.WriteHeader(status)
	_, _ = w.Write(text) // The client may be gone; there is nobody left to tell.
}

func (s *Server) failSQL(w http.ResponseWriter, r *http.Request, e sqlError) {
	s.writeSQL(w, r, e.Code/100, e)
}

func sqlMedia(r *http.Request) string {
	if strings.Contains(r.Header.Get("Accept"), ksqlType) {
		return ksqlType
	}
	return jsonType
}

// sqlBody is the body of the SQL routes: /ksql and /query name the text ksql,
// /query-stream names it sql.
type sqlBody struct {
	KSQL             string                     `json:"ksql"`
	SQL              string                     `json:"sql"`
	StreamsProps     map[string]json.RawMessage `json:"streamsProperties"`
	Properties       map[string]json.RawMessage `json:"properties"`
	SessionVariables map[string]json.RawMessage `json:"sessionVariables"`
	QueryID          string                     `json:"queryId"`
}

// readSQL reads the body of a SQL route.
func (s *Server) readSQL(r *http.Request) (body sqlBody, request sql.Request, err error) {
	if err := checkType(r, jsonType, ksqlType, delimitedType, curlType); err != nil {
		return body, request, err
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return body, request, err
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return body, request, fail(http.StatusBadRequest, `The request is not of the form {"ksql":"…","streamsProperties":{}}`)
	}
	s.LearnSQL(body.KSQL + body.SQL)
	request = sql.Request{Text: body.KSQL + body.SQL, Properties: map[string]string{}, Variables: map[string]string{}}
	for _, from := range []struct {
		given map[string]json.RawMessage
		to    map[string]string
	}{{body.StreamsProps, request.Properties}, {body.Properties, request.Properties}, {body.SessionVariables, request.Variables}} {
		for key, raw := range from.given {
			// ParseMap turns any scalar into the text it was written as.
			one, err := config.ParseMap([]byte(`{"v":` + string(raw) + `}`))
			if err != nil || one["v"] == nil {
				return body, request, fail(http.StatusBadRequest, "The property "+key+" must be a plain value")
			}
			from.to[key] = *one["v"]
		}
	}
	return body, request, nil
}

// executeSQL answers POST /ksql.
func (s *Server) executeSQL(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), callerKey{}, r.Header.Get("Authorization")), s.timeout)
	defer cancel()
	_, request, err := s.readSQL(r)
	if err != nil {
		s.failSQL(w, r, s.sqlFault(err, "", nil))
		return
	}
	noteSQL(r.Context(), request.Text)
	entities, err := s.o.SQL.Execute(ctx, request)
	if err != nil {
		s.failSQL(w, r, s.sqlFault(err, request.Text, entities))
		return
	}
	if entities == nil {
		entities = []sql.Entity{}
	}
	s.writeSQL(w, r, http.StatusOK, entities)
}

// serverInfo answers GET /info.
func (s *Server) serverInfo(w http.ResponseWriter, r *http.Request) {
	info := s.o.Herder.Info()
	s.writeSQL(w, r, http.StatusOK, map[string]any{"KsqlServerInfo": struct {
		Version   string `json:"version"`
		ClusterID string `json:"kafkaClusterId"`
		ServiceID string `json:"ksqlServiceId"`
		Status    string `json:"serverStatus"`
	}{info.Version, info.KafkaClusterID, s.o.Settings.String("ksql.service.id"), "RUNNING"}})
}

// healthcheck answers GET /healthcheck.
func (s *Server) healthcheck(w http.ResponseWriter, r *http.Request) {
	type part struct {
		Healthy bool `json:"isHealthy"`
	}
	healthy := s.o.Herder.Health(r.Context()).Status == "healthy"
	status, state := http.StatusOK, "READY"
	if !healthy {
		status, state = http.StatusServiceUnavailable, "NOT_READY"
	}
	s.writeSQL(w, r, status, struct {
		Healthy bool            `json:"isHealthy"`
		Details map[string]part `json:"details"`
		State   string          `json:"serverState"`
	}{healthy, map[string]part{"metastore": {true}, "kafka": {healthy}, "commandRunner": {healthy}}, state})
}

// validProperty answers GET /is_valid_property/{name}, which clients ask before they
// send one.
func (s *Server) validProperty(w http.ResponseWriter, r *http.Request) {
	s.writeSQL(w, r, http.StatusOK, true)
}
