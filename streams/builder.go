package streams

import (
	"fmt"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/clock"
	"github.com/tidemill/tidemill/streams/state"
)

// Builder gathers the operators of one topology. Functions and methods of
// streams and tables add to it; Build closes it. Faults are kept and reported by
// Build together, so that a chain of operators reads without error checks.
type Builder struct {
	nodes   []*node
	names   map[string]bool
	stores  map[string]*storeSpec
	globals []*storeSpec
	faults  connect.Errors
	built   bool
	// placings are the choices of partitions, which have to lead to a topic.
	placings []interface{ unused() (string, bool) }
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder {
	return &Builder{names: map[string]bool{}, stores: map[string]*storeSpec{}}
}

// With sets the optional properties of an operator; what does not apply to it is
// ignored. Where operators take any number of them, later ones add to the first.
type With struct {
	// Name is the operator's name, from which those of its internal topics
	// derive. Without it the name follows from the structure: the input's name
	// and the operation. Name whatever keeps state or repartitions, and the
	// topology can be changed around it without losing what it has.
	Name string
	// Store keeps a table in the store of this name, which can be queried.
	Store string
	// Uncached makes a table pass on every update at once, instead of the last
	// one of each key at every commit.
	Uncached bool
	// History keeps the rows that the keys of a table had before, for that long in the
	// time of its records; see Versions of a table in the package's documentation. Such
	// a table passes on every update at once.
	History time.Duration
	// Grace lets the records of a stream wait for that long, in the time of the stream,
	// before they are joined with a table that has a History of no less.
	Grace time.Duration
	// Partitions is the number of partitions of a repartition topic.
	Partitions int
	// Topic ends the name of a repartition topic, after the application's id and
	// a dash; the operator's name and "-repartition" when unset.
	Topic string
	// Pattern makes From read all topics whose whole names match its topic, which then is
	// a regular expression. See Topics by pattern in the package's documentation.
	Pattern bool
	// Timestamps says which time the records of a source have.
	Timestamps clock.Timestamps
	// FixedKey makes the records that a FlatMap or a Process passes on keep the key of
	// the record they come from, whatever key they are given. So nothing has to be
	// repartitioned afterwards, and nothing can be passed on in a punctuation.
	FixedKey bool

	// The following are for Process and Derive, of which other operators are made.

	// Op is what the operator does, in a word, for those who read the topology.
	Op string
	// Stores are further stores of the operator, each of its own.
	Stores []state.Spec
	// SameKey says that a Process passes records on with the keys they came with.
	SameKey bool
	// CoPartitioned says that records of one key have to be in one task, whichever
	// topic they come from: these must have the same number of partitions.
	CoPartitioned bool
	// Unkept says that Derive passes changes on as they are and keeps no rows.
	Unkept bool
	// Keyless says that a Process, Derive or Repartition has a use for records without
	// key: the repartition topics on the way to it have them too.
	Keyless bool
	reads   []*storeSpec // stores of tables the operator looks up
}

// gather puts several With into one.
func gather(opts []With) (s With) {
	for _, o := range opts {
		if o.Name != "" {
			s.Name = o.Name
		}
		if o.Store != "" {
			s.Store = o.Store
		}
		s.Uncached = s.Uncached || o.Uncached
		s.History, s.Grace = later(s.History, o.History), later(s.Grace, o.Grace)
		s.Partitions = max(s.Partitions, o.Partitions)
		if o.Topic != "" {
			s.Topic = o.Topic
		}
		s.Pattern = s.Pattern || o.Pattern
		s.Timestamps = max(s.Timestamps, o.Timestamps)
		s.FixedKey = s.FixedKey || o.FixedKey
		if o.Op != "" {
			s.Op = o.Op
		}
		s.Stores = append(s.Stores, o.Stores...)
		s.SameKey = s.SameKey || o.SameKey
		s.CoPartitioned = s.CoPartitioned || o.CoPartitioned
		s.Unkept, s.Keyless = s.Unkept || o.Unkept, s.Keyless || o.Keyless
		s.reads = append(s.reads, o.reads...)
	}
	return s
}

// later returns the second of two durations, when it is set.
func later(d, set time.Duration) time.Duration {
	if set != 0 {
		return set
	}
	return d
}

// add names a node and appends it.
func (b *Builder) add(n *node, s With) *node {
	switch {
	case s.Name != "" && b.names[s.Name]:
		b.fault("streams.name.taken", s.Name, "two operators have this name", "give each its own with With{Name: …}")
	case s.Name != "":
		n.name = s.Name
	case n.pattern != nil:
		n.name = b.free(plainPattern(n.topic))
	case n.isSource:
		n.name = b.free(n.topic)
	default:
		n.name = b.free(n.parents[0].name + "-" + n.op)
	}
	if b.built {
		b.fault("streams.built", n.name, "the topology was built before this operator was added", "add all operators before Build")
	}
	b.names[n.name] = true
	b.nodes = append(b.nodes, n)
	return n
}

// free returns name or, when it is taken, name with a number.
func (b *Builder) free(name string) string {
	free := name
	for i := 2; b.names[free]; i++ {
		free = fmt.Sprintf("%s-%d", name, i)
	}
	return free
}

func (b *Builder) fault(code, place, message, mend string) {
	b.faults = append(b.faults, &connect.Error{Code: code, Class: connect.ClassConfig, Place: place, Message: message, Mend: mend})
}

// keep gives n a store of its own, in which rows lie as layout says.
func (b *Builder) keep(n *node, s With, layout state.Spec) *storeSpec {
	name := s.Store
	if name == "" {
		name = n.name
	}
	if b.stores[name] != nil {
		b.fault("streams.store.taken", name, "two tables keep their rows in this store", "give each its own name with With{Store: …}")
	}
	if s.History != 0 {
		b.checkHistory(n, s.History, &layout)
	}
	spec := &storeSpec{name: name, cached: !s.Uncached && layout.History == 0, owner: n, layout: layout}
	b.stores[name] = spec
	n.stores = append(n.stores, spec)
	return spec
}

// FreeName returns name or, when an operator has it, name with a number: for
// operators made of several, which name these after themselves.
func (b *Builder) FreeName(name string) string { return b.free(name) }

// Fault notes what is wrong with an operator that another package makes, for Build to
// report: a stable code, the operator or its input, what is wrong and how to mend it.
func (b *Builder) Fault(code, place, message, mend string) { b.fault(code, place, message, mend) }

// Build checks the topology and closes the Builder. All faults are reported at
// once, as connect.Errors.
func (b *Builder) Build() (*Topology, error) {
	b.built = true
	if len(b.nodes) == 0 {
		b.fault("streams.empty", "", "the topology reads nothing", "start with From or TableFrom")
	}
	b.checkPlacings()
	b.checkTimestamps()
	b.checkPatterns()
	if err := b.faults.OrNil(); err != nil {
		return nil, err
	}
	leaveKeyless(b.nodes)
	return newTopology(b.nodes, b.globals), nil
}
