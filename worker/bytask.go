package worker

import (
	"iter"
	"maps"
	"slices"
)

// byTask keeps something of each task, by connector and number, so that what a connector's
// tasks have is found without a look at those of a thousand others.
type byTask[T any] map[string]map[int]T

// of returns what a task has, and whether it has anything.
func (b byTask[T]) of(id TaskID) (T, bool) {
	v, ok := b[id.Connector][id.Task]
	return v, ok
}

func (b byTask[T]) put(id TaskID, v T) {
	if b[id.Connector] == nil {
		b[id.Connector] = map[int]T{}
	}
	b[id.Connector][id.Task] = v
}

func (b byTask[T]) drop(id TaskID) {
	if delete(b[id.Connector], id.Task); len(b[id.Connector]) == 0 {
		delete(b, id.Connector)
	}
}

// forget drops what a connector's tasks have from the given number on.
func (b byTask[T]) forget(name string, from int) {
	for n := range b[name] {
		if n >= from {
			b.drop(TaskID{name, n})
		}
	}
}

// ids returns a connector's tasks, sorted.
func (b byTask[T]) ids(name string) (ids []TaskID) {
	for _, n := range slices.Sorted(maps.Keys(b[name])) {
		ids = append(ids, TaskID{name, n})
	}
	return ids
}

// all goes through all tasks, in any order.
func (b byTask[T]) all() iter.Seq2[TaskID, T] {
	return func(yield func(TaskID, T) bool) {
		for name, tasks := range b {
			for n, v := range tasks {
				if !yield(TaskID{name, n}, v) {
					return
				}
			}
		}
	}
}
