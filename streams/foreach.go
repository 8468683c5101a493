package streams

import (
	"fmt"
	"io"
)

// ForEach hands each record to fn, and nothing comes after it. An error is one of
// processing, as from [Process]. After a failure records are processed again,
// so fn may see one more than once.
func (s *Stream[K, V]) ForEach(fn func(Record[K, V]) error, opts ...With) {
	operator[K, V](s.b, s.node, "foreach", gather(opts), func(*task) *forEachNode[K, V] {
		return &forEachNode[K, V]{fn: fn}
	})
}

type forEachNode[K, V any] struct{ fn func(Record[K, V]) error }

func (n *forEachNode[K, V]) receive(r *Record[K, V]) error {
	return ofUser(n.fn(*r))
}

// Print writes each record on a line of its own: [label]: key, value, with null for
// what is absent. It is for looking at small streams: every line is one write.
// Tasks run one after the other, so w need not be safe for several goroutines
// unless it is used elsewhere too.
func (s *Stream[K, V]) Print(w io.Writer, label string, opts ...With) {
	s.ForEach(func(r Record[K, V]) error {
		var key, value any = r.Key, r.Value
		if r.NoKey {
			key = "null"
		}
		if r.NoValue {
			value = "null"
		}
		_, err := fmt.Fprintf(w, "[%s]: %v, %v\n", label, key, value)
		return err
	}, opts...)
}
