package rest

import (
	"net/http"

	"github.com/tidemill/tidemill/connect"
)

func (s *Server) listTasks(r *http.Request) (answer, error) {
	tasks, err := s.o.Herder.TaskConfigs(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	all := make([]any, 0, len(tasks))
	for _, t := range tasks {
		t.Config = s.shown(r, t.ID.Connector, t.Config)
		all = append(all, t)
	}
	return ok(all)
}

// taskConfigs is the older form of the list, by the tasks' names.
func (s *Server) taskConfigs(r *http.Request) (answer, error) {
	tasks, err := s.o.Herder.TaskConfigs(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	all := make(map[string]connect.Config, len(tasks))
	for _, t := range tasks {
		all[t.ID.String()] = s.shown(r, t.ID.Connector, t.Config)
	}
	return ok(all)
}

func (s *Server) taskStatus(r *http.Request) (answer, error) {
	id, err := taskNumber(r)
	if err != nil {
		return answer{}, err
	}
	status, err := s.o.Herder.TaskStatus(id)
	if err != nil {
		return answer{}, err
	}
	s.showTask(&status, wantsFailure(r))
	return ok(status)
}

func (s *Server) restartTask(r *http.Request) (answer, error) {
	id, err := taskNumber(r)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, s.o.Herder.RestartTask(r.Context(), id)
}
