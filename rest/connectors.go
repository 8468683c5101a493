package rest

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest/auth"
	"github.com/tidemill/tidemill/worker"
)

// expanded is what ?expand= adds to a connector's name.
type expanded struct {
	Status *worker.ConnectorStatus `json:"status,omitempty"`
	Info   *worker.ConnectorInfo   `json:"info,omitempty"`
}

func (s *Server) listConnectors(r *http.Request) (answer, error) {
	names := s.visible(r)
	wanted, expand := r.URL.Query()["expand"]
	if !expand {
		return ok(names)
	}
	all, v := make(map[string]expanded, len(names)), s.veil(r)
	for _, name := range names {
		// A connector that goes away meanwhile, or has no status yet, is left out.
		if e, err := v.expand(name, wanted); err == nil {
			all[name] = e
		}
	}
	return ok(all)
}

// visible are the connectors that somebody may look at.
func (s *Server) visible(r *http.Request) []string {
	who, names := auth.From(r.Context()), []string{}
	for _, name := range s.o.Herder.Connectors() {
		if who.May(auth.Viewer, name) {
			names = append(names, name)
		}
	}
	return names
}

func (v *veil) expand(name string, wanted []string) (e expanded, err error) {
	if slices.Contains(wanted, "status") {
		status, err := v.s.o.Herder.Status(name)
		if err != nil {
			return e, err
		}
		v.s.showStatus(&status, slices.Contains(wanted, "failure"))
		e.Status = &status
	}
	if slices.Contains(wanted, "info") {
		info, err := v.s.o.Herder.Connector(name)
		if err != nil {
			return e, err
		}
		v.info(&info)
		e.Info = &info
	}
	return e, nil
}

// showInfo makes a connector's configuration fit to be shown.
func (s *Server) showInfo(r *http.Request, info *worker.ConnectorInfo) { s.veil(r).info(info) }

func (v *veil) info(info *worker.ConnectorInfo) {
	info.Config = v.config(info.Name, info.Config)
	if info.Tasks == nil {
		info.Tasks = []worker.TaskID{}
	}
}

// showStatus makes a status fit to be shown. What Kafka Connect does not have is left out
// unless it was asked for: there are clients that take no fields but those they know.
func (s *Server) showStatus(status *worker.ConnectorStatus, more bool) {
	c := &status.Connector
	c.Trace, c.Failure = s.redact(c.Trace), s.showFailure(c.Failure, more)
	if !more {
		c.Abandoned = 0
	}
	tasks := make([]worker.TaskStatus, 0, len(status.Tasks))
	for _, t := range status.Tasks {
		s.showTask(&t, more)
		tasks = append(tasks, t)
	}
	status.Tasks = tasks
}

// showTask is showStatus for one task.
func (s *Server) showTask(t *worker.TaskStatus, more bool) {
	t.Trace, t.Failure = s.redact(t.Trace), s.showFailure(t.Failure, more)
	if !more {
		t.Abandoned = 0
	}
}

func (s *Server) showFailure(f *worker.Failure, more bool) *worker.Failure {
	if f == nil || !more {
		return nil
	}
	shown := *f
	for _, text := range []*string{&shown.Place, &shown.Message, &shown.Mend} {
		*text = s.redact(*text)
	}
	return &shown
}

// wantsFailure tells whether a request asks for why something failed, and what follows.
func wantsFailure(r *http.Request) bool {
	return slices.Contains(r.URL.Query()["expand"], "failure")
}

func (s *Server) createConnector(r *http.Request) (answer, error) {
	data, err := s.body(r)
	if err != nil {
		return answer{}, err
	}
	request, err := config.ParseRequest(data)
	if err != nil {
		return answer{}, err
	}
	if request.Settings == nil {
		return answer{}, &connect.Error{Code: "config.shape", Class: connect.ClassConfig, Message: "the request has no config", Mend: `send {"name":"…","config":{…}}`}
	}
	if err := allowOn(r, auth.Admin, request.Name); err != nil {
		return answer{}, err
	}
	settings, err := nonNull(request.Settings)
	if err != nil {
		return answer{}, err
	}
	if settings, err = named(request.Name, settings); err != nil {
		return answer{}, err
	}
	// A connector of this name makes the mask mean nothing: creating it is a conflict.
	if settings, err = config.Unmask(settings, nil, nil); err != nil {
		return answer{}, err
	}
	s.learn(settings)
	noteChange(r.Context(), request.Name, nil, settings)
	state, err := worker.ParseTargetState(request.InitialState)
	if err != nil {
		return answer{}, err
	}
	info, err := s.o.Herder.Create(r.Context(), worker.CreateRequest{Name: request.Name, Config: settings, InitialState: state})
	if err != nil {
		return answer{}, err
	}
	return s.created(r, info), nil
}

// created is the answer to a request that made a connector.
func (s *Server) created(r *http.Request, info worker.ConnectorInfo) answer {
	s.showInfo(r, &info)
	return answer{status: http.StatusCreated, body: info, location: "/connectors/" + url.PathEscape(info.Name)}
}

// named returns the settings with the connector's name among them; another name
// there is an error.
func named(name string, settings connect.Config) (connect.Config, error) {
	if given, has := settings["name"]; has {
		if given != name {
			return nil, fail(http.StatusBadRequest, "Connector name configuration ("+given+") doesn't match connector name in the URL ("+name+")")
		}
		return settings, nil
	}
	out := maps.Clone(settings)
	out["name"] = name
	return out, nil
}

func (s *Server) getConnector(r *http.Request) (answer, error) {
	info, err := s.o.Herder.Connector(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	s.showInfo(r, &info)
	return ok(info)
}

func (s *Server) getConfig(r *http.Request) (answer, error) {
	info, err := s.o.Herder.Connector(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	return ok(s.shown(r, info.Name, info.Config))
}

func (s *Server) putConfig(r *http.Request) (answer, error) {
	name := r.PathValue("name")
	settings, err := s.settings(r)
	if err != nil {
		return answer{}, err
	}
	if settings, err = named(name, settings); err != nil {
		return answer{}, err
	}
	if settings, err = s.unmasked(name, settings); err != nil {
		return answer{}, err
	}
	s.noteEdit(r, name, settings)
	info, created, err := s.o.Herder.PutConfig(r.Context(), name, settings)
	if err != nil {
		return answer{}, err
	}
	if created {
		return s.created(r, info), nil
	}
	s.showInfo(r, &info)
	return ok(info)
}

// noteEdit tells the audit log which settings a connector gets others of.
func (s *Server) noteEdit(r *http.Request, name string, settings connect.Config) {
	if before, err := s.o.Herder.Connector(name); err == nil {
		noteChange(r.Context(), name, before.Config, settings)
	} else {
		noteChange(r.Context(), name, nil, settings)
	}
}

func (s *Server) patchConfig(r *http.Request) (answer, error) {
	name := r.PathValue("name")
	data, err := s.body(r)
	if err != nil {
		return answer{}, err
	}
	patch, err := config.ParseMap(data)
	if err != nil {
		return answer{}, err
	}
	if given := patch["name"]; given != nil && *given != name {
		_, err := named(name, connect.Config{"name": *given})
		return answer{}, err
	}
	values, _ := config.NonNull(patch)
	if values, err = s.unmasked(name, values); err != nil {
		return answer{}, err
	}
	for key, text := range values {
		patch[key] = &text
	}
	note(r.Context(), func(e *entry) { e.changed = slices.Sorted(maps.Keys(patch)) })
	info, err := s.o.Herder.PatchConfig(r.Context(), name, patch)
	if err != nil {
		return answer{}, err
	}
	s.showInfo(r, &info)
	return ok(info)
}

// deleteConnector deletes a connector. With drop_slot it takes with it what it keeps in
// the other system, and the answer tells what that was. Without, the answer is the one of
// Connect, and what is left behind stands in a header.
func (s *Server) deleteConnector(r *http.Request) (answer, error) {
	drop := false
	if text, asked := r.URL.Query()["drop_slot"]; asked {
		if drop = text[0] == "" || truth(text[0]); !drop && !strings.EqualFold(text[0], "false") {
			return answer{}, fail(http.StatusBadRequest, "The parameter drop_slot is true or false, not "+text[0])
		}
	}
	message, err := s.o.Herder.Delete(r.Context(), r.PathValue("name"), drop)
	if err != nil || drop {
		return answer{status: http.StatusOK, body: messageBody{Message: s.redact(message)}}, err
	}
	return answer{status: http.StatusNoContent, warning: s.redact(message)}, nil
}

func (s *Server) getStatus(r *http.Request) (answer, error) {
	status, err := s.o.Herder.Status(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	s.showStatus(&status, wantsFailure(r))
	return ok(status)
}

func (s *Server) restart(r *http.Request) (answer, error) {
	query := r.URL.Query()
	status, err := s.o.Herder.Restart(r.Context(), r.PathValue("name"), worker.RestartOptions{
		IncludeTasks: truth(query.Get("includeTasks")), OnlyFailed: truth(query.Get("onlyFailed")),
	})
	if err != nil || status == nil {
		return answer{status: http.StatusNoContent}, err
	}
	s.showStatus(status, false)
	return answer{status: http.StatusAccepted, body: status}, nil
}

// truth reads a parameter as Java does: anything but true is false.
func truth(text string) bool { return strings.EqualFold(text, "true") }

func (s *Server) pause(r *http.Request) (answer, error) {
	return s.setState(r, worker.Paused, http.StatusAccepted)
}

func (s *Server) resume(r *http.Request) (answer, error) {
	return s.setState(r, worker.Started, http.StatusAccepted)
}

func (s *Server) stop(r *http.Request) (answer, error) {
	return s.setState(r, worker.Stopped, http.StatusNoContent)
}

func (s *Server) setState(r *http.Request, state worker.TargetState, status int) (answer, error) {
	return answer{status: status}, s.o.Herder.SetState(r.Context(), r.PathValue("name"), state)
}

// taskNumber reads the number in the path. What is no number names no task, which
// the Java server's library answers with 404.
func taskNumber(r *http.Request) (worker.TaskID, error) {
	n, err := strconv.Atoi(r.PathValue("task"))
	if err != nil {
		return worker.TaskID{}, httpStatus(http.StatusNotFound)
	}
	return worker.TaskID{Connector: r.PathValue("name"), Task: n}, nil
}
