package connect

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Class says what the caller should do about an error.
type Class uint8

// The classes. Anything that is no [Error] counts as ClassFatal.
const (
	// ClassFatal: it will not work until a person acts.
	ClassFatal Class = iota
	// ClassRetriable: the same call may work later.
	ClassRetriable
	// ClassRecord: this record cannot be dealt with, others can.
	ClassRecord
	// ClassConfig: the configuration is at fault.
	ClassConfig
)

// Error is an error a user meets. It prints as
//
//	code: place: message: cause → mend
//
// with the absent parts left out. Codes are stable, lower-case and dotted, such as
// "pg.wal_level"; messages and mends are sentences without a full stop.
type Error struct {
	Code    string
	Class   Class
	Place   string // What it is about: a setting, a table, a topic and offset.
	Message string
	Mend    string        // What puts it right: a command, an SQL statement, a setting.
	Cause   error         // May be nil.
	After   time.Duration // With ClassRetriable: how long to wait; 0 leaves it to the caller.
}

// Error implements error.
func (e *Error) Error() string {
	parts := make([]string, 0, 4)
	for _, p := range []string{e.Code, e.Place, e.Message} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	if e.Cause != nil {
		parts = append(parts, e.Cause.Error())
	}
	text := strings.Join(parts, ": ")
	if e.Mend != "" {
		text += " → " + e.Mend
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Retry wraps err as one that may go away by itself, to be tried again after the
// given time (0: when the caller thinks best).
func Retry(err error, after time.Duration) error {
	return &Error{Code: "retriable", Class: ClassRetriable, Cause: err, After: after}
}

// AsError returns the outermost [Error] in err's chain. Any other error counts as
// one of ClassFatal with the code "internal". It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: "internal", Cause: err}
}

// Errors are several faults found at once, such as all the wrong settings of a
// configuration.
type Errors []*Error

// Error lists the faults, one on a line.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the single faults, for errors.Is and errors.As.
func (es Errors) Unwrap() []error {
	list := make([]error, len(es))
	for i, e := range es {
		list[i] = e
	}
	return list
}

// OrNil returns es as an error, or nil when it is empty.
func (es Errors) OrNil() error {
	if len(es) == 0 {
		return nil
	}
	return es
}

// ConfigError returns the error for a setting at fault.
func ConfigError(setting, format string, args ...any) *Error {
	return &Error{Code: "config.invalid", Class: ClassConfig, Place: setting, Message: fmt.Sprintf(format, args...)}
}
