package streams

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/state"
)

// judge decides what becomes of records at fault, and tells of those that are passed
// over. It is used by the runner's goroutine and by the producer's.
type judge struct {
	app         string
	onFault     func(*fault.Fault) fault.Verdict
	deadLetters string
	metrics     *Metrics
	logger      *slog.Logger
	now         func() time.Time
	// send writes a dead letter. It waits when too much is on its way, unless it is
	// the producer's goroutine that calls: that is the one that makes room.
	send func(r *kgo.Record, wait bool)

	mu     sync.Mutex // guards the following
	logged time.Time  // when a fault was logged last
	hidden int        // faults since then that were not
}

// judged is an error that has been decided on: it goes up as it is.
type judged struct{ error }

func (e judged) Unwrap() error { return e.error }

// processingError is an error of the user's code.
type processingError struct{ error }

func (e *processingError) Unwrap() error { return e.error }

// ofUser marks an error as one of the user's code.
func ofUser(err error) error {
	if err == nil {
		return nil
	}
	return &processingError{err}
}

// ofState marks an error of a store, which is no record's fault, also when the user's
// code hands it on.
func ofState(err error) error {
	if err == nil {
		return nil
	}
	return judged{err}
}

// decide returns nil when the record is passed over, else the error that stops the
// application or, when it is to try again, makes it start anew.
func (j *judge) decide(f *fault.Fault, wait bool) error {
	switch f.Stage {
	case fault.Reading:
		j.metrics.Unreadable.Add(1)
	case fault.Writing:
		j.metrics.Unwritten.Add(1)
	default:
		j.metrics.Unprocessed.Add(1)
	}
	verdict, err := j.ask(f)
	if err != nil {
		return judged{err}
	}
	switch verdict {
	case fault.Continue:
		j.passOver(f, wait)
		return nil
	case fault.Retry:
		return judged{&connect.Error{
			Code: "streams.fault.retry", Class: connect.ClassRetriable, Place: f.Place(),
			Message: "the application tries again from its last commit", Cause: f.Err,
		}}
	}
	return judged{f.Err}
}

// ask asks App.OnFault.
func (j *judge) ask(f *fault.Fault) (v fault.Verdict, err error) {
	if j.onFault == nil {
		return fault.Fail, nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = newPanic(p, connect.ClassFatal, "App.OnFault, about "+f.Place(), "mend OnFault and resume the application")
		}
	}()
	return j.onFault(f), nil
}

// passOver logs a fault and writes a dead letter.
func (j *judge) passOver(f *fault.Fault, wait bool) {
	j.log(f)
	if j.deadLetters == "" {
		return
	}
	r := f.DeadLetter(j.deadLetters)
	r.Timestamp = time.UnixMilli(max(f.Time, 0))
	j.metrics.DeadLetters.Add(1)
	j.send(r, wait)
}

// faultLogEvery bounds the log: a topic full of bad records must not become a disk
// full of lines.
const faultLogEvery = time.Second

func (j *judge) log(f *fault.Fault) {
	now := j.now()
	j.mu.Lock()
	quiet := !j.logged.IsZero() && now.Sub(j.logged) < faultLogEvery
	hidden := j.hidden
	if quiet {
		j.hidden++
	} else {
		j.logged, j.hidden = now, 0
	}
	j.mu.Unlock()
	if !quiet {
		j.logger.Warn("a record was passed over", "app", j.app, "stage", f.Stage, "place", f.Place(), "error", f.Err, "others_since", hidden)
	}
}

// fault decides on an error at one operator. Those that are nobody's records' fault,
// such as of the store, and those decided on already go up.
func (t *task) fault(node string, err error) error {
	if _, done := errors.AsType[judged](err); done || errors.Is(err, state.ErrDamaged) || errors.Is(err, state.ErrFailing) {
		return err
	}
	stage := fault.Writing
	ce, coded := errors.AsType[*connect.Error](err)
	own, users := errors.AsType[*processingError](err)
	switch {
	case coded && ce.Class != connect.ClassRecord:
		// The user's code may say so too.
		return ce
	case coded && ce.Code == unwritableCode:
		err = ce
	case users:
		stage, err = fault.Processing, t.unprocessed(node, own.error)
	case !coded:
		return err
	}
	return t.env.judge.decide(t.faulty(stage, node, err), true)
}

// faulty describes a fault of the record that is being processed.
func (t *task) faulty(stage fault.Stage, node string, err error) *fault.Fault {
	f := &fault.Fault{Stage: stage, App: t.env.app, Task: t.id.String(), Node: node, Partition: -1, Offset: -1, Time: t.streamTime, Err: err}
	if r := t.current; r != nil {
		f.Topic, f.Partition, f.Offset = r.Topic, t.id.partition, r.Offset
		f.Key, f.Value, f.Headers, f.Time = r.Key, r.Value, r.Headers, r.Timestamp.UnixMilli()
	}
	return f
}

// unprocessed is the error of a record the user's code cannot deal with.
func (t *task) unprocessed(node string, cause error) error {
	return &connect.Error{
		Code: "streams.processing", Class: connect.ClassRecord, Place: t.placeOf(node),
		Message: "the record cannot be processed",
		Mend:    "mend the operator, or decide with App.OnFault what becomes of such records",
		Cause:   cause,
	}
}

// placeOf says where an operator is and what it is busy with.
func (t *task) placeOf(node string) string {
	if r := t.current; r != nil {
		return fmt.Sprintf("operator %s, topic %s, partition %d, offset %d", node, r.Topic, t.id.partition, r.Offset)
	}
	return "operator " + node + ", task " + t.id.String()
}

// caught is told of an error that an operator returned, and decides on it in its
// name.
func (t *task) caught(at any, err error) error {
	if g, ok := at.(guarding); ok {
		return t.fault(g.guards().name, err)
	}
	for n, instance := range t.instances {
		if instance == at {
			return t.fault(n.name, err)
		}
	}
	return t.fault("", err)
}

// refused decides on a record the broker did not take. It is called by the
// producer's goroutine.
func (j *judge) refused(r *kgo.Record, err error) error {
	return j.decide(&fault.Fault{
		Stage: fault.Writing, App: j.app, Partition: -1, Offset: -1, To: r.Topic,
		Key: r.Key, Value: r.Value, Headers: r.Headers, Time: r.Timestamp.UnixMilli(), Err: err,
	}, false)
}
