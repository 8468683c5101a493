package rest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/tidemill/tidemill/worker"
)

// detailsBody is the answer of GET /connectors/{name}/details.
type detailsBody struct {
	Name  string `json:"name"`
	Tasks []any  `json:"tasks"`
}

// getDetails shows what the tasks themselves have to say of their work, such as the
// progress of a snapshot or the state of a replication slot. What those on other workers
// say is asked of them.
func (s *Server) getDetails(r *http.Request) (a answer, err error) {
	name := r.PathValue("name")
	tasks, err := s.o.Herder.Details(name)
	if err != nil {
		return a, err
	}
	said := map[int]any{}
	if isAsked(r) {
		for _, address := range s.o.Herder.Attending(name) {
			if err := s.askDetails(r, address, said); err != nil {
				a.warning = "what the tasks on " + address + " show is missing: " + s.redact(err.Error())
			}
		}
	}
	body := detailsBody{Name: name, Tasks: make([]any, len(tasks))}
	for i, t := range tasks {
		if body.Tasks[i] = t; len(t.Documents) == 0 && said[t.ID] != nil {
			body.Tasks[i] = said[t.ID]
		}
	}
	a.status, a.body = http.StatusOK, body
	return a, nil
}

// isAsked tells whether somebody else than another worker asks, which asks for what is
// here alone.
func isAsked(r *http.Request) bool { return r.URL.Query().Get("forward") != "false" }

// detailsLimit bounds the bytes of another worker's answer, and detailsTime how long it is
// waited for.
const (
	detailsLimit = 16 << 20
	detailsTime  = 5 * time.Second
)

// askDetails adds what the tasks of another worker show.
func (s *Server) askDetails(r *http.Request, address string, said map[int]any) error {
	ctx, cancel := context.WithTimeout(r.Context(), detailsTime)
	defer cancel()
	resp, err := s.forward(r.WithContext(ctx), address, "false", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var theirs struct{ Tasks []map[string]json.RawMessage }
	if err := json.NewDecoder(io.LimitReader(resp.Body, detailsLimit)).Decode(&theirs); err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(errors.New(resp.Status), err)
	}
	for _, t := range theirs.Tasks {
		var id int
		if json.Unmarshal(t["id"], &id) == nil && len(t) > 1 {
			said[id] = t
		}
	}
	return nil
}

// sendSignal hands a signal to the running tasks: {"id","type","data"}, wherever they run.
func (s *Server) sendSignal(r *http.Request) (answer, error) {
	data, err := s.body(r)
	if err != nil {
		return answer{}, err
	}
	name := r.PathValue("name")
	var others []string
	if isAsked(r) {
		others = s.o.Herder.Attending(name)
	}
	err = s.o.Herder.Signal(name, data)
	if _, elsewhere := errors.AsType[*worker.Elsewhere](err); err != nil && (!elsewhere || len(others) == 0) {
		return answer{}, err
	}
	for _, address := range others {
		if err := s.passOn(r, address, data); err != nil {
			return answer{}, err
		}
	}
	return answer{status: http.StatusAccepted, body: messageBody{Message: "The signal was handed to the connector's tasks"}}, nil
}

// passOn sends a request with its body to another worker, and returns its error.
func (s *Server) passOn(r *http.Request, address string, data []byte) error {
	resp, err := s.forward(r, address, "false", data)
	if err != nil {
		return fail(http.StatusInternalServerError, "IO Error trying to forward REST request: "+err.Error())
	}
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusMultipleChoices {
		return nil
	}
	var said messageBody
	if json.NewDecoder(io.LimitReader(resp.Body, detailsLimit)).Decode(&said) != nil || said.Message == "" {
		said.Message = resp.Status
	}
	return fail(resp.StatusCode, said.Message)
}

// applyRemedy does what a failed connector's error proposes.
func (s *Server) applyRemedy(r *http.Request) (answer, error) {
	message, err := s.o.Herder.Remedy(r.Context(), r.PathValue("name"), r.PathValue("remedy"))
	if err != nil {
		return answer{}, err
	}
	return ok(messageBody{Message: message})
}
