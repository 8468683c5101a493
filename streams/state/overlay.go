package state

import (
	"bytes"
	"errors"
)

// overlay reads a store as it is with the changes that are staged.
type overlay struct {
	top  Reader // values with marks
	base Reader
}

func (o *overlay) Get(dst, key []byte) (value []byte, found bool, err error) {
	value, found, err = o.top.Get(dst, key)
	if err != nil || !found {
		if err != nil {
			return dst, false, err
		}
		return o.base.Get(dst, key)
	}
	last := len(value) - 1
	if value[last] != changeSet {
		return dst, false, nil
	}
	return value[:last], true, nil
}

func (o *overlay) Scan(r Range) Iterator {
	it := &overlayIter{reverse: r.Reverse, top: o.top.Scan(r), base: o.base.Scan(r)}
	it.moreTop, it.moreBase = it.top.Next(), it.base.Next()
	return it
}

// overlayIter merges two walks; where both have a key the one above counts.
type overlayIter struct {
	reverse           bool
	top, base         Iterator
	moreTop, moreBase bool
	started, fromTop  bool
}

func (i *overlayIter) Next() bool {
	if i.started {
		i.leave()
	}
	i.started = true
	for i.moreTop || i.moreBase {
		i.choose()
		if !i.fromTop {
			return true
		}
		if v := i.top.Value(); v[len(v)-1] == changeSet {
			return true
		}
		i.leave() // Deleted.
	}
	return false
}

// choose picks the side whose key comes next. An equal key below is hidden and skipped.
func (i *overlayIter) choose() {
	i.fromTop = i.moreTop
	if !i.moreTop || !i.moreBase {
		return
	}
	order := bytes.Compare(i.top.Key(), i.base.Key())
	if order == 0 {
		i.moreBase = i.base.Next()
	}
	i.fromTop = order == 0 || (order < 0) != i.reverse
}

// leave steps past the current entry.
func (i *overlayIter) leave() {
	if i.fromTop {
		i.moreTop = i.moreTop && i.top.Next()
	} else {
		i.moreBase = i.moreBase && i.base.Next()
	}
}

func (i *overlayIter) Key() []byte {
	if i.fromTop {
		return i.top.Key()
	}
	return i.base.Key()
}

func (i *overlayIter) Value() []byte {
	if i.fromTop {
		v := i.top.Value()
		return v[:len(v)-1]
	}
	return i.base.Value()
}

func (i *overlayIter) Close() error {
	i.moreTop, i.moreBase = false, false
	return errors.Join(i.top.Close(), i.base.Close())
}
