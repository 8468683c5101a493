package registry

import (
	"fmt"
	"net/http"
)

// apiError is an answer that tells the client what is wrong: the HTTP status
// and the code that clients of the API look at.
type apiError struct {
	status  int
	code    int
	message string
}

// Error implements error.
func (e *apiError) Error() string { return fmt.Sprintf("%s (error code %d)", e.message, e.code) }

func notFound(code int, format string, args ...any) error {
	return &apiError{http.StatusNotFound, code, fmt.Sprintf(format, args...)}
}

func unprocessable(code int, format string, args ...any) error {
	return &apiError{http.StatusUnprocessableEntity, code, fmt.Sprintf(format, args...)}
}

// The codes are part of the API.
const (
	codeSubjectNotFound     = 40401
	codeVersionNotFound     = 40402
	codeSchemaNotFound      = 40403
	codeSubjectSoftDeleted  = 40404
	codeSubjectNotDeleted   = 40405
	codeVersionSoftDeleted  = 40406
	codeVersionNotDeleted   = 40407
	codeNoSubjectLevel      = 40408
	codeNoSubjectMode       = 40409
	codeInvalidSchema       = 42201
	codeInvalidVersion      = 42202
	codeInvalidLevel        = 42203
	codeInvalidMode         = 42204
	codeOperationNotAllowed = 42205
	codeReferenceExists     = 42206
	codeInvalidSubject      = 42208
	codeIncompatible        = http.StatusConflict
	codeStore               = 50001
)

func subjectNotFound(subject string) error {
	return notFound(codeSubjectNotFound, "Subject '%s' not found.", subject)
}

func versionNotFound(version int) error {
	return notFound(codeVersionNotFound, "Version %d not found.", version)
}
