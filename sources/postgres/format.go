package postgres

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemill/tidemill/connect"
)

// wireForm decides whether values come as text or in binary form. Text is what every
// type has; a value of more than half a gigabyte of bytes can only come in binary form,
// since its text is longer than the server can write. Both give the same values.
type wireForm struct {
	binary bool   // Of this connection.
	large  uint64 // The end of the last transaction before one with such a value; then binary form is needed.
	tooBig bool
	// unread is a column whose binary form is not understood, met behind unreadAt; then
	// text is needed.
	unread   string
	unreadAt uint64
	place    faultPlace // Of the last value that was too large as text.
	faults   int
}

// choose decides for a connection that begins behind end.
func (f *wireForm) choose(format string, version int, end uint64) bool {
	const least = 140000
	if f.tooBig && end != f.large {
		f.tooBig = false // It has passed.
	}
	if f.unread != "" && end != f.unreadAt && format != formatBinary {
		f.unread = ""
	}
	f.binary = version >= least && (f.tooBig || format == formatBinary) && f.unread == ""
	return f.binary
}

// oversize tells whether the server could not write a value because its text is too
// long.
func oversize(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "XX000" && strings.Contains(pg.Message, "invalid memory alloc request size")
}

// enlarge answers a value whose text is too long with binary form. It returns what
// ends the task when that was tried and cannot be done.
func (w *work) enlarge(err error) error {
	s := w.stream
	f, end := &s.form, s.em.pos.end
	e := fatal("pg.value.size", "the server cannot write a value because its text is longer than a gigabyte, in the transaction that follows "+lsnText(end), err, "")
	switch {
	case w.set.format == formatText:
		e.Mend = "set stream.format=auto, which reads such values in binary form"
		return e
	case f.binary:
		e.Mend = "the value is too long in binary form as well: leave its column out of the publication, and take a new snapshot"
		return e
	case f.unread != "" && f.unreadAt == end:
		e.Mend = "in the same transaction there is the column " + f.unread + ", whose binary form is not understood: leave one of them out of the publication, and take a new snapshot"
		return e
	}
	f.tooBig, f.large = true, end
	return &reconnect{why: "The server cannot write a large value as text; values are read in binary form.", err: err}
}

// textWanted is what ends a connection on which a column comes in binary form that is
// not understood.
func (s *stream) textWanted(err error) error {
	unread, ok := errors.AsType[*binaryError](err)
	if !ok || !s.form.binary {
		return err
	}
	s.form.unread, s.form.unreadAt = unread.column, s.em.pos.end
	return &reconnect{why: "The binary form of a column is not understood; values are read as text.", err: err}
}

// binaryError says that a column came in binary form, which is not understood for its
// type.
type binaryError struct{ column string }

func (e *binaryError) Error() string {
	return "the binary form of the column " + e.column + " is not understood"
}

// answer gives an error that other options of the stream may mend as one that asks for
// them; others it returns as they are.
func (w *work) answer(err error) error {
	const times = 2 // At the same place.
	code := sqlState(err)
	if w.stream == nil || !w.stream.reading || code == "" || passing(code) {
		return err
	}
	f := &w.stream.form
	at := faultPlace{code, w.stream.em.pos.end, w.stream.em.pos.ordinal}
	if at != f.place {
		f.place, f.faults = at, 0
	}
	f.faults++
	switch {
	case f.binary && code == "42883":
		// An array or a composite of a type that the server has no binary form of.
		f.unread, f.unreadAt = "of an array or composite type", w.stream.em.pos.end
		return &reconnect{why: "The server has no binary form of a value; values are read as text.", err: err}
	case f.faults < times:
		return err
	case oversize(err):
		return w.enlarge(err)
	case w.stream.streams:
		// Decoding a transaction before its end is the younger part of the server, which
		// fails where the same table was changed in a subtransaction that was rolled back.
		w.stream.unstreamed = max(w.stream.received, 1)
		return &reconnect{why: "The server fails on a transaction in progress; it is asked to wait for the end of transactions.", err: err}
	}
	return err
}

// passing tells whether a SQLSTATE speaks of the connection or the state of the server,
// not of what it reads.
func passing(code string) bool {
	return slices.ContainsFunc([]string{"08", "53", "55", "57"}, func(class string) bool { return strings.HasPrefix(code, class) })
}

// deliberate tells whether a connection ended on purpose, and says why.
func (w *work) deliberate(err error) bool {
	again, ok := errors.AsType[*reconnect](err)
	if !ok {
		return false
	}
	w.log.Warn(again.why, "error", again.err)
	w.metrics.Add("reconnects_total", 1)
	return true
}

// located says of a message that could not be read where in the log it stood.
func (s *stream) located(err error, at uint64) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*reconnect](err); ok {
		return err
	}
	if unread, ok := errors.AsType[*binaryError](err); ok && !s.form.binary {
		err = malformed(columnBinary, unread)
	}
	if e, ok := errors.AsType[*connect.Error](err); ok && e.Code == "pg.protocol" && e.Place == "" {
		e.Place = lsnText(at)
		return e
	}
	return s.textWanted(err)
}
