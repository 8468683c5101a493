package line

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// wireError is an error as it travels.
type wireError struct {
	Text string `json:"text"` // What the error prints.
	// Context is "canceled" or "deadline" when that is what is behind it.
	Context string       `json:"context,omitempty"`
	Told    *toldError   `json:"told,omitempty"` // The outermost [connect.Error] in its chain.
	List    []*wireError `json:"list,omitempty"` // Of [connect.Errors].
}

// toldError is a [connect.Error] as it travels.
type toldError struct {
	Code    string        `json:"code,omitempty"`
	Class   connect.Class `json:"class,omitempty"`
	Place   string        `json:"place,omitempty"`
	Message string        `json:"message,omitempty"`
	Mend    string        `json:"mend,omitempty"`
	After   time.Duration `json:"after,omitempty"`
	Cause   *wireError    `json:"cause,omitempty"`
}

func packError(err error) []byte {
	text, fault := json.Marshal(wireOf(err))
	if fault != nil {
		text, _ = json.Marshal(wireError{Text: err.Error()})
	}
	return text
}

func wireOf(err error) *wireError {
	if err == nil {
		return nil
	}
	w := &wireError{Text: err.Error()}
	switch {
	case errors.Is(err, context.Canceled):
		w.Context = "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		w.Context = "deadline"
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		switch e := e.(type) {
		case connect.Errors:
			for _, one := range e {
				w.List = append(w.List, wireOf(one))
			}
			return w
		case *connect.Error:
			w.Told = tell(e)
			return w
		}
	}
	if e, ok := errors.AsType[*connect.Error](err); ok {
		w.Told = tell(e)
	}
	return w
}

func tell(e *connect.Error) *toldError {
	return &toldError{Code: e.Code, Class: e.Class, Place: e.Place, Message: e.Message, Mend: e.Mend, After: e.After, Cause: wireOf(e.Cause)}
}

// farError is an error of the other end that wraps what is known of it here.
type farError struct {
	text  string
	cause error
}

// Error implements error.
func (e *farError) Error() string { return e.text }

// Unwrap returns what the error stands on.
func (e *farError) Unwrap() error { return e.cause }

func unpackError(body []byte) error {
	var w wireError
	if err := json.Unmarshal(body, &w); err != nil {
		return errors.New("an error of the other end that cannot be read")
	}
	return w.error()
}

func (w *wireError) error() error {
	if w == nil {
		return nil
	}
	var cause error
	switch {
	case w.List != nil:
		var list connect.Errors
		for _, one := range w.List {
			list = append(list, connect.AsError(one.error()))
		}
		cause = list
	case w.Told != nil:
		t := w.Told
		cause = &connect.Error{Code: t.Code, Class: t.Class, Place: t.Place, Message: t.Message, Mend: t.Mend, After: t.After, Cause: t.Cause.error()}
	case w.Context == "canceled":
		cause = context.Canceled
	case w.Context == "deadline":
		cause = context.DeadlineExceeded
	default:
		return errors.New(w.Text)
	}
	if cause.Error() == w.Text {
		return cause
	}
	return &farError{text: w.Text, cause: cause}
}
