package rest

import (
	"net/http"

	"github.com/tidemill/tidemill/worker"
)

// detailsBody is the answer of GET /connectors/{name}/details.
type detailsBody struct {
	Name  string               `json:"name"`
	Tasks []worker.TaskDetails `json:"tasks"`
}

// getDetails shows what the tasks themselves have to say of their work, such as the
// progress of a snapshot or the state of a replication slot.
func (s *Server) getDetails(r *http.Request) (answer, error) {
	name := r.PathValue("name")
	tasks, err := s.o.Herder.Details(name)
	if err != nil {
		return answer{}, err
	}
	return ok(detailsBody{Name: name, Tasks: tasks})
}

// sendSignal hands a signal to the running tasks: {"id","type","data"}.
func (s *Server) sendSignal(r *http.Request) (answer, error) {
	data, err := s.body(r)
	if err != nil {
		return answer{}, err
	}
	if err := s.o.Herder.Signal(r.PathValue("name"), data); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusAccepted, body: messageBody{Message: "The signal was handed to the connector's tasks"}}, nil
}

// applyRemedy does what a failed connector's error proposes.
func (s *Server) applyRemedy(r *http.Request) (answer, error) {
	message, err := s.o.Herder.Remedy(r.Context(), r.PathValue("name"), r.PathValue("remedy"))
	if err != nil {
		return answer{}, err
	}
	return ok(messageBody{Message: message})
}
