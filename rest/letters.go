package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/worker"
)

// lettersBody is the answer of GET /connectors/{name}/dlq.
type lettersBody struct {
	Topic   string          `json:"topic"`
	Letters []worker.Letter `json:"letters"`
	More    bool            `json:"more"`
}

// mostLetters bounds one answer.
const mostLetters = 1000

// listLetters shows letters of a sink's dead letter queue.
func (s *Server) listLetters(r *http.Request) (answer, error) {
	query, err := letterQuery(r.URL.Query())
	if err != nil {
		return answer{}, err
	}
	query.Limit = min(query.Limit, mostLetters)
	topic, letters, more, err := s.o.Herder.Letters(r.Context(), r.PathValue("name"), query)
	if err != nil {
		return answer{}, err
	}
	for i := range letters {
		s.showLetter(&letters[i])
	}
	return ok(lettersBody{Topic: topic, Letters: letters, More: more})
}

// getLetter shows one letter whole.
func (s *Server) getLetter(r *http.Request) (answer, error) {
	partition, err := strconv.ParseInt(r.PathValue("partition"), 10, 32)
	if err != nil {
		return answer{}, httpStatus(http.StatusNotFound)
	}
	offset, err := strconv.ParseInt(r.PathValue("offset"), 10, 64)
	if err != nil {
		return answer{}, httpStatus(http.StatusNotFound)
	}
	p := int32(partition)
	query := worker.LetterQuery{Partition: &p, From: &offset, To: &offset, State: "all", Payload: true}
	topic, letters, _, err := s.o.Herder.Letters(r.Context(), r.PathValue("name"), query)
	if err != nil {
		return answer{}, err
	}
	if len(letters) == 0 {
		return answer{}, fail(http.StatusNotFound, "The dead letter queue "+topic+" has no letter of this connector at partition "+r.PathValue("partition")+", offset "+r.PathValue("offset"))
	}
	s.showLetter(&letters[0])
	return ok(letters[0])
}

// showLetter takes known secrets out of what the worker has written into a letter.
func (s *Server) showLetter(l *worker.Letter) {
	l.Message, l.Trace = s.redact(l.Message), s.redact(l.Trace)
}

// showReplay does so for a replay.
func (s *Server) showReplay(p worker.Replay, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	p.Error, p.Waiting = s.redact(p.Error), s.redact(p.Waiting)
	for i := range p.Failures {
		s.showLetter(&p.Failures[i])
	}
	return ok(p)
}

// startReplay begins to put letters to the connector again.
func (s *Server) startReplay(r *http.Request) (answer, error) {
	data, err := s.body(r)
	if err != nil {
		return answer{}, err
	}
	var query worker.LetterQuery
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields() // A filter that is misspelt would choose too much.
	if err := dec.Decode(&query); err != nil && !errors.Is(err, io.EOF) {
		return answer{}, &connect.Error{
			Code: "request.invalid", Class: connect.ClassConfig, Message: "The request says in no way that is understood which letters to replay", Cause: err,
			Mend: `send {} for all, or some of {"partition":0,"from":0,"to":9,"since":"2026-01-31T00:00:00Z","until":…,"topic":"…","stage":"…","error":"…","state":"…","limit":10,"dry_run":true}`,
		}
	}
	a, err := s.showReplay(s.o.Herder.StartReplay(r.Context(), r.PathValue("name"), query))
	a.status = http.StatusAccepted
	return a, err
}

func (s *Server) getReplay(r *http.Request) (answer, error) {
	return s.showReplay(s.o.Herder.ReplayOf(r.Context(), r.PathValue("name")))
}

func (s *Server) stopReplay(r *http.Request) (answer, error) {
	return s.showReplay(s.o.Herder.StopReplay(r.Context(), r.PathValue("name")))
}

// letterQuery reads the parameters that choose letters.
func letterQuery(values url.Values) (q worker.LetterQuery, err error) {
	var faults error
	number := func(name string, bits int) *int64 {
		text := values.Get(name)
		if text == "" {
			return nil
		}
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil || n < 0 {
			faults = errors.Join(faults, fail(http.StatusBadRequest, "The parameter "+name+" is a number, not "+text))
			return nil
		}
		return &n
	}
	instant := func(name string) *time.Time {
		text := values.Get(name)
		if text == "" {
			return nil
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			faults = errors.Join(faults, fail(http.StatusBadRequest, "The parameter "+name+" is a time such as 2026-01-31T23:59:59Z, not "+text))
		}
		return &at
	}
	if p := number("partition", 32); p != nil {
		n := int32(*p)
		q.Partition = &n
	}
	q.From, q.To, q.Since, q.Until = number("from", 64), number("to", 64), instant("since"), instant("until")
	if n := number("limit", 32); n != nil {
		q.Limit = int(*n)
	}
	q.Topic, q.Stage, q.Error, q.State = values.Get("topic"), values.Get("stage"), values.Get("error"), values.Get("state")
	return q, faults
}
