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
