package streams

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/state"
)

// A panic of the user's code must not end the process, which has other applications. To
// catch it at the operator would cost every operator something for every record, so it is
// caught where the runner begins its work: the application goes back to its last commit
// and starts anew, and from then on its operators are guarded one by one. When the record
// comes again it is known whose operator it was, what others make of the record stays,
// and App.OnFault decides as on any other error.

// panicCode is the code of an error that was a panic.
const panicCode = "streams.panic"

// panicked is the value of a panic and where it was.
type panicked struct {
	value any
	stack string
}

func (e *panicked) Error() string { return fmt.Sprintf("%v, at %s", e.value, e.stack) }

// Unwrap gives what was panicked with, when that is an error.
func (e *panicked) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// stackFrames is how much of the stack is told, the innermost calls first.
const stackFrames = 8

// newPanicked describes the panic that a deferred function has recovered from.
func newPanicked(value any) *panicked {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	var calls []string
	for within, more := false, true; more && len(calls) < stackFrames; {
		var f runtime.Frame
		f, more = frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			within = true
		case within && !strings.HasPrefix(f.Function, "runtime."):
			calls = append(calls, fmt.Sprintf("%s (%s:%d)", f.Function, filepath.Base(f.File), f.Line))
		}
	}
	return &panicked{value: value, stack: strings.Join(calls, " < ")}
}

// newPanic is the error of a panic.
func newPanic(value any, class connect.Class, place, mend string) *connect.Error {
	return &connect.Error{
		Code: panicCode, Class: class, Place: place, Message: "the code of the application panicked",
		Mend: mend, Cause: newPanicked(value),
	}
}

// shield runs a part of an application's work whose panics must not end the process.
func (a *application) shield(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = a.unshielded(p)
		}
	}()
	return do()
}

// unshielded is the error of a panic that no operator's guard has caught: there was none,
// or it is not an operator's.
func (a *application) unshielded(p any) error {
	place := "application " + a.ID
	if a.guarded.Swap(true) {
		return newPanic(p, connect.ClassFatal, place, "mend the code and resume the application")
	}
	return newPanic(p, connect.ClassRetriable, place, "nothing yet: all since the last commit is done again, so that it is known which operator and record it was")
}

// rescue turns a panic of an operator's code into an error that is decided on. It is to
// be deferred itself.
func (t *task) rescue(n *node, stage fault.Stage, err *error) {
	p := recover()
	if p == nil {
		return
	}
	if e, ok := p.(judged); ok {
		*err = e // A store's error, which is no record's fault.
		return
	}
	e := newPanic(p, connect.ClassRecord, t.placeOf(n.name), "mend the operator, or decide with App.OnFault what becomes of such records")
	*err = t.env.judge.decide(t.faulty(stage, n.name, e), true)
}

// rescueAll turns a panic of an operator's code that no record can be blamed for into an
// error that stops the application. It is to be deferred itself.
func (t *task) rescueAll(n *node, err *error) {
	if p := recover(); p != nil {
		*err = newPanic(p, connect.ClassFatal, "operator "+n.name+", task "+t.id.String(), "mend the operator and resume the application")
	}
}

// guard takes in records for an operator whose panics it turns into errors.
type guard[K, V any] struct {
	t     *task
	n     *node
	stage fault.Stage
	to    receiver[K, V]
}

// guarded returns what takes in records for to, the instance of n.
func guarded[K, V any](t *task, n *node, to receiver[K, V]) receiver[K, V] {
	to = counted(t, n, to)
	if !t.env.guarded {
		return to
	}
	g := &guard[K, V]{t: t, n: n, stage: fault.Processing, to: to}
	if n.isSink {
		g.stage = fault.Writing
	}
	return g
}

func (g *guard[K, V]) receive(r *Record[K, V]) (err error) {
	defer g.t.rescue(g.n, g.stage, &err)
	return g.to.receive(r)
}

// guards implements guarding.
func (g *guard[K, V]) guards() *node { return g.n }

// guarding is what stands before an operator.
type guarding interface{ guards() *node }

// guardedSource reads records for a source whose Serdes may panic. Whatever comes after
// the source has guards of its own.
type guardedSource struct {
	sourceNode
	t *task
	n *node
}

func (g *guardedSource) consume(r *kgo.Record) (err error) {
	defer g.t.rescue(g.n, fault.Reading, &err)
	return g.sourceNode.consume(r)
}

func (g *guardedSource) envelope(r *kgo.Record) (v connect.Value, err error) {
	defer g.t.looking(r)()
	defer g.t.rescue(g.n, fault.Reading, &err)
	return g.sourceNode.envelope(r)
}

// timed guards what gets the time out of a record.
func (g *guardedSource) timed(tm timer) timer {
	of := tm.of
	if of == nil {
		return tm
	}
	tm.of = func(r *kgo.Record, partitionTime int64) (ms int64, ok bool, err error) {
		defer g.t.looking(r)()
		defer g.t.rescue(g.n, fault.Reading, &err)
		return of(r, partitionTime)
	}
	return tm
}

// looking makes r the current record until the function that it returns is called: it is
// looked at before its turn.
func (t *task) looking(r *kgo.Record) (done func()) {
	before := t.current
	t.current = r
	return func() { t.current = before }
}

// guardedEmit guards what sends the rows of a store downstream.
func (t *task) guardedEmit(n *node, emit func(state.Entry) error) func(state.Entry) error {
	if !t.env.guarded {
		return emit
	}
	return func(e state.Entry) (err error) {
		defer t.rescue(n, fault.Processing, &err)
		return emit(e)
	}
}

// buildNode makes the instance of an operator, in which the user's code may begin.
func (t *task) buildNode(n *node) (err error) {
	defer t.rescueAll(n, &err)
	t.building = n
	t.instances[n], err = n.build(t)
	return err
}
