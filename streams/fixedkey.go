package streams

import "errors"

var errNoKey = errors.New("streams: the operator leaves keys as they are, and has none to pass on outside of a record: leave With.FixedKey out to choose one")

// lender returns the function that gives outgoing records the key of the one that in
// returns, nil when the two have keys of different types.
func lender[K, V, K2, V2 any](in func() *Record[K, V]) func(*Record[K2, V2]) error {
	lend := func(r *Record[K, V2]) error {
		from := in()
		if from == nil {
			return errNoKey
		}
		r.Key, r.NoKey = from.Key, from.NoKey
		return nil
	}
	out, _ := any(lend).(func(*Record[K2, V2]) error)
	return out
}

// fixesKey reports an operator that is to leave keys and gives them another type.
func fixesKey[K, K2 any](b *Builder, n *node, set With) {
	if set.FixedKey && lender[K, struct{}, K2, struct{}](nil) == nil {
		b.fault("streams.fixedkey", n.name, "the operator is to leave keys as they are and gives them another type", "leave FixedKey out")
	}
}
