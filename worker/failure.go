package worker

import (
	"errors"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Failure says why a connector or task failed the last time, and what follows from it.
// It is shown beside the trace, for programs and for people who would rather not read one.
type Failure struct {
	// Code, Place, Message and Mend are those of the error; see [connect.Error].
	Code    string `json:"code"`
	Place   string `json:"place,omitempty"`
	Message string `json:"message"`
	Mend    string `json:"mend,omitempty"`
	// Stage is where a record was, in Kafka Connect's words, such as VALUE_CONVERTER;
	// empty when no record is to blame.
	Stage string `json:"stage,omitempty"`
	// Class is "retriable" for what may pass by itself. The others need a person: "fatal",
	// "record" (one record is at fault) and "config".
	Class string    `json:"class"`
	At    time.Time `json:"at"`
	// Attempts is how many times it has failed; an hour of work begins the count anew.
	Attempts int `json:"attempts"`
	// NextTry is when the worker starts it again; nil when that is left to a person, or has
	// been done.
	NextTry *time.Time `json:"next_try,omitempty"`
}

// classNames are the classes of errors as they are written.
var classNames = map[connect.Class]string{
	connect.ClassFatal: "fatal", connect.ClassRetriable: "retriable", connect.ClassRecord: "record", connect.ClassConfig: "config",
}

// newFailure describes an error after which wait passes before the next attempt, if there
// is one. attempts counts this failure too.
func newFailure(err error, attempts int, wait time.Duration, again bool) *Failure {
	e := connect.AsError(err)
	now := time.Now().UTC().Truncate(time.Millisecond)
	f := &Failure{
		Code: e.Code, Place: e.Place, Message: e.Message, Mend: e.Mend, Class: classNames[e.Class], At: now, Attempts: attempts,
	}
	if e.Cause != nil {
		if f.Message != "" {
			f.Message += ": "
		}
		f.Message += e.Cause.Error()
	}
	if bad, ok := errors.AsType[*staged](err); ok {
		f.Stage = string(bad.stage)
	}
	if again {
		next := now.Add(wait)
		f.NextTry = &next
	}
	return f
}

// tried returns f as it is shown once the next attempt was made.
func (f *Failure) tried() *Failure {
	if f == nil || f.NextTry == nil {
		return f
	}
	done := *f
	done.NextTry = nil
	return &done
}
