package postgres

import (
	"errors"
	"hash/fnv"
	"slices"
	"strconv"
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
	const streamed = 140000
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
	if w.set.messages(srv) {
		list = append(list, "messages 'true'")
	}
	if s.form.choose(w.set.format, srv.version, s.em.pos.end) {
		list = append(list, "binary 'true'")
	}
	return append(list, w.set.streamParams...)
}

// messages tells whether the stream has logical messages.
func (set *settings) messages(srv server) bool { return srv.version >= 140000 && !set.noMessages }

// counting is a number for all that decides which changes of a transaction the server
// sends, apart from what the log itself says: the publication, whose tables and
// conditions are those of the transaction's time, and the options of the stream. Under
// another one the same ordinal is another change.
func (set *settings) counting(srv server) uint32 {
	h := fnv.New32a()
	for _, part := range append([]string{set.publication, strconv.FormatBool(set.messages(srv))}, slices.Sorted(slices.Values(set.streamParams))...) {
		_, _ = h.Write([]byte(part + "\x00"))
	}
	return max(1, h.Sum32())
}

// recount makes sure that the position at which reading begins counts changes as they
// come now. One within a transaction that was counted otherwise is moved to where the
// transaction begins: its changes are sent again, and none of them is passed over.
func (w *work) recount(srv server) error {
	s := w.stream
	s.counts = w.set.counting(srv)
	pos := &s.em.pos
	if s.reading || pos.commit == 0 || pos.counts == 0 || pos.counts == s.counts {
		return nil
	}
	if strings.EqualFold(w.env.Config["exactly.once.support"], "required") {
		return fatal("pg.offset.counting", "the stored offset stands in the middle of a transaction ("+lsnText(pos.commit)+
			"), whose changes are counted otherwise since publication.name or slot.stream.params was changed, and exactly.once.support=required forbids to send them again", nil,
			"set both back until the transaction has been read, then change them; or set exactly.once.support=requested to have its changes sent again")
	}
	w.log.Warn("The transaction in whose middle the stored offset stands is sent again from its first change: since publication.name or slot.stream.params was changed its changes are counted otherwise.",
		"commit", lsnText(pos.commit), "changes", pos.ordinal)
	commit := pos.commit
	pos.commit, pos.ordinal, pos.counts = 0, 0, 0
	return w.fill.recount(commit, pos)
}

// startFault explains why the server does not begin to send. An option that it does not
// know, or a value of one, is no fault that passes.
func startFault(err error) error {
	if code := sqlState(err); code == "22023" || code == "XX000" && strings.Contains(err.Error(), "pgoutput option") {
		return fatal("pg.stream.option", "the server refuses an option of the stream", err, "leave it out of slot.stream.params; the server's version decides which there are")
	}
	return explain(err, "starting replication")
}
