package streams

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/status"
)

// remote is the part of an Engine that asks other instances and answers them. Without
// Config.Remote it is empty.
type remote struct {
	address string // where others reach this process
	peers   *query.Peers
	door    net.Listener
}

// openRemote listens for questions.
func (e *Engine) openRemote() (err error) {
	if e.cfg.Remote == nil {
		return nil
	}
	e.door, e.address, err = e.cfg.Remote.Open(context.Background())
	if err == nil {
		e.peers = e.cfg.Remote.Peers()
	}
	return err
}

// Address returns the host:port at which other instances reach this one, empty without
// Config.Remote.
func (e *Engine) Address() string { return e.address }

// headerWithin and idleWithin guard against those who connect and say nothing.
const (
	headerWithin = 5 * time.Second
	idleWithin   = 2 * time.Minute
	closeWithin  = 2 * time.Second
)

// handler answers other instances, and those who ask how the applications are doing.
func (e *Engine) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", e.cfg.Remote.Handler(e.address, e.rowsForOthers))
	doing := e.cfg.Remote.Guard(e.address, status.Handler(func() (status.Source, error) { return e, nil }))
	mux.Handle(status.Path, doing)
	mux.Handle(status.Path+"/", doing)
	return mux
}

// serve answers other instances until ctx is done.
func (e *Engine) serve(ctx context.Context) {
	if e.door == nil {
		return
	}
	server := &http.Server{
		Handler:           e.handler(),
		ReadHeaderTimeout: headerWithin, ReadTimeout: idleWithin, IdleTimeout: idleWithin,
		ErrorLog: slog.NewLogLogger(e.cfg.Logger.Handler(), slog.LevelDebug),
	}
	e.active.Go(func() {
		if err := server.Serve(e.door); !errors.Is(err, http.ErrServerClosed) {
			e.cfg.Logger.Error("other instances are not answered any more", "address", e.address, "error", err)
		}
	})
	e.active.Go(func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
		e.peers.Close()
	})
}

// closeRemote ends listening for an Engine that never ran.
func (e *Engine) closeRemote() {
	if e.door != nil {
		e.door.Close()
		e.peers.Close()
	}
}

// Rows reads a store of an application. It waits, as long as ctx allows, until the
// application runs and its stores are restored. With Config.Remote the rows are those of
// all instances, and each answer waits for whoever has to give it.
func (e *Engine) Rows(ctx context.Context, id, store string) (*query.Rows, error) {
	a, err := e.app(id)
	if err != nil {
		return nil, err
	}
	if err := a.Topology.knows(id, store); err != nil {
		return nil, err
	}
	// In transaction mode one process has all rows, and others do not know which.
	alone := e.peers == nil || a.Transactions != nil || a.Topology.globalSpec(store) != nil
	if err := a.waitRunning(ctx, !alone); err != nil {
		return nil, err
	}
	rows := e.rowsHere(a, store)
	if !alone {
		rows.Peers = e.peers
		rows.Fleet = func() ([]query.Instance, <-chan struct{}) { return a.instancesOf(store) }
	}
	return rows, nil
}

// rowsForOthers reads a store for another instance, as it is now.
func (e *Engine) rowsForOthers(id, store string) (*query.Rows, error) {
	a, err := e.app(id)
	if err != nil {
		e := *connect.AsError(err)
		e.Class = connect.ClassRetriable // It may be about to be added here.
		return nil, &e
	}
	if err := a.Topology.knows(id, store); err != nil {
		return nil, err
	}
	return e.rowsHere(a, store), nil
}

// rowsHere reads what this process has of a store.
func (e *Engine) rowsHere(a *application, store string) *query.Rows {
	rows := &query.Rows{Source: query.Source{
		App: a.ID, Store: store, Name: storeName(a.ID, store), DB: e.db, Open: &e.open, Hub: a.hub,
		Here:  func() []int32 { return a.partitionsOf(store) },
		Total: func() int { return a.tasksOf(store) },
		Place: a.Topology.place(store), Layout: a.Topology.layout(store),
		Copy: func(p int32) (int64, bool) { return a.copyLag(store, p) },
		Reached: func(from func(state.ID) state.Reader, p int32, inputs bool) (query.Position, error) {
			return a.reached(store, from, p, inputs)
		},
		LSN: func(read func(state.ID) state.Reader) (uint64, error) {
			at, err := epochOf(e.db, a.ID, read)
			return at.LSN(), err
		},
	}}
	if a.Topology.globalSpec(store) != nil {
		rows.Here, rows.Total, rows.Reached = func() []int32 { return []int32{0} }, func() int { return 1 }, nil
	}
	return rows
}

// reached tells how far a partition of a store has come in the store's changelog and, with
// inputs, in the topics its task reads, as far as this process knows that.
func (a *application) reached(store string, from func(state.ID) state.Reader, p int32, inputs bool) (query.Position, error) {
	meta, err := a.e.db.Open(metaStore(a.ID), p)
	if err != nil {
		return nil, err
	}
	r, at := from(meta), query.Position{}
	note := func(what byte, name, topic string) error {
		offset, known, err := readPosition(r, what, name)
		if err == nil && known {
			at.Merge(query.Position{topic: {p: offset}})
		}
		return err
	}
	if err := note('c', store, changelogName(a.ID, store)); err != nil {
		return nil, err
	}
	if !inputs {
		return at, nil
	}
	a.mu.Lock()
	var matched map[string][]string
	if a.plan != nil {
		matched = a.plan.matched
	}
	a.mu.Unlock()
	for _, in := range a.Topology.subs[a.subOf(store)].inputs(matched) {
		topic := topicName(a.ID, in.topic)
		if err := note('s', topic, topic); err != nil {
			return nil, err
		}
	}
	return at, nil
}
