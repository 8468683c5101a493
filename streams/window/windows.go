package window

import (
	"math"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/state"
)

type kind int

const (
	fixed kind = iota // tumbling and hopping
	sliding
	session
	unlimited
)

// Windows says how the records of a key are cut into spans of time, how long a span
// waits for late records, and when its result goes out. Times are in milliseconds; what
// is finer is cut off.
type Windows struct {
	kind    kind
	size    int64 // of a fixed window, or between the ends of a sliding one, or the gap of sessions
	advance int64 // between the starts of fixed windows
	from    int64 // the start of an unlimited window
	grace   int64
	keep    int64
	onClose bool
	every   int64 // of the wall clock, between emissions of closed windows
}

// emitEvery is how often closed windows are looked for: that often Kafka Streams does.
const emitEvery = 1000

// Tumbling windows lie side by side: each record is in one of them. They begin at
// multiples of size since the epoch, and their ends do not belong to them.
func Tumbling(size time.Duration) Windows { return Hopping(size, size) }

// Hopping windows of a size begin at every multiple of advance since the epoch, so that
// a record is in several. Their ends do not belong to them.
func Hopping(size, advance time.Duration) Windows {
	return Windows{kind: fixed, size: size.Milliseconds(), advance: advance.Milliseconds(), every: emitEvery}
}

// Sliding windows hold the records of a key that are no further apart than difference;
// both ends belong to them. There is one that ends at each record, and one that starts
// right after each where that has other records in it (KIP-450).
func Sliding(difference time.Duration) Windows {
	return Windows{kind: sliding, size: difference.Milliseconds(), every: emitEvery}
}

// Session windows hold the records of a key of which none is further from the next than
// gap. They begin and end with a record, and grow together when a record closes the gap.
func Session(gap time.Duration) Windows {
	return Windows{kind: session, size: gap.Milliseconds(), every: emitEvery}
}

// Unlimited is one window for each key, of all records from a time on. It never closes.
func Unlimited(from time.Time) Windows {
	return Windows{kind: unlimited, from: from.UnixMilli(), every: emitEvery}
}

// Grace keeps windows open for late records: until the time of the records, as far as
// the operator has seen it, is that much after their end. Without it they close at once.
func (w Windows) Grace(d time.Duration) Windows {
	w.grace = d.Milliseconds()
	return w
}

// Keep keeps windows in the store for that long, for those who query it, instead of as
// long as they can change.
func (w Windows) Keep(d time.Duration) Windows {
	w.keep = d.Milliseconds()
	return w
}

// OnClose passes on one result of each window, when it has closed, instead of every
// change. It is a record that moves the time on which lets windows close, as nothing
// else tells that a time has passed.
func (w Windows) OnClose() Windows {
	w.onClose = true
	return w
}

// EmitEvery looks for closed windows once in that much of the wall clock, instead of
// once in a second; zero looks with every record.
func (w Windows) EmitEvery(d time.Duration) Windows {
	w.every = d.Milliseconds()
	return w
}

// span is how far the last moment of a window is from its start; 0 for sessions, of
// which the store has the end.
func (w Windows) span() int64 {
	switch w.kind {
	case fixed:
		return w.size - 1
	case sliding:
		return w.size
	}
	return 0
}

// wait is how long a window stays open after its last moment.
func (w Windows) wait() int64 {
	if w.kind == session {
		return w.grace + w.size
	}
	return w.grace
}

// end returns the end of the window that starts at start.
func (w Windows) end(start int64) int64 {
	if w.kind == unlimited || start > math.MaxInt64-w.size {
		return math.MaxInt64
	}
	return start + w.size
}

// first returns the start of the first fixed window that has t in it.
func (w Windows) first(t int64) int64 {
	return max(0, t-w.size+w.advance) / w.advance * w.advance
}

// need is how long the store has to keep a window, counted from the time in its key, so
// that no record can ask for one that is gone.
func (w Windows) need() int64 {
	need := w.span() + w.wait()
	if w.kind == sliding {
		need += w.size + 2 // A record makes its windows from those before it.
	}
	return need
}

// slack is how much longer it keeps those that wait to be emitted.
func (w Windows) slack() int64 {
	if !w.onClose {
		return 0
	}
	return max(w.layoutRetention()-w.need(), 0)
}

func (w Windows) layoutRetention() int64 {
	need := w.need()
	if w.onClose {
		need *= 2
	}
	return max(need, w.keep, 1)
}

// layout says how windows lie in a store.
func (w Windows) layout() state.Spec {
	ms := func(n int64) time.Duration {
		return time.Duration(min(n, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	}
	switch {
	case w.kind == unlimited:
		return state.Spec{Form: state.WindowKeys}
	case w.kind == fixed:
		// All windows of a start side by side: an operator asks for single ones, and
		// for all that close together.
		return state.Spec{Form: state.WindowKeys, Retention: ms(w.layoutRetention()), Segment: ms(w.advance)}
	}
	l := state.Spec{Form: state.WindowKeys, Retention: ms(w.layoutRetention())}
	if w.kind == session {
		l.Form = state.SessionKeys
	}
	if w.onClose {
		l.Segment = ms(w.segment())
	}
	return l
}

// segment is how much time the windows that close together are put in order by.
func (w Windows) segment() int64 { return max(w.size, 1) }

// check reports what is wrong with w to the builder of an operator over place.
func (w Windows) check(b *streams.Builder, place string) {
	fault := func(what, mend string) { b.Fault("streams.window", place, what, mend) }
	if w.size < 0 || w.size == 0 && w.kind == fixed {
		fault("windows have no length", "give them a size of a millisecond or more")
	}
	if w.kind == fixed && (w.advance <= 0 || w.advance > w.size) {
		fault("windows advance by nothing, or by more than their size", "let them advance by a millisecond or more, and by their size at most, so that no record is between them")
	}
	if w.grace < 0 || w.every < 0 {
		fault("a time to wait is less than nothing", "give Grace and EmitEvery a duration of zero or more")
	}
	if w.keep > 0 && w.keep < w.need() {
		fault("windows are kept for less than they can change", "let Keep be no less than size and grace together")
	}
	if w.kind == unlimited && (w.onClose || w.from < 0) {
		fault("an unlimited window never closes, and starts at the epoch or after it", "do without OnClose, and start later")
	}
}
