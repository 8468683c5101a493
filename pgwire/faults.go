package pgwire

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql"
)

// The codes of errors, as PostgreSQL calls them.
const (
	stateSyntax        = "42601"
	stateUnsupported   = "0A000"
	stateCancelled     = "57014"
	stateShutdown      = "57P01"
	stateStarting      = "57P03"
	stateTooMany       = "53300"
	stateProtocol      = "08P01"
	stateTooLarge      = "54000"
	stateDenied        = "42501"
	statePassword      = "28P01"
	stateIdentity      = "28000"
	stateTransaction   = "25001"
	stateInvalidValue  = "22023"
	stateInternal      = "XX000"
	stateUnknownObject = "42704"
)

// stateOf returns PostgreSQL's code for one of the engine's.
func stateOf(code string) string {
	switch code {
	case "sql.syntax", "sql.use_query", "sql.use_execute", "sql.one_query":
		return stateSyntax
	case "sql.unknown_source":
		return "42P01"
	case "sql.unknown_column", "sql.unknown_field":
		return "42703"
	case "sql.unknown_function":
		return "42883"
	case "sql.unknown_type", "sql.unknown_query", "sql.unknown_property", "sql.unknown_variable":
		return stateUnknownObject
	case "sql.type", "sql.no_values":
		return "42804"
	case "sql.ambiguous_column":
		return "42702"
	case "sql.duplicate_column":
		return "42701"
	case "sql.duplicate_source":
		return "42712"
	case "sql.not_grouped", "sql.misplaced_aggregate":
		return "42803"
	case "sql.exists":
		return "42P07"
	case "sql.reserved_column":
		return "42939"
	case "sql.unsupported", "sql.bad_clause", "sql.no_connectors":
		return stateUnsupported
	case "sql.in_use":
		return "2BP01"
	case "sql.read_only", "sql.wrong_kind":
		return "42809"
	case "sql.not_materialized":
		return "55000"
	case "sql.too_many_rows":
		return "53400"
	case "sql.too_deep":
		return "54001"
	case "sql.log":
		return "58000"
	}
	return "42000"
}

// refusal is an error that knows its code.
type refusal struct{ state, message, hint string }

func (r *refusal) Error() string { return r.message }

func refuse(state, message, hint string) error { return &refusal{state, message, hint} }

// response turns an error into what the client is told. st is the statement it is of, nil
// for none.
func (s *session) response(err error, st *statement) *pgproto3.ErrorResponse {
	out := &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: stateInternal}
	if own, ok := errors.AsType[*refusal](err); ok {
		out.Code, out.Message, out.Hint = own.state, own.message, own.hint
		return out
	}
	if fault, ok := errors.AsType[*sql.Error](err); ok {
		out.Code = stateOf(fault.Code)
		out.Message, out.Detail, out.Hint = fault.Message, "The code is "+fault.Code+".", fault.Hint
		if st != nil && fault.Line > 0 {
			out.Position = st.position(fault.Line, fault.Column)
		}
	} else {
		e := connect.AsError(err)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			out.Code = stateCancelled
		case e.Class == connect.ClassRetriable:
			out.Code = stateStarting
		}
		out.Message, out.Detail, out.Hint = strings.ReplaceAll(e.Error(), "\n", "; "), "The code is "+e.Code+".", e.Mend
	}
	out.Message, out.Hint = s.redact(out.Message), s.redact(out.Hint)
	return out
}

// position is the place of a line and column of the statement, in characters from the
// beginning of the text it came in.
func (st *statement) position(line, column int) int32 {
	rest, n := st.text, st.before
	for ; line > 1; line-- {
		i := strings.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		n += utf8.RuneCountInString(rest[:i+1])
		rest = rest[i+1:]
	}
	return int32(min(n+column, st.before+utf8.RuneCountInString(st.text)+1))
}

func (s *session) redact(text string) string {
	if s.server.o.Redactor == nil {
		return text
	}
	return s.server.o.Redactor.Text(text)
}
