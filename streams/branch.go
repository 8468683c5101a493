package streams

import "fmt"

// Branch splits the stream: each record goes to the branch of the first predicate
// that it satisfies, or, when it satisfies none, to the last of the returned
// streams, one more than there are predicates. Predicates see records without key
// or value too. The branches are named after the operator, with -1, -2 … and
// -default.
func (s *Stream[K, V]) Branch(preds []func(Record[K, V]) bool, opts ...With) []*Stream[K, V] {
	split := operator[K, V](s.b, s.node, "branch", gather(opts), func(*task) *branchNode[K, V] {
		return &branchNode[K, V]{preds: preds, arms: make([]fan[K, V], len(preds)+1)}
	})
	branches := make([]*Stream[K, V], len(preds)+1)
	for i := range branches {
		name := fmt.Sprintf("%s-%d", split.name, i+1)
		if i == len(preds) {
			name = split.name + "-default"
		}
		arm := s.b.add(&node{op: "branched", parents: []*node{split}}, With{Name: s.b.free(name)})
		arm.build = func(t *task) (any, error) {
			in, ok := t.instances[split].(*branchNode[K, V])
			if !ok {
				return nil, fmt.Errorf("operator %s does not split what %s takes", split.name, arm.name)
			}
			return &branchArm[K, V]{&in.arms[i]}, nil
		}
		branches[i] = s.next(arm)
	}
	return branches
}

// branchNode decides which way a record goes.
type branchNode[K, V any] struct {
	preds []func(Record[K, V]) bool
	arms  []fan[K, V] // one for each predicate, and the last for the rest
}

func (n *branchNode[K, V]) receive(r *Record[K, V]) error {
	for i, pred := range n.preds {
		if pred(*r) {
			return n.arms[i].forward(r)
		}
	}
	return n.arms[len(n.preds)].forward(r)
}

// branchArm is where the operators of one branch are attached.
type branchArm[K, V any] struct{ *fan[K, V] }

// receive passes on what an operator sends to this branch by its name.
func (n *branchArm[K, V]) receive(r *Record[K, V]) error { return n.forward(r) }
