package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker"
)

// offsetsBody is both the answer of GET and the request of PATCH.
type offsetsBody struct {
	Offsets []worker.OffsetEntry `json:"offsets"`
}

// messageBody is the answer to a change of offsets.
type messageBody struct {
	Message string `json:"message"`
}

func (s *Server) getOffsets(r *http.Request) (answer, error) {
	entries, err := s.o.Herder.Offsets(r.Context(), r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	if entries == nil {
		entries = []worker.OffsetEntry{}
	}
	return ok(offsetsBody{Offsets: entries})
}

func (s *Server) alterOffsets(r *http.Request) (answer, error) {
	data, err := s.body(r)
	if err != nil {
		return answer{}, err
	}
	var body offsetsBody
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		e := &connect.Error{
			Code: "config.syntax", Class: connect.ClassConfig, Message: "Cannot deserialize the request", Cause: err,
			Mend: `send {"offsets":[{"partition":{…},"offset":{…}}]}`,
		}
		// The library's text for this one speaks of types of this program.
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			e.Message, e.Cause = "Cannot deserialize the request: a JSON "+wrong.Value+" stands where it cannot", nil
		}
		return answer{}, e
	}
	if len(body.Offsets) == 0 {
		return answer{}, fail(http.StatusBadRequest, "Partitions / offsets need to be provided for an alter offsets request")
	}
	message, err := s.o.Herder.AlterOffsets(r.Context(), r.PathValue("name"), body.Offsets)
	return answer{status: http.StatusOK, body: messageBody{Message: message}}, err
}

func (s *Server) resetOffsets(r *http.Request) (answer, error) {
	message, err := s.o.Herder.ResetOffsets(r.Context(), r.PathValue("name"))
	return answer{status: http.StatusOK, body: messageBody{Message: message}}, err
}

// historyBody is the answer of GET /connectors/{name}/offsets/history.
type historyBody struct {
	History []worker.PastOffsets `json:"history"`
}

func (s *Server) offsetHistory(r *http.Request) (answer, error) {
	history, err := s.o.Herder.OffsetHistory(r.Context(), r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	return ok(historyBody{History: history})
}

// rewindBody asks for the offsets of an entry of the history.
type rewindBody struct {
	To     int64 `json:"to"`
	DryRun bool  `json:"dry_run,omitempty"`
}

// rewoundBody is the answer to it.
type rewoundBody struct {
	Message string                `json:"message"`
	Changes []worker.OffsetChange `json:"changes"`
}

func (s *Server) rewindOffsets(r *http.Request) (answer, error) {
	data, err := s.body(r)
	if err != nil {
		return answer{}, err
	}
	var body rewindBody
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields() // A dry run that is misspelt would be none.
	if err := dec.Decode(&body); err != nil {
		return answer{}, &connect.Error{
			Code: "request.invalid", Class: connect.ClassConfig, Message: "The request says in no way that is understood where to go back to", Cause: err,
			Mend: `send {"to":3} with the id of an entry of GET /connectors/{name}/offsets/history, and "dry_run":true to see what would change`,
		}
	}
	changes, message, err := s.o.Herder.RewindOffsets(r.Context(), r.PathValue("name"), body.To, body.DryRun)
	if err != nil {
		return answer{}, err
	}
	return ok(rewoundBody{Message: message, Changes: changes})
}

func (s *Server) getTopics(r *http.Request) (answer, error) {
	name := r.PathValue("name")
	topics, err := s.o.Herder.Topics(name)
	if err != nil {
		return answer{}, err
	}
	if topics == nil {
		topics = []string{}
	}
	return ok(map[string]map[string][]string{name: {"topics": topics}})
}

func (s *Server) resetTopics(r *http.Request) (answer, error) {
	return answer{status: http.StatusAccepted}, s.o.Herder.ResetTopics(r.Context(), r.PathValue("name"))
}
