package txn

import (
	"cmp"
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

	size int64
	done bool
}

// Gate holds events until their transaction is there whole. It is used by one goroutine.
type Gate[R any] struct {
	source *Source
	parts  map[Part]*part[R]
	open   map[Epoch]*gathering[R]
	ends   queueOf[ended]
	done   Epoch
	// endless are the transactions, in order, of which there are events and no end;
	// orphans are those of which the end will not come, because later ones have come.
	endless, orphans []Epoch
	// based is false as long as what came before is not all there, and so only a
	// snapshot makes a state of the database.
	based bool
	held  int64
}

// part is what is known of one partition.
type part[R any] struct {
	fifo   queueOf[*Held[R]]
	next   int64 // after the last record seen; -1 before the first one
	newest Epoch
}

// gathering is a transaction that is not known to be whole.
type gathering[R any] struct {
	events []*Held[R]
	counts map[string]int64 // by collection
	orders map[int64]bool
	keys   map[string]bool // of a snapshot
	bytes  int64
}

// ended is the end of a transaction whose turn has not come.
type ended struct {
	End
	offset int64
}

// NewGate returns a Gate for the partitions of the captured topics.
func NewGate[R any](s *Source, parts []Part) *Gate[R] {
	g := &Gate[R]{source: s, parts: map[Part]*part[R]{}}
	for _, p := range append(slices.Clone(parts), Part{Topic: s.Topic}) {
		g.parts[p] = nil
	}
	g.Reset(0, true)
	return g
}

// Reset forgets everything that is held: what comes is from after the transaction done.
// based says that all of what comes after it is still there.
func (g *Gate[R]) Reset(done Epoch, based bool) {
	for p := range g.parts {
		g.parts[p] = &part[R]{next: -1}
	}
	g.open, g.ends, g.done, g.based, g.held = map[Epoch]*gathering[R]{}, queueOf[ended]{}, done, based, 0
	g.endless, g.orphans = nil, nil
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
	if want := g.source.TopicOf(e.Collection); want != p.Topic {
		return &connect.Error{
			Code: "streams.transaction.collection", Class: connect.ClassConfig, Place: "topic " + p.Topic,
			Message: fmt.Sprintf("it has events of table %s, which are expected in topic %s", e.Collection, want),
			Mend:    "name the table's topic in Collections of the transactions' Source",
		}
	}
	at.newest = max(at.newest, e.Epoch)
	if e.Epoch <= g.done {
		return nil // It was sent again.
	}
	o := g.open[e.Epoch]
	if o == nil {
		o = &gathering[R]{counts: map[string]int64{}, orders: map[int64]bool{}, keys: map[string]bool{}}
		g.open[e.Epoch] = o
		g.begun(e.Epoch)
	}
	switch {
	case e.Order > 0:
		if o.orders[e.Order] {
			return nil
		}
		o.orders[e.Order] = true
	case key != nil:
		row := p.Topic + "\x00" + string(key)
		if o.keys[row] {
			return nil
		}
		o.keys[row] = true
		size += len(row)
	}
	h.size = int64(size) + eventOverhead
	at.fifo.push(&h)
	o.events = append(o.events, &h)
	o.counts[e.Collection]++
	o.bytes += h.size
	g.held += h.size
	return nil
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
	g.held += eventOverhead
	return nil
}

// Next returns the events of the next transaction, in their order, when it is there
// whole, and moves on to it. There may be none in the captured topics.
func (g *Gate[R]) Next() (at Epoch, events []*Held[R], ok bool) {
	g.rebase()
	if g.ends.len() == 0 || !g.based || len(g.orphans) > 0 {
		return 0, nil, false
	}
	end := g.ends.first()
	o := g.open[end.Epoch]
	for collection, n := range end.Counts {
		if n > g.have(o, collection) {
			return 0, nil, false
		}
	}
	g.drop(end.Epoch)
	g.done = end.Epoch
	g.ends.pop()
	g.held -= eventOverhead
	if o == nil {
		return end.Epoch, nil, true
	}
	slices.SortStableFunc(o.events, func(a, b *Held[R]) int { return int(a.Order - b.Order) })
	return end.Epoch, o.events, true
}

// have is how many events of a table are there, of those that can be.
func (g *Gate[R]) have(o *gathering[R], collection string) int64 {
	switch {
	case !g.captured(collection):
		return 1<<63 - 1
	case o == nil:
		return 0
	}
	return o.counts[collection]
}

func (g *Gate[R]) captured(collection string) bool {
	topic := g.source.TopicOf(collection)
	for p := range g.parts {
		if p.Topic == topic && topic != g.source.Topic {
			return true
		}
	}
	return false
}

// drop lets the events of a transaction go.
func (g *Gate[R]) drop(at Epoch) {
	o := g.open[at]
	if o == nil {
		return
	}
	delete(g.open, at)
	g.held -= o.bytes
	for _, h := range o.events {
		h.done = true
		for fifo := &g.parts[h.Part].fifo; fifo.len() > 0 && fifo.first().done; {
			fifo.pop()
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
		g.based = true
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
	case at.fifo.len() > 0:
		return at.fifo.first().Offset
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

// Held is about how many bytes are held.
func (g *Gate[R]) Held() int64 { return g.held }

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
		return at.fifo.len() > 0
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
	if len(g.orphans) > 0 {
		return g.incomplete(slices.Min(g.orphans), "its end is not in topic "+g.source.Topic)
	}
	o := g.open[end.Epoch]
	for collection, n := range end.Counts {
		have := g.have(o, collection)
		if n > have && g.allAhead(g.source.TopicOf(collection)) {
			return g.incomplete(end.Epoch, fmt.Sprintf("it has %d events of table %s, of which %d are in topic %s", n, collection, have, g.source.TopicOf(collection)))
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

func (g *Gate[R]) tooLarge(bytes int64, what string) error {
	if bytes <= g.source.Limit() {
		return nil
	}
	return &connect.Error{
		Code: "streams.transaction.size", Class: connect.ClassFatal, Place: "topic " + g.source.Topic,
		Message: fmt.Sprintf("%d bytes are held, more than the %d that may be: %s", bytes, g.source.Limit(), what),
		Mend:    "raise MaxBytes of the transactions' Source; a snapshot is held whole, too",
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
