package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
)

// Reference names a schema, registered elsewhere, whose types a schema uses.
type Reference struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	Version int    `json:"version"`
}

// schema is one text with its id. It does not change.
type schema struct {
	id         int
	text       string // as the client gave it
	references []Reference
	key        string // equal for schemas that say the same
}

// version is a schema's place in a subject.
type version struct {
	number  int
	id      int
	deleted bool // softly: it is hidden but its number stays taken
}

// event is one change, as it is stored.
type event struct {
	Op         string      `json:"op"`
	Subject    string      `json:"subject,omitempty"`
	Version    int         `json:"version,omitempty"` // delete: 0 means all
	Permanent  bool        `json:"permanent,omitempty"`
	ID         int         `json:"id,omitempty"`
	Schema     string      `json:"schema,omitempty"`
	References []Reference `json:"references,omitempty"`
	Value      string      `json:"value,omitempty"` // level, mode: empty unsets it
}

// The operations of an event.
const (
	opRegister = "register"
	opDelete   = "delete"
	opLevel    = "level"
	opMode     = "mode"
)

// state is what the registry knows. It changes by events alone, so replaying
// them gives the same state again.
type state struct {
	schemas  map[int]*schema
	byKey    map[string]*schema
	subjects map[string][]version // by number, lowest first
	levels   map[string]string    // by subject; "" is the global one
	modes    map[string]string    // likewise
	lastID   int
}

func newState() *state {
	return &state{
		schemas:  map[int]*schema{},
		byKey:    map[string]*schema{},
		subjects: map[string][]version{},
		levels:   map[string]string{"": defaultLevel},
		modes:    map[string]string{"": modeReadWrite},
	}
}

// replay applies a stored event.
func (s *state) replay(entry []byte) error {
	var e event
	if err := json.Unmarshal(entry, &e); err != nil {
		return fmt.Errorf("reading an entry of the schema registry: %w", err)
	}
	return s.apply(e)
}

// apply makes the change.
func (s *state) apply(e event) error {
	switch e.Op {
	case opRegister:
		return s.applyRegister(e)
	case opDelete:
		s.applyDelete(e)
	case opLevel, opMode:
		set(s.values(e.Op), e)
	default:
		return fmt.Errorf("the schema registry does not know the stored operation %q", e.Op)
	}
	return nil
}

func set(settings map[string]string, e event) {
	if e.Value == "" {
		delete(settings, e.Subject)
		return
	}
	settings[e.Subject] = e.Value
}

func (s *state) applyRegister(e event) error {
	if s.schemas[e.ID] == nil {
		key, err := schemaKey(e.Schema, e.References)
		if err != nil {
			return err
		}
		added := &schema{id: e.ID, text: e.Schema, references: e.References, key: key}
		s.schemas[e.ID], s.byKey[key] = added, added
		s.lastID = max(s.lastID, e.ID)
	}
	versions := slices.DeleteFunc(s.subjects[e.Subject], func(v version) bool { return v.number == e.Version })
	versions = append(versions, version{number: e.Version, id: e.ID})
	sort.Slice(versions, func(i, j int) bool { return versions[i].number < versions[j].number })
	s.subjects[e.Subject] = versions
	return nil
}

func (s *state) applyDelete(e event) {
	chosen := func(v version) bool { return e.Version == 0 || v.number == e.Version }
	if e.Version == 0 {
		delete(s.levels, e.Subject)
		delete(s.modes, e.Subject)
	}
	versions := s.subjects[e.Subject]
	if !e.Permanent {
		for i := range versions {
			versions[i].deleted = versions[i].deleted || chosen(versions[i])
		}
		return
	}
	versions = slices.DeleteFunc(versions, chosen)
	if len(versions) > 0 {
		s.subjects[e.Subject] = versions
	} else {
		delete(s.subjects, e.Subject)
	}
	s.forgetUnused()
}

// forgetUnused drops the schemas that no subject holds any more. Their ids are
// not given out again.
func (s *state) forgetUnused() {
	used := map[int]bool{}
	for _, versions := range s.subjects {
		for _, v := range versions {
			used[v.id] = true
		}
	}
	for id, sch := range s.schemas {
		if !used[id] {
			delete(s.schemas, id)
			delete(s.byKey, sch.key)
		}
	}
}

// schemaKey returns the text by which equal schemas are found.
func schemaKey(text string, references []Reference) (string, error) {
	key, err := canonical(text)
	if err != nil || len(references) == 0 {
		return key, err
	}
	refs, err := json.Marshal(references)
	return key + "\n" + string(refs), err
}

// live returns the versions of a subject that are not deleted; with deleted,
// all.
func (s *state) live(subject string, deleted bool) []version {
	var found []version
	for _, v := range s.subjects[subject] {
		if deleted || !v.deleted {
			found = append(found, v)
		}
	}
	return found
}

// find returns a version of a subject; latestVersion is the highest.
func (s *state) find(subject string, number int, deleted bool) (version, error) {
	all := s.live(subject, deleted)
	if len(all) == 0 {
		return version{}, subjectNotFound(subject)
	}
	if number == latestVersion {
		return all[len(all)-1], nil
	}
	for _, v := range all {
		if v.number == number {
			return v, nil
		}
	}
	return version{}, versionNotFound(number)
}

// nextVersion returns the number of the next version, which never repeats one
// that exists, deleted or not.
func (s *state) nextVersion(subject string) int {
	versions := s.subjects[subject]
	if len(versions) == 0 {
		return 1
	}
	return versions[len(versions)-1].number + 1
}

// names returns the subjects in order.
func (s *state) names(deleted bool) []string {
	names := []string{}
	for name := range s.subjects {
		if len(s.live(name, deleted)) > 0 {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// level returns the compatibility level that holds for a subject.
func (s *state) level(subject string) string {
	return holding(s.levels, subject)
}

// mode returns the mode that holds for a subject.
func (s *state) mode(subject string) string {
	return holding(s.modes, subject)
}

// holding returns the value that holds for a subject: its own or that of all.
func holding(values map[string]string, subject string) string {
	if own, ok := values[subject]; ok {
		return own
	}
	return values[""]
}

// values returns the values that events of an operation set, by subject.
func (s *state) values(op string) map[string]string {
	if op == opMode {
		return s.modes
	}
	return s.levels
}

// referrers returns the ids of the schemas that use a version of a subject.
func (s *state) referrers(subject string, number int) []int {
	ids := []int{}
	for _, sch := range s.schemas {
		for _, ref := range sch.references {
			if ref.Subject == subject && (number == 0 || ref.Version == number) {
				ids = append(ids, sch.id)
				break
			}
		}
	}
	sort.Ints(ids)
	return ids
}
