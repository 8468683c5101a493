package streams

import (
	"fmt"
	"regexp"

	"github.com/tidemill/tidemill/streams/clock"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// node is one operator of a topology. Nodes know nothing of types: build makes
// the typed instance for a task.
type node struct {
	name    string
	op      string // what it does, for people
	parents []*node
	sub     int // the sub-topology, known after Build

	// topic is what a source reads or a sink writes. When internal it is the
	// end of the name of a repartition topic, and partitions is how many the
	// user wants, 0 for as many as its input has.
	topic      string
	pattern    *regexp.Regexp // of a source of all topics that match; topic has its text then
	internal   bool
	partitions int
	timestamps clock.Timestamps // of a source
	timedBy    any              // of a source: func(Record[K, V], int64) int64, or nil
	routed     bool             // a sink to topics that the records choose
	readBy     *node            // of a sink that writes to a repartition topic: the source that reads it
	keyless    bool             // it has a use for records without key, or is on the way to what has; settled by Build
	envelopes  bool             // a source of change events
	keys       any              // of a source: the Serde of its keys
	otherKey   bool             // a source whose keys are written with another Serde from there on, or that is not cut by its keys

	stores []*storeSpec // the stores it reads or writes
	// together says that the topics its task reads must have as many partitions as
	// each other.
	together bool
	build    func(t *task) (any, error)

	// wantOld asks a table to send old rows; pulling up is what it does about
	// it, usually asking its parent or keeping a store.
	wantOld bool
	pullOld func()
	// passes is the table whose versions these are, of an operator that makes rows of
	// rows one by one.
	passes   *node
	isSource bool
	isSink   bool
}

// requireOld makes the table of n send old rows.
func (n *node) requireOld() {
	if n.wantOld {
		return
	}
	n.wantOld = true
	if n.pullOld != nil {
		n.pullOld()
	}
}

// storeSpec describes a store of a topology.
type storeSpec struct {
	name   string
	cached bool
	owner  *node  // nil for a global table that reads topic by itself
	topic  string // of such a one
	global bool   // operators of all tasks read it, whichever task a row is in
	layout state.Spec
}

// laidOut is the ability of the Serde of a table's keys to say how the table's rows
// are kept: windows, for one, are removed when they have expired.
type laidOut interface {
	StoreLayout() state.Spec
}

// layoutOf returns the layout of rows whose keys s writes.
func layoutOf[K any](s serde.Serde[K]) state.Spec {
	if l, ok := s.(laidOut); ok {
		return l.StoreLayout()
	}
	return state.Spec{}
}

// wire attaches the instance of n to that of its parent. A mismatch of types
// cannot happen to topologies made by the package's functions, which are typed;
// it is reported rather than trusted.
func wire[K, V any](t *task, parent *node, to receiver[K, V]) error {
	from, ok := t.instances[parent].(feeder[K, V])
	if !ok {
		return fmt.Errorf("operator %s does not give what %T takes", parent.name, to)
	}
	from.attach(t, guarded(t, t.building, to))
	return nil
}

// operator adds a node with one input whose instances make returns.
func operator[K, V any, N receiver[K, V]](b *Builder, parent *node, op string, s With, make func(t *task) N) *node {
	n := b.add(&node{op: op, parents: []*node{parent}}, s)
	n.build = func(t *task) (any, error) {
		inst := make(t)
		return inst, wire(t, parent, receiver[K, V](inst))
	}
	return n
}
