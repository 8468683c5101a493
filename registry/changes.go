package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/hamba/avro/v2"
)

// The modes: what may be changed.
const (
	modeReadWrite = "READWRITE"
	modeReadOnly  = "READONLY"
	modeOverride  = "READONLY_OVERRIDE"
	modeImport    = "IMPORT" // ids and versions are the client's
)

// proposal is a schema as a client sends it.
type proposal struct {
	Schema     string      `json:"schema"`
	Type       string      `json:"schemaType"`
	References []Reference `json:"references"`
	ID         int         `json:"id"`
	Version    int         `json:"version"`
}

// parsed reads a schema with a private cache, so that it cannot see types that
// another one has defined. The types of its references come first.
func (s *state) parsed(text string, references []Reference) (avro.Schema, error) {
	cache := &avro.SchemaCache{}
	if err := s.parseReferences(references, cache, map[Reference]bool{}); err != nil {
		return nil, err
	}
	return avro.ParseWithCache(text, "", cache)
}

func (s *state) parseReferences(references []Reference, cache *avro.SchemaCache, done map[Reference]bool) error {
	for _, ref := range references {
		once := Reference{Subject: ref.Subject, Version: ref.Version}
		if done[once] {
			continue
		}
		done[once] = true
		v, err := s.find(ref.Subject, ref.Version, true)
		if err != nil {
			return fmt.Errorf("no schema reference found for subject %q and version %d", ref.Subject, ref.Version)
		}
		sch := s.schemas[v.id]
		if err := s.parseReferences(sch.references, cache, done); err != nil {
			return err
		}
		if _, err := avro.ParseWithCache(sch.text, "", cache); err != nil {
			return fmt.Errorf("reading the referenced schema %s version %d: %w", ref.Subject, v.number, err)
		}
	}
	return nil
}

// accept checks a proposal by itself: its type, its text, its references.
func (s *state) accept(p proposal) (avro.Schema, string, error) {
	if p.Type != "" && p.Type != "AVRO" {
		return nil, "", unprocessable(codeInvalidSchema, "Invalid schema type %s: this registry holds AVRO schemas only", p.Type)
	}
	if strings.TrimSpace(p.Schema) == "" {
		return nil, "", unprocessable(codeInvalidSchema, "Empty schema")
	}
	for _, ref := range p.References {
		if ref.Name == "" || ref.Subject == "" || ref.Version < 1 {
			return nil, "", unprocessable(codeInvalidSchema, "A schema reference needs a name, a subject and a version from 1 on")
		}
	}
	parsed, err := s.parsed(p.Schema, p.References)
	if err != nil {
		return nil, "", unprocessable(codeInvalidSchema, "Invalid schema %s, details: %v", shortened(p.Schema), err)
	}
	key, err := schemaKey(p.Schema, p.References)
	if err != nil {
		return nil, "", unprocessable(codeInvalidSchema, "Invalid schema %s, details: %v", shortened(p.Schema), err)
	}
	return parsed, key, nil
}

// shortened keeps a message readable that quotes a schema.
func shortened(text string) string {
	const most = 400
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// commit stores an event and then applies it, in this order: what a client was
// told survives.
func (s *Server) commit(e event) error {
	entry, err := json.Marshal(e)
	if err == nil {
		err = s.store.Append(entry)
	}
	if err == nil {
		err = s.state.apply(e)
	}
	if err != nil {
		return &apiError{http.StatusInternalServerError, codeStore, "Error in the backend data store: " + err.Error()}
	}
	return nil
}

// register gives a schema its place in a subject; one that is there already
// keeps it.
func (s *Server) register(subject string, p proposal) (int, error) {
	if subject == "" || strings.ContainsFunc(subject, func(r rune) bool { return r < ' ' }) {
		return 0, unprocessable(codeInvalidSubject, "The specified subject %s is not a valid subject.", strconv.Quote(subject))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	schema, key, err := s.state.accept(p)
	if err != nil {
		return 0, err
	}
	known := s.state.byKey[key]
	for _, v := range s.state.live(subject, false) {
		if known != nil && v.id == known.id && (p.ID == 0 || p.ID == v.id) {
			return v.id, nil
		}
	}
	e := event{Op: opRegister, Subject: subject, Schema: p.Schema, References: p.References}
	switch mode := s.state.mode(subject); {
	case mode == modeReadOnly || mode == modeOverride:
		return 0, unprocessable(codeOperationNotAllowed, "Subject %s is in read-only mode", subject)
	case mode == modeImport:
		e.ID, e.Version, err = s.state.imported(subject, p, key)
	case p.ID != 0:
		err = unprocessable(codeOperationNotAllowed, "Subject %s is not in import mode", subject)
	default:
		e.ID, e.Version, err = s.state.placed(subject, schema, key)
	}
	if err != nil {
		return 0, err
	}
	return e.ID, s.commit(e)
}

// placed returns the id and version of a new schema, if it may follow the
// earlier versions.
func (s *state) placed(subject string, newer avro.Schema, key string) (id, number int, err error) {
	faults, err := s.incompatible(subject, newer, s.live(subject, false))
	if err != nil {
		return 0, 0, err
	}
	if len(faults) > 0 {
		return 0, 0, &apiError{http.StatusConflict, codeIncompatible, fmt.Sprintf(
			"Schema being registered is incompatible with an earlier schema for subject \"%s\", details: [%s]", subject, strings.Join(faults, ", "))}
	}
	id = s.lastID + 1
	if known := s.byKey[key]; known != nil {
		id = known.id
	}
	return id, s.nextVersion(subject), nil
}

// imported returns the id and version that the client chose.
func (s *state) imported(subject string, p proposal, key string) (id, number int, err error) {
	if p.ID <= 0 {
		return 0, 0, unprocessable(codeOperationNotAllowed, "Subject %s is in import mode: the request must name the schema's id", subject)
	}
	if there := s.schemas[p.ID]; there != nil && there.key != key {
		return 0, 0, unprocessable(codeOperationNotAllowed, "Overwrite new schema with id %d is not permitted.", p.ID)
	}
	if known := s.byKey[key]; known != nil && known.id != p.ID {
		return 0, 0, unprocessable(codeOperationNotAllowed, "The schema has the id %d already and cannot have the id %d too.", known.id, p.ID)
	}
	number = p.Version
	if number <= 0 {
		number = s.nextVersion(subject)
	}
	return p.ID, number, nil
}

// incompatible returns what keeps newer from following the given versions of
// the subject, under the subject's level: the latest of them, or all of them
// when the level is transitive.
func (s *state) incompatible(subject string, newer avro.Schema, against []version) ([]string, error) {
	name := s.level(subject)
	l, _, _ := levelNamed(name)
	if !l.backward && !l.forward {
		return nil, nil
	}
	if len(against) > 1 && !l.transitive {
		against = against[len(against)-1:]
	}
	for i := len(against) - 1; i >= 0; i-- {
		sch := s.schemas[against[i].id]
		older, err := s.parsed(sch.text, sch.references)
		if err != nil {
			return nil, fmt.Errorf("reading version %d of subject %s: %w", against[i].number, subject, err)
		}
		if faults := l.faults(newer, older); len(faults) > 0 {
			return append(faults,
				fmt.Sprintf("{oldSchemaVersion: %d}", against[i].number),
				fmt.Sprintf("{oldSchema: '%s'}", sch.text),
				fmt.Sprintf("{compatibility: '%s'}", name)), nil
		}
	}
	return nil, nil
}

// remove deletes a version of a subject, or all with number 0, and returns the
// numbers it deleted.
func (s *Server) remove(subject string, number int, permanent bool) ([]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	chosen, err := s.state.removable(subject, number, permanent)
	if err != nil {
		return nil, err
	}
	if mode := s.state.mode(subject); mode == modeReadOnly || mode == modeOverride {
		return nil, unprocessable(codeOperationNotAllowed, "Subject %s is in read-only mode", subject)
	}
	numbers := make([]int, len(chosen))
	for i, v := range chosen {
		numbers[i] = v.number
		if ids := s.state.referrers(subject, v.number); len(ids) > 0 {
			return nil, unprocessable(codeReferenceExists,
				"One or more references exist to the schema {subject=%s,version=%d}: the schemas with the ids %v", subject, v.number, ids)
		}
	}
	if number != 0 {
		number = numbers[0]
	}
	return numbers, s.commit(event{Op: opDelete, Subject: subject, Version: number, Permanent: permanent})
}

// removable returns the versions that a deletion means. Only what was deleted
// softly can be deleted for good.
func (s *state) removable(subject string, number int, permanent bool) ([]version, error) {
	all := s.live(subject, true)
	live := s.live(subject, false)
	switch {
	case len(all) == 0:
		return nil, subjectNotFound(subject)
	case number == 0 && permanent && len(live) > 0:
		return nil, notFound(codeSubjectNotDeleted, "Subject '%s' was not deleted first before being permanently deleted", subject)
	case number == 0 && permanent:
		return all, nil
	case number == 0 && len(live) == 0:
		return nil, notFound(codeSubjectSoftDeleted, "Subject '%s' was soft deleted. Set permanent=true to delete permanently", subject)
	case number == 0:
		return live, nil
	}
	v, err := s.find(subject, number, number != latestVersion)
	switch {
	case err != nil:
		return nil, err
	case permanent && !v.deleted:
		return nil, notFound(codeVersionNotDeleted, "Subject '%s' Version %d was not deleted first before being permanently deleted", subject, v.number)
	case !permanent && v.deleted:
		return nil, notFound(codeVersionSoftDeleted, "Subject '%s' Version %d was soft deleted. Set permanent=true to delete permanently", subject, v.number)
	}
	return []version{v}, nil
}

// setLevel sets a subject's compatibility level; the subject "" is the global
// one, an empty level unsets it.
func (s *Server) setLevel(subject, name string) (string, error) {
	_, name, ok := levelNamed(name)
	if !ok {
		return "", unprocessable(codeInvalidLevel, "Invalid compatibility level. Valid values are none, backward, forward, full, "+
			"backward_transitive, forward_transitive, and full_transitive")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return name, s.commit(event{Op: opLevel, Subject: subject, Value: name})
}

// setMode sets a subject's mode. Import mode wants an empty place, unless
// forced, because ids could clash.
func (s *Server) setMode(subject, name string, force bool) (string, error) {
	name = strings.ToUpper(name)
	switch name {
	case modeReadWrite, modeReadOnly, modeOverride, modeImport:
	default:
		return "", unprocessable(codeInvalidMode, "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, IMPORT")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == modeImport && !force && s.state.mode(subject) != modeImport {
		if subject != "" && len(s.state.live(subject, true)) > 0 || subject == "" && len(s.state.subjects) > 0 {
			return "", unprocessable(codeOperationNotAllowed, "Cannot import since found existing subjects")
		}
	}
	return name, s.commit(event{Op: opMode, Subject: subject, Value: name})
}

// unset removes a subject's own setting and returns what it was. That of all
// subjects, "", becomes the initial one again.
func (s *Server) unset(k setting, subject string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, ok := s.state.values(k.op)[subject]
	if !ok {
		return "", k.noneOf(subject)
	}
	initial := ""
	if subject == "" {
		initial = k.initial
	}
	return was, s.commit(event{Op: k.op, Subject: subject, Value: initial})
}
