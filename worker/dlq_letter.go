package worker

import (
	"encoding/base64"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// The states of letters.
const (
	letterPending  = "pending"
	letterReplayed = "replayed"
	// letterUnsure are those that were being replayed when the worker was lost, or that the
	// connector never said it has written: they may have arrived or not.
	letterUnsure = "unsure"
	// letterStranger are those that do not say where they come from.
	letterStranger = "no_context"
)

// Letter is a record in the dead letter queue of a connector.
type Letter struct {
	Partition int32 `json:"partition"` // Of the queue, as Offset.
	Offset    int64 `json:"offset"`
	// Timestamp is that of the record, not of its coming into the queue: in milliseconds.
	Timestamp int64 `json:"timestamp"`
	// State is "pending", "replayed", "unsure" (it may have been replayed: a replay was cut
	// off) or "no_context" (its headers do not say where it comes from).
	State string `json:"state"`
	// Origin is where the record was read; nil when it does not say.
	Origin *LetterOrigin `json:"origin,omitempty"`
	Task   string        `json:"task,omitempty"`
	Stage  string        `json:"stage,omitempty"`
	Class  string        `json:"class,omitempty"` // The plugin at work.
	Error  string        `json:"error,omitempty"` // The error's code, or its Java class.
	// Message is what the error said. Trace, Key, Value and Headers are there when they were
	// asked for; texts that are not UTF-8 are in base64, after "base64:".
	Message string      `json:"message,omitempty"`
	Trace   string      `json:"trace,omitempty"`
	Key     *string     `json:"key,omitempty"`
	Value   *string     `json:"value,omitempty"`
	Headers [][2]string `json:"headers,omitempty"`

	connector string
	record    *kgo.Record
}

// LetterOrigin is the place from which a letter's record was read.
type LetterOrigin struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// contextPrefix is how the names of the headers begin that say why a record is a letter.
const contextPrefix = "__connect.errors."

// readLetter reads the context headers, which may be those of a Java worker.
func readLetter(r *kgo.Record) *Letter {
	l := &Letter{Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(), record: r}
	var origin LetterOrigin
	known := 0
	for _, h := range r.Headers {
		name, ok := strings.CutPrefix(h.Key, contextPrefix)
		if !ok {
			continue
		}
		text := string(h.Value)
		switch name {
		case "topic":
			if origin.Topic = text; text != "" {
				known |= 1
			}
		case "partition":
			if n, err := strconv.ParseInt(text, 10, 32); err == nil {
				origin.Partition, known = int32(n), known|2
			}
		case "offset":
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				origin.Offset, known = n, known|4
			}
		default:
			l.note(name, text)
		}
	}
	if l.State = letterPending; known == 7 {
		l.Origin = &origin
	}
	if l.Origin == nil || l.connector == "" {
		l.State = letterStranger
	}
	return l
}

// note takes in one header. Of several of a name the last counts: a letter's record may
// have been one before.
func (l *Letter) note(name, text string) {
	switch name {
	case "connector.name":
		l.connector = text
	case "task.id":
		l.Task = text
	case "stage":
		l.Stage = text
	case "class.name":
		l.Class = text
	case "exception.class.name":
		l.Error = text
	case "exception.message":
		l.Message = text
	case "exception.stacktrace":
		l.Trace = text
	}
}

// restored returns the record as it was first read, without what the queue has added.
func (l *Letter) restored() *kgo.Record {
	r := *l.record
	r.Topic, r.Partition, r.Offset, r.Headers = l.Origin.Topic, l.Origin.Partition, l.Origin.Offset, nil
	for _, h := range l.record.Headers {
		if !strings.HasPrefix(h.Key, contextPrefix) {
			r.Headers = append(r.Headers, h)
		}
	}
	return &r
}

// show fills in what is only shown when it was asked for, or leaves it out.
func (l *Letter) show(payload bool) {
	if !payload {
		l.Trace = ""
		return
	}
	l.Key, l.Value = shownBytes(l.record.Key), shownBytes(l.record.Value)
	for _, h := range l.record.Headers {
		if !strings.HasPrefix(h.Key, contextPrefix) {
			text := ""
			if v := shownBytes(h.Value); v != nil {
				text = *v
			}
			l.Headers = append(l.Headers, [2]string{h.Key, text})
		}
	}
}

// shownBytes returns bytes as text, nil for none.
func shownBytes(data []byte) *string {
	if data == nil {
		return nil
	}
	text := string(data)
	if !utf8.Valid(data) {
		text = "base64:" + base64.StdEncoding.EncodeToString(data)
	}
	return &text
}

// LetterQuery chooses letters. What is left empty chooses all.
type LetterQuery struct {
	Partition *int32 `json:"partition,omitempty"` // Of the queue.
	From      *int64 `json:"from,omitempty"`      // Offsets in the queue, both included.
	To        *int64 `json:"to,omitempty"`
	// Since and Until bound the records' own timestamps; Until is not included.
	Since *time.Time `json:"since,omitempty"`
	Until *time.Time `json:"until,omitempty"`
	Topic string     `json:"topic,omitempty"` // From which the record was read.
	Stage string     `json:"stage,omitempty"`
	// Error is the error's code or Java class; * and ? stand for anything, as in file names.
	Error string `json:"error,omitempty"`
	// State is one of those of letters, or "all". Empty means what a replay would take:
	// "pending" and "unsure", and for lists also "no_context".
	State string `json:"state,omitempty"`
	// Limit is the most letters; 0 means 100 for lists, and all of them for replays.
	Limit int `json:"limit,omitempty"`
	// Payload, for lists: whether keys, values, headers and traces are shown.
	Payload bool `json:"payload,omitempty"`
	// DryRun, for replays: letters are read, converted and transformed, and not put.
	DryRun bool `json:"dry_run,omitempty"`
	// Batch, for replays: the most letters in one put; 0 means 500.
	Batch int `json:"batch,omitempty"`
}

// check fails for what cannot be meant.
func (q *LetterQuery) check() error {
	bad := func(place, message string) error {
		return &connect.Error{Code: "request.invalid", Class: connect.ClassConfig, Place: place, Message: message}
	}
	switch q.State {
	case "", "all", letterPending, letterReplayed, letterUnsure, letterStranger:
	default:
		return bad("state", "there is no state "+q.State+": it is pending, replayed, unsure, no_context or all")
	}
	if _, err := path.Match(q.Error, ""); err != nil {
		return bad("error", q.Error+" is no pattern")
	}
	if q.Limit < 0 || q.Batch < 0 {
		return bad("limit", "it must not be negative")
	}
	if q.Partition == nil && (q.From != nil || q.To != nil) {
		return bad("partition", "offsets are those of one partition of the queue, which must be named")
	}
	return nil
}

// wants tells whether a letter is chosen. Its state is known by now.
func (q *LetterQuery) wants(l *Letter) bool {
	at := time.UnixMilli(l.Timestamp)
	switch {
	case q.Partition != nil && l.Partition != *q.Partition,
		q.From != nil && l.Offset < *q.From, q.To != nil && l.Offset > *q.To,
		q.Since != nil && at.Before(*q.Since), q.Until != nil && !at.Before(*q.Until),
		q.Topic != "" && (l.Origin == nil || l.Origin.Topic != q.Topic),
		q.Stage != "" && !strings.EqualFold(l.Stage, q.Stage):
		return false
	}
	if q.Error != "" {
		if ok, err := path.Match(q.Error, l.Error); err != nil || !ok {
			return false
		}
	}
	switch q.State {
	case "all":
		return true
	case "":
		return l.State != letterReplayed
	}
	return l.State == q.State
}
