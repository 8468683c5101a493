package query

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/state"
)

// leaving is a DB from which a partition goes, and is emptied, right before it is read.
type leaving struct {
	state.DB
	leave func()
}

func (l *leaving) Snapshot() (state.Snapshot, error) {
	l.leave()
	return l.DB.Snapshot()
}

func (l *leaving) Reader(id state.ID) state.Reader {
	l.leave()
	return l.DB.Reader(id)
}

// TestNoAnswerFromWhatIsRebuilt has a partition go to be rebuilt while somebody reads it:
// the empty store that is there at that moment is no answer.
func TestNoAnswerFromWhatIsRebuilt(t *testing.T) {
	ctx := context.Background()
	reads := map[string]func(*Rows) error{
		"all": func(r *Rows) error { return r.ScanAll(ctx, nil, nil, func(Row) error { return nil }) },
		"get": func(r *Rows) error {
			_, _, err := r.Get(ctx, []byte("key"))
			return err
		},
	}
	for name, read := range reads {
		t.Run(name, func(t *testing.T) {
			memory := state.NewMemory()
			id, err := memory.Open("s", 0)
			if err != nil {
				t.Fatal(err)
			}
			hub, here := NewHub(), []int32{0}
			db := &leaving{DB: memory, leave: func() {}}
			r := &Rows{Source: Source{
				App: "a", Store: "s", Name: "s", DB: db, Open: &sync.RWMutex{}, Hub: hub,
				Here: func() []int32 { return here }, Total: func() int { return 1 }, Place: func([]byte, int) int32 { return 0 },
			}}
			put := memory.Batch()
			put.Put(id, []byte("key"), state.AppendTimed(nil, 1, []byte("value")))
			if err := put.Commit(); err != nil {
				t.Fatal(err)
			}
			if err := read(r); err != nil {
				t.Fatalf("a store that is here is read with %v", err)
			}
			db.leave = func() {
				db.leave = func() {}
				here = nil
				hub.Cut(errors.New("moved"), "s")
				b := memory.Batch()
				b.DeleteRange(id, state.Range{})
				if err := b.Commit(); err != nil {
					t.Error(err)
				}
			}
			err = read(r)
			if e, ok := errors.AsType[*connect.Error](err); !ok || e.Code != "streams.store.elsewhere" {
				t.Errorf("a store that goes while it is read is read with %v", err)
			}
		})
	}
}
