package streams

import (
	"sync/atomic"

	"github.com/tidemill/tidemill/internal/meter"
)

// counter counts what an operator takes in. There is one before each operator where
// Config.CountOperators asks for it, and nothing where it does not.
type counter[K, V any] struct {
	to receiver[K, V]
	n  *operatorTally
}

// operatorTally is what an operator of a task has taken in. It is the task's goroutine's.
type operatorTally struct {
	node  *node
	taken int64
}

// operatorFigures have it for others.
type operatorFigures struct {
	name  string
	taken atomic.Int64
	rate  meter.Window
}

// counted returns what counts for to, the instance of n.
func counted[K, V any](t *task, n *node, to receiver[K, V]) receiver[K, V] {
	if !t.env.counting {
		return to
	}
	if _, waits := to.(*hold[K, V]); waits {
		return to // It counts when it is released.
	}
	for _, o := range t.operators {
		if o.node == n {
			return &counter[K, V]{to, o}
		}
	}
	o := &operatorTally{node: n}
	t.operators = append(t.operators, o)
	return &counter[K, V]{to, o}
}

func (c *counter[K, V]) receive(r *Record[K, V]) error {
	c.n.taken++
	return c.to.receive(r)
}

// guards implements guarding.
func (c *counter[K, V]) guards() *node { return c.n.node }

// noteOperators moves what operators have counted to the task's figures.
func (t *task) noteOperators() {
	for i, o := range t.operators {
		f := t.figures.operators[i]
		if n := o.taken - f.taken.Load(); n > 0 {
			f.taken.Store(o.taken)
			f.rate.Add(float64(n))
		}
	}
}
