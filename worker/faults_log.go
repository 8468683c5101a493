package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/connect"
)

// staged is an error that knows where its record was. It says nothing more.
type staged struct {
	stage stage
	error
}

// Unwrap returns the error.
func (s *staged) Unwrap() error { return s.error }

// isBroken tells whether no record is to blame for an error.
func isBroken(err error) bool {
	_, broken := errors.AsType[*brokenStep](err)
	return broken
}

// exceeded is the error of a record that must not be left out.
func (f *faults) exceeded(bad *fault, from string) error {
	cause := connect.AsError(bad.err)
	e := &connect.Error{
		Code: cause.Code, Class: cause.Class, Place: from, After: cause.After,
		Message: fmt.Sprintf("Tolerance exceeded in error handler, stage %s with class %s", bad.site.stage, bad.site.class),
		Cause:   &staged{bad.site.stage, bad.err},
	}
	if cause.Class == connect.ClassFatal || cause.Class == connect.ClassRecord {
		e.Mend = "errors.tolerance=all leaves out what cannot be converted"
		if !f.source {
			e.Mend += ", and errors.deadletterqueue.topic.name keeps it"
		}
	}
	return e
}

func (f *faults) logFault(bad *fault, from string) {
	f.metrics.logged.Add(1)
	text := fmt.Sprintf("Error encountered in task %s. Executing stage '%s' with class '%s'", f.id, bad.site.stage, bad.site.class)
	if f.logMessages && from != "" {
		text += ", where the record is {" + from + "}"
	}
	f.log.Error(text+".", "error", bad.err)
}

// whereConsumed names a consumed record in messages.
func whereConsumed(r *connect.SinkRecord) string {
	return fmt.Sprintf("topic='%s', partition=%d, offset=%d", r.OriginalTopic, r.OriginalPartition, r.Offset)
}

// whereProduced names a source's record in messages.
func whereProduced(r *connect.SourceRecord) string {
	text := "topic='" + r.Topic + "', source partition=" + r.SourcePartition.JSON()
	if r.SourceOffset != nil {
		text += ", source offset=" + string(r.SourceOffset.AppendJSON(nil))
	}
	return text
}

// isDone tells whether err only says that the work was ended from outside.
func isDone(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, ctx.Err()))
}
