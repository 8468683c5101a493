package state

import (
	"bytes"
	"sort"
)

// treeMax is the most entries of a leaf and children of an inner node. It keeps
// a node's key headers within a few cache lines while the tree stays shallow.
const treeMax = 64

// tree is an ordered map from bytes to V: a B+ tree whose nodes are copied
// before a change when a snapshot may still look at them. A snapshot therefore
// costs nothing and writers never wait for readers. One goroutine at a time
// changes a tree.
type tree[V any] struct {
	root  *node[V]
	size  int
	owner *int // nodes with this owner are seen by this tree alone
}

// node is a leaf when kids is nil: keys[i] has vals[i]. In an inner node the
// keys separate: kids[i] holds keys below keys[i], kids[i+1] the others.
type node[V any] struct {
	owner *int
	keys  [][]byte
	vals  []V
	kids  []*node[V]
}

// snapshot returns a frozen copy; t goes on changing copies of shared nodes.
func (t *tree[V]) snapshot() tree[V] {
	frozen := *t
	t.owner = new(int)
	frozen.owner = new(int)
	return frozen
}

// find returns the place of key among keys and whether it is there.
func find(keys [][]byte, key []byte) (int, bool) {
	i := sort.Search(len(keys), func(i int) bool { return bytes.Compare(keys[i], key) >= 0 })
	return i, i < len(keys) && bytes.Equal(keys[i], key)
}

// child returns which child of an inner node leads to key.
func (n *node[V]) child(key []byte) int {
	i, found := find(n.keys, key)
	if found {
		return i + 1
	}
	return i
}

func (t *tree[V]) get(key []byte) (v V, ok bool) {
	n := t.root
	if n == nil {
		return v, false
	}
	for n.kids != nil {
		n = n.kids[n.child(key)]
	}
	i, found := find(n.keys, key)
	if !found {
		return v, false
	}
	return n.vals[i], true
}

// own returns n itself when only t sees it, else a copy that t may change.
func (t *tree[V]) own(n *node[V]) *node[V] {
	if n.owner == t.owner {
		return n
	}
	c := &node[V]{owner: t.owner, keys: append(make([][]byte, 0, treeMax), n.keys...)}
	if n.kids != nil {
		c.kids = append(make([]*node[V], 0, treeMax+1), n.kids...)
	} else {
		c.vals = append(make([]V, 0, treeMax), n.vals...)
	}
	return c
}

// set maps key to v. The tree keeps key; the caller no longer changes it.
func (t *tree[V]) set(key []byte, v V) {
	if t.owner == nil {
		t.owner = new(int)
	}
	if t.root == nil {
		t.root = &node[V]{owner: t.owner}
	}
	t.root = t.own(t.root)
	right, sep := t.insert(t.root, key, v)
	if right != nil {
		t.root = &node[V]{owner: t.owner, keys: [][]byte{sep}, kids: []*node[V]{t.root, right}}
	}
}

// insert adds to the owned node n; when n had to be split it returns the new
// right half and the key that separates the two.
func (t *tree[V]) insert(n *node[V], key []byte, v V) (right *node[V], sep []byte) {
	if n.kids == nil {
		i, found := find(n.keys, key)
		if found {
			n.vals[i] = v
			return nil, nil
		}
		n.keys = insertAt(n.keys, i, key)
		n.vals = insertAt(n.vals, i, v)
		t.size++
		if len(n.keys) <= treeMax {
			return nil, nil
		}
		return t.splitLeaf(n, i)
	}
	i := n.child(key)
	n.kids[i] = t.own(n.kids[i])
	r, s := t.insert(n.kids[i], key, v)
	if r == nil {
		return nil, nil
	}
	n.keys = insertAt(n.keys, i, s)
	n.kids = insertAt(n.kids, i+1, r)
	if len(n.kids) <= treeMax {
		return nil, nil
	}
	mid := len(n.keys) / 2
	sep = n.keys[mid]
	right = &node[V]{owner: t.owner, keys: tail(n.keys, mid+1), kids: tail(n.kids, mid+1)}
	n.keys, n.kids = n.keys[:mid], n.kids[:mid+1]
	return right, sep
}

// splitLeaf halves a leaf, or cuts it at the end when the insert at place i was
// an append: keys that come in order then fill their leaves.
func (t *tree[V]) splitLeaf(n *node[V], i int) (right *node[V], sep []byte) {
	mid := len(n.keys) / 2
	if i == len(n.keys)-1 {
		mid = i
	}
	right = &node[V]{owner: t.owner, keys: tail(n.keys, mid), vals: tail(n.vals, mid)}
	clear(n.keys[mid:])
	clear(n.vals[mid:])
	n.keys, n.vals = n.keys[:mid], n.vals[:mid]
	return right, right.keys[0]
}

// remove deletes key and reports whether it was there.
func (t *tree[V]) remove(key []byte) bool {
	if _, ok := t.get(key); !ok {
		return false
	}
	t.root = t.own(t.root)
	t.removeFrom(t.root, key)
	t.size--
	for t.root.kids != nil && len(t.root.kids) == 1 {
		t.root = t.root.kids[0]
	}
	if t.size == 0 {
		t.root = nil
	}
	return true
}

func (t *tree[V]) removeFrom(n *node[V], key []byte) {
	if n.kids == nil {
		i, _ := find(n.keys, key)
		n.keys = removeAt(n.keys, i)
		n.vals = removeAt(n.vals, i)
		return
	}
	i := n.child(key)
	n.kids[i] = t.own(n.kids[i])
	t.removeFrom(n.kids[i], key)
	if n.kids[i].width() >= treeMax/4 {
		return
	}
	if i == len(n.kids)-1 {
		i--
	}
	if i >= 0 && n.kids[i].width()+n.kids[i+1].width() <= treeMax*3/4 {
		t.join(n, i)
	}
}

func (n *node[V]) width() int {
	if n.kids != nil {
		return len(n.kids)
	}
	return len(n.keys)
}

// join appends child i+1 to child i.
func (t *tree[V]) join(n *node[V], i int) {
	l, r := t.own(n.kids[i]), n.kids[i+1]
	if l.kids != nil {
		l.keys = append(append(l.keys, n.keys[i]), r.keys...)
		l.kids = append(l.kids, r.kids...)
	} else {
		l.keys = append(l.keys, r.keys...)
		l.vals = append(l.vals, r.vals...)
	}
	n.kids[i] = l
	n.keys = removeAt(n.keys, i)
	n.kids = removeAt(n.kids, i+1)
}

// insertAt puts v at place i; it grows straight to a node's full size.
func insertAt[E any](s []E, i int, v E) []E {
	if cap(s) < len(s)+1 && len(s) > treeMax/8 {
		s = append(make([]E, 0, treeMax+1), s...)
	}
	s = append(s, v)
	copy(s[i+1:], s[i:])
	s[i] = v
	return s
}

func removeAt[E any](s []E, i int) []E {
	copy(s[i:], s[i+1:])
	var zero E
	s[len(s)-1] = zero
	return s[:len(s)-1]
}

// tail copies s[i:] with room to grow.
func tail[E any](s []E, i int) []E {
	return append(make([]E, 0, treeMax+1), s[i:]...)
}
