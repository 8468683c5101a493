package registry

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// registered is a version of a subject as clients see it.
type registered struct {
	Subject    string      `json:"subject"`
	Version    int         `json:"version"`
	ID         int         `json:"id"`
	References []Reference `json:"references,omitempty"`
	Schema     string      `json:"schema"`
}

func (s *state) registered(subject string, v version) registered {
	sch := s.schemas[v.id]
	return registered{subject, v.number, v.id, sch.references, sch.text}
}

func (s *Server) getSchemas(r *http.Request) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := []registered{}
	deleted := flag(r, "deleted")
	for _, name := range s.state.names(deleted) {
		if !strings.HasPrefix(name, r.URL.Query().Get("subjectPrefix")) {
			continue
		}
		versions := s.state.live(name, deleted)
		if flag(r, "latestOnly") {
			versions = versions[len(versions)-1:]
		}
		for _, v := range versions {
			all = append(all, s.state.registered(name, v))
		}
	}
	return all, nil
}

// schemaByID returns the schema of a path. The caller holds mu.
func (s *Server) schemaByID(r *http.Request) (*schema, error) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return nil, &apiError{http.StatusNotFound, http.StatusNotFound, "HTTP 404 Not Found"}
	}
	sch := s.state.schemas[id]
	if sch == nil {
		return nil, notFound(codeSchemaNotFound, "Schema %d not found", id)
	}
	return sch, nil
}

func (s *Server) getSchema(r *http.Request) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sch, err := s.schemaByID(r)
	if err != nil {
		return nil, err
	}
	answer := struct {
		Schema     string      `json:"schema"`
		References []Reference `json:"references,omitempty"`
		MaxID      int         `json:"maxId,omitempty"`
	}{Schema: sch.text, References: sch.references}
	if flag(r, "fetchMaxId") {
		answer.MaxID = s.state.lastID
	}
	return answer, nil
}

func (s *Server) getSchemaText(r *http.Request) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sch, err := s.schemaByID(r)
	if err != nil {
		return nil, err
	}
	return json.RawMessage(sch.text), nil
}

// holders calls visit for each version that holds the schema of a path.
func (s *Server) holders(r *http.Request, visit func(subject string, v version)) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sch, err := s.schemaByID(r)
	if err != nil {
		return err
	}
	deleted := flag(r, "deleted")
	for _, name := range s.state.names(deleted) {
		for _, v := range s.state.live(name, deleted) {
			if v.id == sch.id {
				visit(name, v)
			}
		}
	}
	return nil
}

func (s *Server) getSchemaSubjects(r *http.Request) (any, error) {
	names := []string{}
	err := s.holders(r, func(subject string, _ version) {
		if len(names) == 0 || names[len(names)-1] != subject {
			names = append(names, subject)
		}
	})
	return names, err
}

func (s *Server) getSchemaVersions(r *http.Request) (any, error) {
	type place struct {
		Subject string `json:"subject"`
		Version int    `json:"version"`
	}
	places := []place{}
	err := s.holders(r, func(subject string, v version) { places = append(places, place{subject, v.number}) })
	return places, err
}

func (s *Server) getSubjects(r *http.Request) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := []string{}
	for _, name := range s.state.names(flag(r, "deleted") || flag(r, "deletedOnly")) {
		wanted := strings.HasPrefix(name, r.URL.Query().Get("subjectPrefix"))
		if wanted && (!flag(r, "deletedOnly") || len(s.state.live(name, false)) == 0) {
			names = append(names, name)
		}
	}
	return names, nil
}

// postSubject finds a schema in a subject.
func (s *Server) postSubject(r *http.Request) (any, error) {
	var p proposal
	if err := body(r, &p); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	subject := r.PathValue("subject")
	versions := s.state.live(subject, flag(r, "deleted"))
	if len(versions) == 0 {
		return nil, subjectNotFound(subject)
	}
	_, key, err := s.state.accept(p)
	if err != nil {
		return nil, err
	}
	known := s.state.byKey[key]
	for i := len(versions) - 1; i >= 0 && known != nil; i-- {
		if versions[i].id == known.id {
			return s.state.registered(subject, versions[i]), nil
		}
	}
	return nil, notFound(codeSchemaNotFound, "Schema not found")
}

func (s *Server) deleteSubject(r *http.Request) (any, error) {
	return s.remove(r.PathValue("subject"), 0, flag(r, "permanent"))
}

func (s *Server) getVersions(r *http.Request) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	subject := r.PathValue("subject")
	versions := s.state.live(subject, flag(r, "deleted") || flag(r, "deletedOnly"))
	if len(versions) == 0 {
		return nil, subjectNotFound(subject)
	}
	numbers := []int{}
	for _, v := range versions {
		if v.deleted || !flag(r, "deletedOnly") {
			numbers = append(numbers, v.number)
		}
	}
	return numbers, nil
}

func (s *Server) postVersion(r *http.Request) (any, error) {
	var p proposal
	if err := body(r, &p); err != nil {
		return nil, err
	}
	id, err := s.register(r.PathValue("subject"), p)
	return map[string]int{"id": id}, err
}

func (s *Server) getVersion(r *http.Request) (any, error) {
	number, err := versionIn(r)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	subject := r.PathValue("subject")
	v, err := s.state.find(subject, number, flag(r, "deleted"))
	if err != nil {
		return nil, err
	}
	return s.state.registered(subject, v), nil
}

func (s *Server) getVersionText(r *http.Request) (any, error) {
	v, err := s.getVersion(r)
	if err != nil {
		return nil, err
	}
	return json.RawMessage(v.(registered).Schema), nil
}

func (s *Server) getReferencedBy(r *http.Request) (any, error) {
	v, err := s.getVersion(r)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.referrers(r.PathValue("subject"), v.(registered).Version), nil
}

func (s *Server) deleteVersion(r *http.Request) (any, error) {
	number, err := versionIn(r)
	if err != nil {
		return nil, err
	}
	numbers, err := s.remove(r.PathValue("subject"), number, flag(r, "permanent"))
	if err != nil {
		return nil, err
	}
	return numbers[0], nil
}

// postCompatibility tries a schema against one version of a subject, or,
// when the path names none, against those that its level asks for.
func (s *Server) postCompatibility(r *http.Request) (any, error) {
	var p proposal
	if err := body(r, &p); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	subject := r.PathValue("subject")
	against := s.state.live(subject, false)
	if r.PathValue("version") != "" {
		number, err := versionIn(r)
		if err != nil {
			return nil, err
		}
		v, err := s.state.find(subject, number, false)
		if err != nil {
			return nil, err
		}
		against = []version{v}
	}
	schema, _, err := s.state.accept(p)
	if err != nil {
		return nil, err
	}
	faults, err := s.state.incompatible(subject, schema, against)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"is_compatible": len(faults) == 0}
	if flag(r, "verbose") {
		answer["messages"] = append([]string{}, faults...)
	}
	return answer, nil
}

// setting is what the registry has for all subjects and a subject may have of its
// own: the compatibility level or the mode.
type setting struct {
	op      string // The operation of the events that change it.
	key     string // Its key in answers.
	name    string // Its name in errors.
	missing int    // The code of the error that a subject has none of its own.
	initial string
}

func levelSetting() setting {
	return setting{opLevel, "compatibilityLevel", "compatibility", codeNoSubjectLevel, defaultLevel}
}

func modeSetting() setting {
	return setting{opMode, "mode", "mode", codeNoSubjectMode, modeReadWrite}
}

func (k setting) noneOf(subject string) error {
	return notFound(k.missing, "Subject '%s' does not have subject-level %s configured", subject, k.name)
}

// getSetting answers with the setting that holds for a subject.
func (s *Server) getSetting(k setting) answer {
	return func(r *http.Request) (any, error) {
		s.mu.RLock()
		defer s.mu.RUnlock()
		subject, values := r.PathValue("subject"), s.state.values(k.op)
		if _, ok := values[subject]; !ok && !flag(r, "defaultToGlobal") {
			return nil, k.noneOf(subject)
		}
		return map[string]string{k.key: holding(values, subject)}, nil
	}
}

// deleteSetting takes a subject's own setting away and answers with what it was.
func (s *Server) deleteSetting(k setting) answer {
	return func(r *http.Request) (any, error) {
		was, err := s.unset(k, r.PathValue("subject"))
		return map[string]string{k.key: was}, err
	}
}

func (s *Server) putLevel(r *http.Request) (any, error) {
	var wanted struct {
		Compatibility string `json:"compatibility"`
	}
	if err := body(r, &wanted); err != nil {
		return nil, err
	}
	name, err := s.setLevel(r.PathValue("subject"), wanted.Compatibility)
	return map[string]string{"compatibility": name}, err
}

func (s *Server) putMode(r *http.Request) (any, error) {
	var wanted struct {
		Mode string `json:"mode"`
	}
	if err := body(r, &wanted); err != nil {
		return nil, err
	}
	name, err := s.setMode(r.PathValue("subject"), wanted.Mode, flag(r, "force"))
	return map[string]string{"mode": name}, err
}
