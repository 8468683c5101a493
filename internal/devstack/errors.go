package devstack

import "fmt"

// Error is a failure that the user can mend: what went wrong, under a stable
// code, and what to do about it.
type Error struct {
	// Code names the kind of failure and never changes, for example
	// "devstack.postgres.missing".
	Code string
	// Problem is one sentence that says what went wrong and where.
	Problem string
	// Mend says what the user can do about it.
	Mend string
	// Err is the cause, if there is one.
	Err error
}

// Error returns the problem, its cause, the mend and the code in one text.
func (e *Error) Error() string {
	text := e.Problem
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Mend != "" {
		text += "; " + e.Mend
	}
	return fmt.Sprintf("%s [%s]", text, e.Code)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
