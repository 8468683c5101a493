package streams

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/streams/clock"
)

// Schedule calls fn every so often, in whole milliseconds, until cancel is called: by
// clock.StreamTime when a record has brought the time past the next multiple of every,
// the first record already, or by clock.WallClock as soon after it as the task has time. fn
// gets the clock's time in milliseconds. Calls that were missed are made up for by
// one. fn runs in the task's own goroutine and may do whatever the operator may with
// records, and its errors are treated like theirs. Punctuations are not stored: an
// operator schedules them when it begins.
func (c *Context[K, V]) Schedule(every time.Duration, by clock.Clock, fn func(ms int64) error) (cancel func(), err error) {
	return c.t.schedule(c.n, every, by, fn)
}

// RecordMetadata says where the record that is being processed is in Kafka. ok is
// false when there is none: in a punctuation, and for what leaves a cache at a commit.
func (c *Context[K, V]) RecordMetadata() (topic string, partition int32, offset int64, ok bool) {
	r := c.t.current
	if r == nil {
		return "", -1, -1, false
	}
	return r.Topic, c.t.id.partition, r.Offset, true
}

// TaskID names the task, as Kafka Streams does: the sub-topology and the partition.
func (c *Context[K, V]) TaskID() string { return c.t.id.String() }

// RequestCommit asks for a commit soon, without waiting for the commit interval.
func (c *Context[K, V]) RequestCommit() { c.t.wantCommit = true }

// ForwardTo passes a record on to one of the operators that follow, by its name.
func (c *Context[K, V]) ForwardTo(child string, r *Record[K, V]) error {
	r, err := c.lent(r)
	if err != nil {
		return err
	}
	to := c.children[child]
	if to == nil {
		if to, err = c.child(child); err != nil {
			return err
		}
		if c.children == nil {
			c.children = map[string]receiver[K, V]{}
		}
		c.children[child] = to
	}
	if err := to.receive(r); err != nil {
		return c.t.caught(to, err)
	}
	return nil
}

// child finds an operator that follows.
func (c *Context[K, V]) child(name string) (receiver[K, V], error) {
	var names []string
	for n, instance := range c.t.instances {
		if !slices.Contains(n.parents, c.n) {
			continue
		}
		if to, ok := instance.(receiver[K, V]); ok {
			if n.name == name {
				return guarded(c.t, n, to), nil
			}
			names = append(names, n.name)
		}
	}
	slices.Sort(names)
	return nil, fmt.Errorf("streams: operator %s is followed by %s, not by %q", c.n.name, strings.Join(names, ", "), name)
}
