package txn

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Part is one partition of a topic.
type Part struct {
	Topic     string
	Partition int32
}

// Held is an event that was given to a Gate.
type Held[R any] struct {
	Event
	Part
	Offset int64
	Record R
}

// Gate holds events until their transaction is there whole. It is used by one goroutine.
type Gate[R any] struct {
	source *Source
	parts  map[Part]*part[R]
	list   []Part // by their numbers
	tables map[string]*table
	open   map[Epoch]*gathering[R]
	ends   queueOf[ended]
	done   Epoch
	newest Epoch         // of which the end is known
	out    *gathering[R] // what Next has moved on to
	// endless are the transactions, in order, of which there are events and no end;
	// orphans are those of which the end will not come, because later ones have come.
	endless, orphans []Epoch
	// based is false as long as what came before is not all there, and so only a
	// snapshot makes a state of the database.
	based  bool
	base   Epoch // the snapshot before which nothing counts
	held   int64 // bytes in memory
	events int64
	aside  *aside[R] // nil when nothing goes to the disk
	fault  error     // what was in the way of forgetting
}

// part is what is known of one partition.
type part[R any] struct {
	number int
	// firsts are the first events of the transactions in it.
	firsts queueOf[first[R]]
	next   int64 // after the last record seen; -1 before the first one
	newest Epoch
}

// first is the first event of a transaction in one partition.
type first[R any] struct {
	of     *gathering[R]
	offset int64
}

// table is what is known of a table.
type table struct {
	name, topic string
	captured    bool
}

// gathering is a transaction that is not known to be whole.
type gathering[R any] struct {
	at     Epoch
	events []Held[R]        // in memory
	n      int64            // of all events
	counts map[string]int64 // by collection
	orders numbers
	keys   map[string]bool // of a snapshot, as rows
	rows   []string        // of the events of a snapshot
	bytes  int64           // in memory
	parts  []*part[R]      // those that have something of it
	aside  bool            // its events go to the disk
	disk   int64           // bytes there
	gone   bool
}

// ended is the end of a transaction whose turn has not come.
type ended struct {
	End
	offset int64
}

// NewGate returns a Gate for the partitions of the captured topics.
func NewGate[R any](s *Source, parts []Part) *Gate[R] {
	g := &Gate[R]{source: s, parts: map[Part]*part[R]{}, list: append(slices.Clone(parts), Part{Topic: s.Topic}), tables: map[string]*table{}}
	g.forget(0, true)
	return g
}

// Reset forgets everything that is held: what comes is from after the transaction done.
// based says that all of what comes after it is still there.
func (g *Gate[R]) Reset(done Epoch, based bool) {
	g.forget(done, based)
	g.fault = g.aside.close()
}

func (g *Gate[R]) forget(done Epoch, based bool) {
	for i, p := range g.list {
		g.parts[p] = &part[R]{number: i, next: -1}
	}
	g.open, g.ends, g.done, g.newest, g.based, g.held, g.events = map[Epoch]*gathering[R]{}, queueOf[ended]{}, done, done, based, 0, 0
	g.endless, g.orphans, g.out, g.base = nil, nil, nil, 0
}

// table returns what is known of a table.
func (g *Gate[R]) table(name string) *table {
	t := g.tables[name]
	if t == nil {
		t = &table{name: name, topic: g.source.TopicOf(name)}
		for _, p := range g.list {
			t.captured = t.captured || p.Topic == t.topic && t.topic != g.source.Topic
		}
		g.tables[name] = t
	}
	return t
}

// eventOverhead is what holding an event costs apart from its bytes.
const eventOverhead = 320

// Arrive takes in an event of size bytes. key tells rows of a snapshot apart; it is nil
// for a row without one.
func (g *Gate[R]) Arrive(h Held[R], key []byte, size int) error {
	p, e := h.Part, h.Event
	at, err := g.seen(p, h.Offset)
	if err != nil {
		return err
	}
	t := g.table(e.Collection)
	if t.topic != p.Topic {
		return &connect.Error{
			Code: "streams.transaction.collection", Class: connect.ClassConfig, Place: "topic " + p.Topic,
			Message: fmt.Sprintf("it has events of table %s, which are expected in topic %s", e.Collection, t.topic),
			Mend:    "name the table's topic in Collections of the transactions' Source",
		}
	}
	at.newest = max(at.newest, e.Epoch)
	if e.Epoch <= g.done || e.Epoch < g.base {
		return nil // It was sent again, or is of no state.
	}
	o := g.open[e.Epoch]
	if o == nil {
		o = &gathering[R]{at: e.Epoch, counts: map[string]int64{}, keys: map[string]bool{}}
		g.open[e.Epoch] = o
		g.begun(e.Epoch)
	}
	h.Collection = t.name // One string for all events.
	if isNew, err := g.keep(o, at, &h, key, size); err != nil || !isNew {
		return err
	}
	o.n++
	o.counts[t.name]++
	g.events++
	if !slices.Contains(o.parts, at) {
		o.parts = append(o.parts, at)
		at.firsts.push(first[R]{o, h.Offset})
	}
	return g.relieve()
}

// keep holds an event, in memory or on the disk, unless it is there already.
func (g *Gate[R]) keep(o *gathering[R], at *part[R], h *Held[R], key []byte, size int) (isNew bool, err error) {
	if h.Order > 0 {
		if !o.orders.add(h.Order) {
			return false, nil
		}
		key = nil
	}
	if o.aside {
		return g.aside.add(o, at.number, h, key)
	}
	if h.Order == 0 {
		row := ""
		if key != nil {
			row = string(appendRow(nil, at.number, key))
		}
		if o.keys[row] {
			return false, nil
		}
		o.keys[row] = key != nil
		o.rows = append(o.rows, row)
		size += len(row)
	}
	size += eventOverhead
	o.events = append(o.events, *h)
	o.bytes += int64(size)
	g.held += int64(size)
	return true, nil
}

// begun notes a transaction of which the first event has come.
func (g *Gate[R]) begun(at Epoch) {
	ends := g.ends.all()
	switch {
	case g.ended(at):
	case len(ends) > 0 && at < ends[len(ends)-1].Epoch:
		g.orphans = append(g.orphans, at)
	default:
		i, _ := slices.BinarySearch(g.endless, at)
		g.endless = slices.Insert(g.endless, i, at)
	}
}

// ended tells whether the end of a transaction is there, or was.
func (g *Gate[R]) ended(at Epoch) bool {
	_, known := slices.BinarySearchFunc(g.ends.all(), at, func(e ended, at Epoch) int { return cmp.Compare(e.Epoch, at) })
	return known || at <= g.done
}

// Pass notes a record that is of no transaction, such as the one without value that
// follows a delete.
func (g *Gate[R]) Pass(p Part, offset int64) error {
	_, err := g.seen(p, offset)
	return err
}

func (g *Gate[R]) seen(p Part, offset int64) (*part[R], error) {
	at := g.parts[p]
	if at == nil {
		return nil, fmt.Errorf("txn: partition %d of topic %s is not one the gate knows", p.Partition, p.Topic)
	}
	at.next = offset + 1
	return at, nil
}

// End takes in the end of a transaction.
func (g *Gate[R]) End(e End, offset int64) error {
	if _, err := g.seen(Part{Topic: g.source.Topic}, offset); err != nil {
		return err
	}
	last := g.done
	if ends := g.ends.all(); len(ends) > 0 {
		last = ends[len(ends)-1].Epoch
	}
	if e.Epoch <= last && g.ended(e.Epoch) {
		return nil // It was sent again.
	}
	if e.Epoch < last {
		return &connect.Error{
			Code: "streams.transaction.order", Class: connect.ClassFatal, Place: fmt.Sprintf("topic %s, offset %d", g.source.Topic, offset),
			Message: fmt.Sprintf("the transaction at %s comes after the one at %s", e.Epoch, last),
			Mend:    "the topic of transaction metadata is written by one source, to one partition; reset the application if the source was set up anew",
		}
	}
	for len(g.endless) > 0 && g.endless[0] <= e.Epoch {
		if g.endless[0] < e.Epoch {
			g.orphans = append(g.orphans, g.endless[0])
		}
		g.endless = g.endless[1:]
	}
	g.ends.push(ended{e, offset})
	g.newest = max(g.newest, e.Epoch)
	g.held += eventOverhead
	return nil
}

// Next moves on to the next transaction when it is there whole, and tells how many events
// it has in the captured topics, of which there may be none. Each gives them.
func (g *Gate[R]) Next() (at Epoch, events int64, ok bool) {
	g.rebase()
	if g.ends.len() == 0 || !g.based || len(g.orphans) > 0 {
		return 0, 0, false
	}
	end := g.ends.first()
	if end.Initial && g.done > 0 {
		return 0, 0, false
	}
	o := g.open[end.Epoch]
	for collection, n := range end.Counts {
		if n > g.have(o, collection) {
			return 0, 0, false
		}
	}
	g.release(o)
	g.done, g.out = end.Epoch, o
	g.ends.pop()
	g.held -= eventOverhead
	if o == nil {
		return end.Epoch, 0, true
	}
	return end.Epoch, o.n, true
}

// Each gives the events of the transaction that Next has moved on to, in their order and
// once. What take gets is valid during the call.
func (g *Gate[R]) Each(take func(*Held[R]) error) error {
	o := g.out
	g.out = nil
	if o == nil {
		return nil
	}
	if o.aside {
		return errors.Join(g.aside.each(o, g.list, take), g.aside.drop(o))
	}
	slices.SortStableFunc(o.events, func(a, b Held[R]) int { return cmp.Compare(a.Order, b.Order) })
	for i := range o.events {
		if err := take(&o.events[i]); err != nil {
			return err
		}
	}
	return nil
}

// have is how many events of a table are there, of those that can be.
func (g *Gate[R]) have(o *gathering[R], collection string) int64 {
	switch {
	case !g.table(collection).captured:
		return 1<<63 - 1
	case o == nil:
		return 0
	}
	return o.counts[collection]
}

// drop lets the events of a transaction go that nobody gets.
func (g *Gate[R]) drop(at Epoch) {
	o := g.open[at]
	g.release(o)
	if o != nil && o.aside {
		g.aside.doomed = append(g.aside.doomed, o)
	}
}

// release ends the waiting for a transaction.
func (g *Gate[R]) release(o *gathering[R]) {
	if o == nil {
		return
	}
	delete(g.open, o.at)
	g.held -= o.bytes
	g.events -= o.n
	o.gone = true
	for _, at := range o.parts {
		for at.firsts.len() > 0 && at.firsts.first().of.gone {
			at.firsts.pop()
		}
	}
}

// rebase sees to it that what is given out has its beginning. Rows of a snapshot that has
// no end before the next transaction are of one that was given up: the source has begun
// again, and what it tells until the end of the next snapshot changes rows that were
// never whole. That snapshot has all of it.
func (g *Gate[R]) rebase() {
	g.orphans = slices.DeleteFunc(g.orphans, func(at Epoch) bool {
		if at.snapshot() {
			g.based = g.based && g.done > 0
			g.drop(at)
		}
		return at.snapshot()
	})
	if g.based {
		return
	}
	for i, end := range g.ends.all() {
		if !end.Epoch.snapshot() {
			continue
		}
		for range i {
			g.ends.pop()
			g.held -= eventOverhead
		}
		for at := range g.open {
			if at < end.Epoch {
				g.drop(at)
			}
		}
		g.orphans = slices.DeleteFunc(g.orphans, func(at Epoch) bool { return at < end.Epoch })
		g.based, g.base = true, end.Epoch
		return
	}
}

// Position returns from where a partition has to be read again to have everything that
// is not given out yet, and -1 when nothing of it was seen.
func (g *Gate[R]) Position(p Part) int64 {
	at := g.parts[p]
	switch {
	case at == nil:
		return -1
	case at.firsts.len() > 0:
		return at.firsts.first().offset
	case p.Topic == g.source.Topic && g.ends.len() > 0:
		return g.ends.first().offset
	}
	return at.next
}

// Begin says, once it is known, after which transaction what is given to the gate
// begins. It is as Reset, but keeps what is there already.
func (g *Gate[R]) Begin(done Epoch, based bool) {
	g.done, g.based = max(g.done, done), based
	for at := range g.open {
		if at <= done {
			g.drop(at)
		}
	}
	for g.ends.len() > 0 && g.ends.first().Epoch <= done {
		g.ends.pop()
		g.held -= eventOverhead
	}
	before := func(at Epoch) bool { return at <= done }
	g.endless, g.orphans = slices.DeleteFunc(g.endless, before), slices.DeleteFunc(g.orphans, before)
}

// Knows tells whether a partition is one of the gate's.
func (g *Gate[R]) Knows(p Part) bool {
	_, ok := g.parts[p]
	return ok
}

// Parts is how many partitions the gate has.
func (g *Gate[R]) Parts() int { return len(g.parts) }

// Done is the last transaction that was given out.
func (g *Gate[R]) Done() Epoch { return g.done }

// Figures tell how a Gate is doing.
type Figures struct {
	// Events are held; InMemory and OnDisk are about how many bytes they take.
	Events, InMemory, OnDisk int64
	// PutAside is how many events have ever gone to the disk.
	PutAside int64
	// Waiting is how many transactions have ended and are not there whole.
	Waiting int
	// Newest is the newest transaction that is known to have ended.
	Newest Epoch
}

// Figures returns how the gate is doing.
func (g *Gate[R]) Figures() Figures {
	f := Figures{Events: g.events, InMemory: g.held, Waiting: g.ends.len(), Newest: max(g.newest, g.done)}
	if g.aside != nil {
		f.OnDisk, f.PutAside = g.aside.bytes, g.aside.ever
	}
	return f
}

// Ahead tells whether a partition has given all that is waited for, so that it need not
// be read on for the moment.
func (g *Gate[R]) Ahead(p Part) bool {
	at := g.parts[p]
	switch {
	case at == nil:
		return false
	case p.Topic == g.source.Topic:
		return g.ends.len() > 0 && g.based
	case g.ends.len() == 0:
		return at.firsts.len() > 0
	}
	return at.newest > g.ends.first().Epoch
}

// Check returns an error when the next transaction can never be whole, or is larger than
// may be held. It is called after Next has said no.
func (g *Gate[R]) Check() error {
	if g.ends.len() == 0 {
		return nil // Nothing is known of what it should be.
	}
	if !g.based {
		return g.tooLarge(g.held, "the beginning is not there, and a snapshot is waited for that has all rows")
	}
	end := g.ends.first()
	if i := slices.IndexFunc(g.ends.all(), func(e ended) bool { return e.Initial }); i >= 0 && g.done > 0 {
		return g.anew(g.ends.all()[i].Epoch)
	}
	if len(g.orphans) > 0 {
		return g.incomplete(slices.Min(g.orphans), "its end is not in topic "+g.source.Topic)
	}
	o := g.open[end.Epoch]
	for collection, n := range end.Counts {
		have := g.have(o, collection)
		if topic := g.table(collection).topic; n > have && g.allAhead(topic) {
			return g.incomplete(end.Epoch, fmt.Sprintf("it has %d events of table %s, of which %d are in topic %s", n, collection, have, topic))
		}
	}
	if o == nil {
		return nil
	}
	return g.tooLarge(o.bytes, g.waiting(end.End, o))
}

// allAhead tells whether every partition of a topic has gone on to later transactions.
func (g *Gate[R]) allAhead(topic string) bool {
	for p := range g.parts {
		if p.Topic == topic && !g.Ahead(p) {
			return false
		}
	}
	return true
}

func (g *Gate[R]) incomplete(at Epoch, why string) error {
	return &connect.Error{
		Code: "streams.transaction.incomplete", Class: connect.ClassFatal, Place: "the transaction at " + at.String(),
		Message: "the transaction is not there whole and never will be: " + why,
		Mend: "let no transform or error handler of the source drop events, and keep its topics longer than an application may be behind, without compaction; " +
			"reset the application and let the source take a new snapshot",
	}
}

// anew tells that there is a gap which nothing can close.
func (g *Gate[R]) anew(at Epoch) error {
	return &connect.Error{
		Code: "streams.transaction.anew", Class: connect.ClassFatal, Place: "the snapshot at " + at.String(),
		Message: fmt.Sprintf("the source has begun anew with a snapshot, and does not tell what the database did between %s and %s: rows that were deleted meanwhile would stay", g.done, at),
		Mend:    "reset the application and let it read the captured topics anew, made empty before, or those of another topic.prefix",
	}
}

func (g *Gate[R]) tooLarge(bytes int64, what string) error {
	if bytes <= g.source.Limit() || g.aside != nil {
		return nil
	}
	return &connect.Error{
		Code: "streams.transaction.size", Class: connect.ClassFatal, Place: "topic " + g.source.Topic,
		Message: fmt.Sprintf("%d bytes are held, more than the %d that may be: %s", bytes, g.source.Limit(), what),
		Mend:    "give the engine a directory, where large transactions are put aside, or raise MaxBytes of the transactions' Source; a snapshot is held whole, too",
	}
}

// waiting tells what the next transaction waits for.
func (g *Gate[R]) waiting(end End, o *gathering[R]) string {
	var parts []string
	for collection, n := range end.Counts {
		if have := g.have(o, collection); n > have {
			parts = append(parts, fmt.Sprintf("%d of %d events of %s", have, n, collection))
		}
	}
	slices.Sort(parts)
	return fmt.Sprintf("the transaction at %s has %s", end.Epoch, strings.Join(parts, ", "))
}

// queueOf is a queue.
type queueOf[T any] struct {
	items []T
	head  int
}

func (q *queueOf[T]) push(v T) { q.items = append(q.items, v) }
func (q *queueOf[T]) len() int { return len(q.items) - q.head }
func (q *queueOf[T]) first() T { return q.items[q.head] }
func (q *queueOf[T]) all() []T { return q.items[q.head:] }

func (q *queueOf[T]) pop() {
	var zero T
	q.items[q.head] = zero
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	} else if q.head > 1024 && q.head > len(q.items)/2 {
		q.items = append(q.items[:0], q.items[q.head:]...)
		q.head = 0
	}
}
