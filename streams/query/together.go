package query

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Single rows of one store that are asked of one instance travel together: while a request
// is under way, those who come wait and go with the next one. The busier the instances are,
// the more rows a request has, so that the work for a row falls instead of the rate.
const (
	// atOnce is how many requests of a line are under way at a time.
	atOnce = 2
	// together is how many rows a request asks for at most.
	together = 256
	// pace is how soon a request follows the one before where so many rows are asked for
	// that at least some come together in that time. A request of its own costs both sides
	// more than all the rows it carries, and what that adds up to is waited for longer.
	pace = time.Millisecond
	some = 3
)

// lineKey says whose rows go together.
type lineKey struct {
	address, app, store string
	maxLag              int64
}

// line is where those wait who ask for a single row.
type line struct {
	lineKey
	in Instance

	mu      sync.Mutex
	waiting []*asked
	busy    int           // requests under way
	resting bool          // until the next one is due
	began   time.Time     // the last request
	joined  time.Time     // the last who came
	gap     time.Duration // about the time between two who come
}

// came notes that somebody comes.
func (l *line) came(now time.Time) {
	if gap := min(now.Sub(l.joined), pace); l.joined.IsZero() {
		l.gap = pace
	} else {
		l.gap += (gap - l.gap) / 16
	}
	l.joined = now
}

// rest is how long the next request has to wait.
func (l *line) rest(now time.Time) time.Duration {
	if l.gap*some > pace || len(l.waiting) >= together {
		return 0
	}
	return l.began.Add(pace).Sub(now)
}

// asked is one row that somebody waits for.
type asked struct {
	single
	done  chan struct{} // closed when what follows is set
	row   Row
	found bool
	err   error
}

// single is the key of one row in a question.
type single struct {
	Partition int32  `json:"partition"`
	Key       []byte `json:"key"`
}

// get asks an instance for one row.
func (p *Peers) get(ctx context.Context, in Instance, q *question, visit func(Row) error) error {
	// The key is the caller's again as soon as the caller has given up.
	a := &asked{single: single{q.Partition, bytes.Clone(q.Key)}, done: make(chan struct{})}
	p.join(in, q, a)
	select {
	case <-a.done:
	case <-ctx.Done():
		return unreachable(in, ctx.Err())
	}
	if a.err != nil || !a.found {
		return a.err
	}
	a.row.Key = q.Key
	return visit(a.row)
}

// join puts a into its line and sees to it that somebody serves the line.
func (p *Peers) join(in Instance, q *question, a *asked) {
	key := lineKey{in.Address, q.App, q.Store, q.MaxLag}
	p.mu.Lock()
	l := p.lines[key]
	if l == nil {
		l = &line{lineKey: key, in: in}
		p.lines[key] = l
	}
	l.mu.Lock()
	l.came(time.Now())
	l.waiting = append(l.waiting, a)
	serve := l.busy < atOnce && !l.resting
	if serve {
		l.busy++
		p.asking.Add(1) // Under the lock of Close, which waits for it.
	}
	l.mu.Unlock()
	p.mu.Unlock()
	if serve {
		go p.serve(l)
	}
}

// serve asks for those who wait until there is nobody left.
func (p *Peers) serve(l *line) {
	defer p.asking.Done()
	for {
		l.mu.Lock()
		if rest := l.rest(time.Now()); rest > 0 && len(l.waiting) > 0 && !l.resting {
			l.resting = true
			l.mu.Unlock()
			p.pause(rest)
			l.mu.Lock()
			l.resting = false
		}
		n := min(len(l.waiting), together)
		if n == 0 {
			l.busy--
			l.mu.Unlock()
			return
		}
		l.began = time.Now()
		batch := l.waiting[:n:n]
		if l.waiting = l.waiting[n:]; len(l.waiting) == 0 {
			l.waiting = nil
		}
		l.mu.Unlock()
		err := p.askFor(l, batch)
		for _, a := range batch {
			if a.err == nil && !a.found {
				a.err = err // Those who have their rows have them, whatever came after.
			}
			close(a.done)
		}
	}
}

// pause waits, unless this is the end.
func (p *Peers) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ctx.Done():
	}
}

// askFor asks for some rows with one request. What is answered is noted in each.
func (p *Peers) askFor(l *line, batch []*asked) error {
	ctx, stop := context.WithCancel(p.ctx)
	defer stop()
	q := question{App: l.app, Store: l.store, Op: opGets, MaxLag: l.maxLag, Gets: make([]single, len(batch))}
	for i, a := range batch {
		q.Gets[i] = a.single
	}
	body, err := json.Marshal(&q)
	if err != nil {
		return err
	}
	resp, err := p.send(ctx, l.address, body)
	if err != nil {
		return unreachable(l.in, err)
	}
	defer resp.Body.Close()
	if !answers(resp) {
		return refused(l.in, resp)
	}
	defer time.AfterFunc(goOnWithin, stop).Stop()
	frames := frameReader{r: bufio.NewReaderSize(resp.Body, q.room())}
	for i, a := range batch {
		if a.row, a.found, a.err = frames.single(); a.err == nil {
			continue
		}
		if one, is := errors.AsType[*refusal](a.err); is {
			a.err = one.reason
			continue
		}
		err := broken(l.in, a.err)
		for _, cut := range batch[i:] {
			cut.err = err
		}
		return err
	}
	return nil
}

// refusal is the answer to one of several questions that cannot be answered.
type refusal struct{ reason error }

func (r *refusal) Error() string { return r.reason.Error() }

// broken says that an answer ended too early, unless the other side has said what is wrong.
func broken(in Instance, err error) error {
	if _, told := errors.AsType[*connect.Error](err); told || errors.Is(err, errFrame) {
		return err
	}
	return &connect.Error{
		Code: "streams.remote.broken", Class: connect.ClassRetriable, Place: in.place(),
		Message: "the answer was cut off", Mend: "ask again", Cause: err,
	}
}

// answerGets answers the questions that came together, each for itself.
func (r *Rows) answerGets(ctx context.Context, q *question, frames *frameWriter) error {
	for _, one := range q.Gets {
		ask, found := *q, false
		ask.Op, ask.Partition, ask.Key, ask.Gets = opGet, one.Partition, one.Key, nil
		err := r.here(ctx, &ask, func(row Row) error {
			found = true
			return frames.row(row)
		})
		switch {
		case err != nil:
			err = frames.refused(err)
		case !found:
			err = frames.none()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
