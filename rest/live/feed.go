package live

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
	rows "github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/sql"
)

// feed is one run of a query and what it has given. It implements sql.Follower.
type feed struct {
	limits Limits
	cancel context.CancelFunc
	// alone says that one client follows, for which the run waits when the ring is full.
	alone bool

	begun   chan struct{} // closed when begin, table and form are set
	current chan struct{} // closed when all rows are there that were, and at the end
	begin   []byte        // the first event of each client
	table   bool
	form    form

	changes []change // that the record has made which is being processed; the run's

	mu      sync.Mutex // guards the following
	clients int
	rows    map[string]*list.Element // of a table, by key
	order   *list.List               // of *folded, the one that was there longest first
	held    int64                    // bytes of rows
	at      rows.Position            // how far the topics have been read
	since   rows.Position            // how far they had been where the ring begins
	ring    []*page
	first   int   // the number of the first page of the ring
	bytes   int64 // of the ring
	open    page  // being written
	sent    time.Time
	timer   *time.Timer   // ends the open page
	news    chan struct{} // closed when there is a page, or the end
	read    chan struct{} // alone: one element, the client has read
	err     error
}

// folded is a row of a table, as the event that gives it.
type folded struct{ data []byte }

// change is the event of a row, without the line that ends it.
type change struct {
	key, data []byte
	gone      bool
}

// rowOverhead is about what a row takes in memory besides its bytes.
const rowOverhead = 200

// pageBytes is how large a page gets before another is begun.
const pageBytes = 64 << 10

func newFeed(l Limits, alone bool) *feed {
	return &feed{
		limits: l, alone: alone, begun: make(chan struct{}), current: make(chan struct{}), news: make(chan struct{}), read: make(chan struct{}, 1),
		rows: map[string]*list.Element{}, order: list.New(), at: rows.Position{}, since: rows.Position{},
	}
}

// run runs the query until it ends, or ctx does.
func (f *feed) run(ctx context.Context, run func(context.Context, sql.Follower) error) {
	err := func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("the query ended in a panic: %v", v)
			}
		}()
		return run(ctx, f)
	}()
	if err == nil {
		err = errEnded
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	f.publish()
	close(f.news)
	closeOnce(f.begun)
	closeOnce(f.current)
}

// errEnded says that a query was ended from here.
var errEnded = errors.New("the query has ended")

func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// Begin implements sql.Follower.
func (f *feed) Begin(h sql.Header, table bool) error {
	f.form, f.table = newForm(h), table
	f.begin = f.form.begin(table)
	close(f.begun)
	return nil
}

// Row implements sql.Follower.
func (f *feed) Row(r sql.Row, key []byte) error {
	f.changes = append(f.changes, change{bytes.Clone(key), f.form.event(nil, r), r.Tombstone})
	return nil
}

// fold keeps a row of a table, or forgets it.
func (f *feed) fold(c change) error {
	old := f.rows[string(c.key)]
	if old != nil {
		f.held -= int64(len(old.Value.(*folded).data)+len(c.key)) + rowOverhead
	}
	if c.gone {
		if old != nil {
			f.order.Remove(old)
			delete(f.rows, string(c.key))
		}
		return nil
	}
	data := append(bytes.Clone(c.data), '\n')
	if f.held += int64(len(data)+len(c.key)) + rowOverhead; f.held > f.limits.Rows {
		return &connect.Error{
			Code: "live.too_many_rows", Class: connect.ClassFatal, Place: "a subscription",
			Message: fmt.Sprintf("the rows of the query take more than %d bytes", f.limits.Rows),
			Mend:    "narrow the query with WHERE, select fewer columns, or raise rest.subscribe.max.bytes",
		}
	}
	if old != nil {
		old.Value = &folded{data} // Clients may be reading the one before.
		return nil
	}
	f.rows[string(c.key)] = f.order.PushBack(&folded{data})
	return nil
}

// Passed implements sql.Follower.
func (f *feed) Passed(topic string, partition int32, next int64) error {
	full, err := f.pass(topic, partition, next)
	if full {
		<-f.read
	}
	return err
}

// pass makes visible what a record has changed. full says that the ring is, of one client.
func (f *feed) pass(topic string, partition int32, next int64) (full bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at.Merge(rows.Position{topic: {partition: next}})
	if f.table {
		for _, c := range f.changes {
			if err := f.fold(c); err != nil {
				return false, err
			}
		}
	}
	select {
	case <-f.current:
		f.write(mark{topic: topic, partition: partition, next: next})
	default: // The rows come first.
	}
	clear(f.changes)
	f.changes = f.changes[:0]
	f.publishSoon()
	return f.alone && f.bytes > f.limits.Ring, nil
}

// write puts the events of a record into the open page. The last one has the id.
func (f *feed) write(m mark) {
	for i, c := range f.changes {
		f.open.data = append(f.open.data, c.data...)
		if i == len(f.changes)-1 {
			f.open.data = append(appendID(append(f.open.data, "id: "...), f.at), '\n')
			m.end = len(f.open.data) + 1
			f.open.marks = append(f.open.marks, m)
		}
		f.open.data = append(f.open.data, '\n')
	}
}

// publishSoon ends the open page when it is time.
func (f *feed) publishSoon() {
	switch due := time.Until(f.sent.Add(f.pace())); {
	case len(f.open.data) == 0:
	case due <= 0 || len(f.open.data) >= pageBytes:
		f.publish()
	case f.timer == nil:
		f.timer = time.AfterFunc(due, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.timer = nil
			f.publish()
		})
	}
}

// Current implements sql.Follower.
func (f *feed) Current(at rows.Position) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at.Merge(at)
	f.since.Merge(f.at)
	close(f.current)
	return nil
}

// pace is how long changes are gathered before they are sent: to wake many clients for each
// change by itself would be most of the work.
func (f *feed) pace() time.Duration {
	return min(max(time.Duration(f.clients)*10*time.Microsecond, 2*time.Millisecond), 100*time.Millisecond)
}

// publish ends the open page. f.mu is held.
func (f *feed) publish() {
	if len(f.open.data) == 0 {
		return
	}
	p := f.open
	f.open = page{}
	f.ring, f.bytes = append(f.ring, &p), f.bytes+int64(len(p.data))
	for f.bytes > f.limits.Ring && len(f.ring) > 1 && !f.alone {
		f.drop()
	}
	f.sent = time.Now()
	if f.err == nil {
		close(f.news)
		f.news = make(chan struct{})
	}
}

// drop forgets the first page of the ring.
func (f *feed) drop() {
	p := f.ring[0]
	for _, m := range p.marks {
		f.since.Merge(rows.Position{m.topic: {m.partition: m.next}})
	}
	f.ring[0] = nil
	f.ring, f.first, f.bytes = f.ring[1:], f.first+1, f.bytes-int64(len(p.data))
}
