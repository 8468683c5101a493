package mutants

import (
	"slices"

	"github.com/tidemill/tidemill/torture/bankstorm"
)

// Mutant is the product with one bug.
type Mutant struct {
	Name string // Begins with bug_.
	// Breaks says in a sentence what is wrong with it and which invariant that breaks.
	Breaks string
	Edits  []Edit
	Hunt   Hunt
}

// Edit replaces a text that stands exactly once in a file.
type Edit struct {
	File     string // From the root of the module.
	From, To string
}

// Hunt says under which torture a bug shows. The zero value is the whole storm with
// exactly once, every class of faults that needs no other options, and no failpoint.
type Hunt struct {
	Mode   string   // bankstorm.ExactlyOnce or AtLeastOnce.
	Faults []string // Classes; none for those of everyday.
	// Templates are the kinds of transactions; none for all.
	Templates []string
	// Points has the worker kill itself, as TIDEMILL_FAILPOINT says it.
	Points string
	// Connector is added to the source connector's configuration.
	Connector map[string]string
	// Copies has a sink and a derived table made of the topics.
	Copies bool
	// Streams has a streams application run, with the bug in it, in several processes.
	Streams bool
}

// everyday are faults that come soon and go soon: most bugs need just a restart at the
// wrong time.
func everyday() []string {
	return []string{"w.kill", "ws.kill", "kf.kill", "pg.crash", "px-kafka.cut", "px-kafka.slow", "px-pg.cut", "kf.err"}
}

// breaking are faults that break connections to the server in the middle of
// transactions, also while the brokers are slow.
func breaking() []string {
	return []string{"ws.kill", "px-pg.cut", "px-pg.rst", "px-kafka.slow", "px-kafka.hole"}
}

// calm are transactions that alter and empty no table, which would have a snapshot taken
// another way.
func calm() []string {
	return []string{"transfer", "key", "copy", "rebirth", "toast", "values", "interleaved"}
}

// tight are queues of the least size, so that what is slow behind the source is felt in
// front of it.
func tight() map[string]string {
	return map[string]string{"max.batch.size": "4", "max.queue.size": "8"}
}

// mode is the hunt's mode.
func (h Hunt) mode() string {
	if h.Mode == "" {
		return bankstorm.ExactlyOnce
	}
	return h.Mode
}

// faults are the hunt's classes of faults.
func (h Hunt) faults() []string {
	if len(h.Faults) == 0 {
		return everyday()
	}
	return h.Faults
}

// All returns the mutants, sorted by what they break.
func All() []Mutant {
	return slices.Concat(positions(), resuming(), rows(), records(), values(), snapshots(), beside(), streamed(), delivery(), order(), sinks(), flowing())
}
