package state

import "bytes"

// step is one level of a walk: a node and the place in it.
type step[V any] struct {
	n *node[V]
	i int
}

// treeIter walks the leaves of a tree. The tree is a snapshot or is not changed
// during the walk.
type treeIter[V any] struct {
	r     Range
	path  []step[V]
	begun bool
	root  *node[V]
}

func (t *tree[V]) iter(r Range) *treeIter[V] {
	return &treeIter[V]{r: r, root: t.root}
}

// walk makes it a walk over t. What an earlier walk of it has taken is used again.
func (it *treeIter[V]) walk(t *tree[V], r Range) {
	*it = treeIter[V]{r: r, root: t.root, path: it.path[:0]}
}

func (it *treeIter[V]) next() bool {
	if it.root == nil {
		return false
	}
	switch {
	case !it.begun:
		it.begun = true
		it.seek()
	case it.r.Reverse:
		it.path[len(it.path)-1].i--
	default:
		it.path[len(it.path)-1].i++
	}
	if !it.settle() {
		it.root = nil
		return false
	}
	if it.r.Reverse {
		return it.r.Lo == nil || bytes.Compare(it.key(), it.r.Lo) >= 0
	}
	return it.r.Hi == nil || bytes.Compare(it.key(), it.r.Hi) < 0
}

// seek descends to the first entry of the range, which may lie just outside of
// the leaf it ends in.
func (it *treeIter[V]) seek() {
	n := it.root
	bound := it.r.Lo
	if it.r.Reverse {
		bound = it.r.Hi
	}
	for n.kids != nil {
		i := 0
		switch {
		case bound != nil:
			i = n.child(bound)
		case it.r.Reverse:
			i = len(n.kids) - 1
		}
		it.path = append(it.path, step[V]{n, i})
		n = n.kids[i]
	}
	i := 0
	switch {
	case it.r.Reverse && bound == nil:
		i = len(n.keys) - 1
	case bound != nil:
		i, _ = find(n.keys, bound)
		if it.r.Reverse {
			i-- // The upper bound is excluded.
		}
	}
	it.path = append(it.path, step[V]{n, i})
}

// settle moves from past the edge of a leaf to the neighbouring leaf.
func (it *treeIter[V]) settle() bool {
	for {
		top := &it.path[len(it.path)-1]
		if top.i >= 0 && top.i < top.n.width() {
			if top.n.kids == nil {
				return true
			}
			it.descend(top.n.kids[top.i])
			continue
		}
		if len(it.path) == 1 {
			return false
		}
		it.path = it.path[:len(it.path)-1]
		if it.r.Reverse {
			it.path[len(it.path)-1].i--
		} else {
			it.path[len(it.path)-1].i++
		}
	}
}

func (it *treeIter[V]) descend(n *node[V]) {
	i := 0
	if it.r.Reverse {
		i = n.width() - 1
	}
	it.path = append(it.path, step[V]{n, i})
}

func (it *treeIter[V]) key() []byte {
	top := it.path[len(it.path)-1]
	return top.n.keys[top.i]
}

func (it *treeIter[V]) value() V {
	top := it.path[len(it.path)-1]
	return top.n.vals[top.i]
}
