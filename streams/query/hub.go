package query

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Hub passes commits on to subscribers. Its lock makes a commit and the news of
// it one step for whoever takes a snapshot and subscribes.
type Hub struct {
	// moves counts the cuts. Who reads a store finds out by it whether a partition
	// came or went meanwhile.
	moves atomic.Int64

	mu   sync.Mutex                 // guards the following
	subs map[string][]*Subscription // by store
}

// NewHub returns a Hub without subscribers.
func NewHub() *Hub { return &Hub{subs: map[string][]*Subscription{}} }

// Feed passes on what a commit changed.
type Feed struct{ h *Hub }

// Step runs a commit that tells the Feed what it changed.
func (h *Hub) Step(commit func(*Feed) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return commit(&Feed{h})
}

// Wanted tells whether anybody follows the store.
func (f *Feed) Wanted(store string) bool { return len(f.h.subs[store]) > 0 }

// Push gives a row to those who follow the store. Its bytes stay as they are.
func (f *Feed) Push(store string, row Row) {
	for _, s := range f.h.subs[store] {
		s.push(row)
	}
}

// Moved says that a copy of a partition came or is about to go: before anything is
// written to it that makes it less than a copy.
func (h *Hub) Moved() { h.moves.Add(1) }

// Cut ends the subscriptions to the named stores, to all when there is none. It is
// called after each change of what Source.Here tells, and before anything is written
// to a partition that is not here any more.
func (h *Hub) Cut(why error, stores ...string) {
	h.moves.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	for store, subs := range h.subs {
		if len(stores) > 0 && !slices.Contains(stores, store) {
			continue
		}
		for _, s := range subs {
			s.mu.Lock()
			if s.err == nil {
				s.err = why
			}
			s.wake()
			s.mu.Unlock()
			s.endWalk()
		}
		delete(h.subs, store)
	}
}
