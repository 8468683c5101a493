package postgres

import (
	"errors"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// reconnect ends a connection on purpose: another one, with other options, does what
// this one cannot. It is no failure, and the next attempt is made at once. Each reason
// changes the options, so that there is an end to it.
type reconnect struct {
	why string
	err error
}

func (e *reconnect) Error() string { return e.why + " " + e.err.Error() }

func (e *reconnect) Unwrap() error { return e.err }

// The words of stream.format.
const (
	formatAuto   = "auto"
	formatText   = "text"
	formatBinary = "binary"
)

// streamParam takes in one of slot.stream.params, name=value. What this connector asks
// for by itself can be said there as well; what it cannot follow is refused.
func (set *settings) streamParam(param string) error {
	name, value, ok := strings.Cut(param, "=")
	name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
	if !ok || name == "" {
		return errors.New("it has the form name=value;name=value")
	}
	word := strings.ToLower(value)
	on := word == "" || word == "on" || word == "true" || word == "1" || word == "yes"
	switch name {
	case "two_phase":
		if on {
			return errors.New("two_phase: a prepared transaction is sent when it commits; one that is sent before could not be taken back")
		}
	case "proto_version":
		return errors.New("proto_version: it follows from the server's version and transaction.streaming")
	case "publication_names":
		return errors.New("publication_names: set publication.name")
	case "streaming":
		if word == "parallel" {
			return errors.New("streaming=parallel: changes leave in the order of their commits; transaction.streaming=true receives transactions while they are in progress")
		}
		set.streaming = on
	case "binary":
		set.format = formatText
		if on {
			set.format = formatBinary
		}
	case "messages":
		set.noMessages = !on
	default:
		set.streamParams = append(set.streamParams, quoteIdent(name)+" "+quoteLiteral(value))
	}
	return nil
}

// readStreamParams takes in slot.stream.params and returns what is wrong with them.
func (set *settings) readStreamParams(params []string) (faults connect.Errors) {
	for _, param := range params {
		if param == "" {
			continue
		}
		if err := set.streamParam(param); err != nil {
			faults = append(faults, connect.ConfigError("slot.stream.params", "%v", err))
		}
	}
	return faults
}

// options are those of START_REPLICATION.
func (w *work) options(srv server) []string {
	const streamed, messages = 140000, 140000
	s := w.stream
	if s.unstreamed != 0 && s.em.pos.end > s.unstreamed {
		s.unstreamed = 0 // What could not be kept here has passed, as far as it is known.
	}
	version := "1"
	s.streams = w.set.streaming && srv.version >= streamed && s.unstreamed == 0
	if s.streams {
		version = "2"
	}
	list := []string{"proto_version '" + version + "'", "publication_names " + quoteLiteral(quoteIdent(w.set.publication))}
	if s.streams {
		list = append(list, "streaming 'on'")
	}
	if srv.version >= messages && !w.set.noMessages {
		list = append(list, "messages 'true'")
	}
	if s.form.choose(w.set.format, srv.version, s.em.pos.end) {
		list = append(list, "binary 'true'")
	}
	return append(list, w.set.streamParams...)
}

// startFault explains why the server does not begin to send. An option that it does not
// know, or a value of one, is no fault that passes.
func startFault(err error) error {
	if code := sqlState(err); code == "22023" || code == "XX000" && strings.Contains(err.Error(), "pgoutput option") {
		return fatal("pg.stream.option", "the server refuses an option of the stream", err, "leave it out of slot.stream.params; the server's version decides which there are")
	}
	return explain(err, "starting replication")
}
