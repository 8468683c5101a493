package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// oracle reads everything that reaches Kafka and compares it with what the database
// knows to be true: while the simulation runs, order, duplicates and confirmed
// positions; at its end, completeness.
type oracle struct {
	db       *database
	cluster  *kfake.Cluster
	exactly  bool
	note     func(kind, text string)
	convert  connect.Converter
	client   *kgo.Client
	offsets  string
	confirms chan confirmation

	mu       sync.Mutex // Guards what follows.
	moved    *sync.Cond
	read     map[place]int64 // The offset behind what was read.
	parts    map[place]*lane
	seen     map[ident]int64 // Where a change was first seen: its offset.
	at       map[ident]place
	keys     map[string]place // Where a key is.
	folded   map[string]map[int64]row
	stored   []storedAt
	replays  int
	records  int
	waiting  map[place]int64 // A deletion whose tombstone must follow: its id.
	durable  int             // Transactions known to be complete in Kafka, from the first.
	from     uint64          // What committed before was in the snapshot.
	fromSet  bool
	confirmd uint64
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// ident is who a change is: its transaction's xid, and its ordinal or, for a
// deletion without one, the row it deleted.
type ident struct {
	xid   uint32
	table string
	n, id int64
}

// lane is what came through one partition, each change once, in the order in which it
// came first.
type lane struct {
	order []ident
	index map[ident]int
	at    int // Where the last record stands in order.
}

// storedAt is a position that was stored: behind which record of the topic, and which.
type storedAt struct {
	offset   int64
	end      uint64
	complete bool // No snapshot is under way.
}

// confirmation is a position that was confirmed, and how far the partitions could be
// read at that moment.
type confirmation struct {
	lsn    uint64
	stable map[place]int64
}

func newOracle(db *database, cluster *kfake.Cluster, note func(kind, text string)) *oracle {
	o := &oracle{
		db: db, cluster: cluster, note: note, offsets: offsetsTopic, confirms: make(chan confirmation, 1<<16),
		read: map[place]int64{}, parts: map[place]*lane{}, seen: map[ident]int64{}, at: map[ident]place{}, keys: map[string]place{},
		folded: map[string]map[int64]row{}, waiting: map[place]int64{},
	}
	o.moved = sync.NewCond(&o.mu)
	return o
}

// dataTopics are those of the tables.
func (o *oracle) dataTopics() (topics []string) {
	for _, t := range o.db.tables {
		topics = append(topics, topicOf(t.name))
	}
	return topics
}

func topicOf(table string) string { return "sim.public." + table }

// confirmed takes in that a position was confirmed to the server.
func (o *oracle) confirmed(position uint64) {
	c := confirmation{lsn: position, stable: map[place]int64{}}
	for _, topic := range append(o.dataTopics(), o.offsets) {
		for _, p := range o.cluster.PartitionInfos(topic) {
			c.stable[place{topic, p.Partition}] = p.LastStableOffset
		}
	}
	o.confirms <- c
}

// run reads until ctx is done.
func (o *oracle) run(ctx context.Context) error {
	for {
		fetches := o.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		o.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) {
			p := place{r.Topic, r.Partition}
			if !r.Attrs.IsControl() {
				o.take(ctx, p, r)
			}
			o.read[p] = r.Offset + 1
		})
		o.moved.Broadcast()
		o.mu.Unlock()
	}
}

// judge looks at each position that was confirmed: everything before it must have been
// readable in Kafka, and a position behind it stored.
func (o *oracle) judge(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.moved.Broadcast()
	})
	defer stop()
	for {
		var c confirmation
		select {
		case <-ctx.Done():
			return nil
		case c = <-o.confirms:
		}
		o.mu.Lock()
		for ctx.Err() == nil && !o.reached(c.stable) {
			o.moved.Wait()
		}
		if ctx.Err() == nil {
			o.check(c)
		}
		o.mu.Unlock()
	}
}

func (o *oracle) reached(stable map[place]int64) bool {
	for p, offset := range stable {
		if o.read[p] < offset {
			return false
		}
	}
	return true
}

// check compares a confirmed position with what was stored and durable then. The
// oldest place that the server itself chose for the slot may always be named.
func (o *oracle) check(c confirmation) {
	limit := c.stable[place{o.offsets, 0}]
	var stored uint64
	for i := len(o.stored) - 1; i >= 0; i-- {
		if s := o.stored[i]; s.offset < limit && s.complete {
			stored = s.end
			break
		}
	}
	if c.lsn > stored {
		o.note("confirmed-early", fmt.Sprintf("%s was confirmed when %s was stored", lsn(c.lsn), lsn(stored)))
	}
	o.db.mu.Lock()
	defer o.db.mu.Unlock()
	for ; o.durable < len(o.db.committed); o.durable++ {
		tx := o.db.committed[o.durable]
		if tx.commit >= c.lsn {
			return
		}
		if !o.fromSet || tx.commit < o.from {
			continue
		}
		for i := range tx.changes {
			id := identOf(tx, i)
			if offset, ok := o.seen[id]; tx.changes[i].undone == 0 && (!ok || offset >= c.stable[o.at[id]]) {
				o.note("confirmed-early", fmt.Sprintf("%s was confirmed, and change %d of transaction %d, which committed at %s, was not in Kafka", lsn(c.lsn), i, tx.xid, lsn(tx.commit)))
				return
			}
		}
	}
}

// identOf is who the i-th change of a transaction is.
func identOf(tx *transaction, i int) ident {
	c := &tx.changes[i]
	if c.op == 'D' {
		return ident{tx.xid, c.table.name, -1, c.old.id}
	}
	return ident{tx.xid, c.table.name, int64(i), 0}
}

// take looks at one record; the caller holds the lock.
func (o *oracle) take(ctx context.Context, p place, r *kgo.Record) {
	if p.topic == o.offsets {
		o.takeOffset(r)
		return
	}
	o.records++
	owed, waiting := o.waiting[p]
	delete(o.waiting, p)
	if waiting && r.Value == nil {
		return
	}
	if r.Value == nil {
		o.note("tombstone", fmt.Sprintf("%s-%d@%d: a tombstone follows no deletion", p.topic, p.partition, r.Offset))
		return
	}
	e, err := o.event(ctx, r)
	if err != nil {
		o.note("unreadable", fmt.Sprintf("%s-%d@%d: %v", p.topic, p.partition, r.Offset, err))
		return
	}
	key := p.topic + fmt.Sprint(e.row.id)
	if at, ok := o.keys[key]; ok && at != p {
		o.note("partition", fmt.Sprintf("the key %d of %s is in two partitions", e.row.id, p.topic))
	}
	o.keys[key] = p
	o.fold(p.topic, e)
	if e.op == "d" {
		o.waiting[p] = e.row.id
	}
	again := e.op != "r" && o.place(p, e, r.Offset)
	// A writer that ended between the two begins again before the deletion.
	if waiting && (o.exactly || !again) {
		o.note("tombstone", fmt.Sprintf("%s: the deletion of %d is followed by another record", p.topic, owed))
	}
}

// event is what a record says.
type event struct {
	op    string
	xid   uint32
	table string
	row   row // Of a deletion: the old one.
}

func (o *oracle) event(ctx context.Context, r *kgo.Record) (e event, err error) {
	_, v, err := o.convert.ToConnect(ctx, r.Topic, r.Value)
	if err != nil {
		return e, err
	}
	envelope := v.Struct()
	source := envelope.Get("source").Struct()
	e.op, e.table = envelope.Get("op").Str(), source.Get("table").Str()
	if x := source.Get("txId"); !x.IsNull() {
		e.xid = uint32(x.Int())
	}
	image := envelope.Get("after")
	if e.op == "d" {
		image = envelope.Get("before")
	}
	s := image.Struct()
	number := func(name string) int64 {
		if v := s.Get(name); !v.IsNull() {
			return v.Int()
		}
		return 0
	}
	e.row = row{id: number("id"), tx: number("tx"), n: number("n")}
	if note := s.Get("note"); !note.IsNull() {
		e.row.note = note.Str()
	}
	return e, nil
}

func (o *oracle) fold(topic string, e event) {
	if o.folded[topic] == nil {
		o.folded[topic] = map[int64]row{}
	}
	if e.op == "d" {
		delete(o.folded[topic], e.row.id)
	} else {
		o.folded[topic][e.row.id] = e.row
	}
}

// place puts an event where it belongs and says what is wrong with that. It tells whether
// the event has come before.
func (o *oracle) place(p place, e event, offset int64) (again bool) {
	id := ident{e.xid, e.table, e.row.n, 0}
	if e.op == "d" {
		id = ident{e.xid, e.table, -1, e.row.id}
	} else if int64(e.xid) != e.row.tx {
		o.note("transaction", fmt.Sprintf("%s-%d@%d: a change of transaction %d says that it is of %d", p.topic, p.partition, offset, e.row.tx, e.xid))
	}
	l := o.parts[p]
	if l == nil {
		l = &lane{index: map[ident]int{}, at: -1}
		o.parts[p] = l
	}
	if i, known := l.index[id]; known {
		if i != l.at+1 {
			o.replays++
			if o.exactly {
				o.note("duplicate", fmt.Sprintf("%s-%d@%d: change %d of transaction %d came again", p.topic, p.partition, offset, id.n, id.xid))
			} else if i > l.at {
				o.note("order", fmt.Sprintf("%s-%d@%d: a replay leaves out %d changes", p.topic, p.partition, offset, i-l.at-1))
			}
		}
		l.at = i
		return true
	}
	if l.at != len(l.order)-1 {
		o.note("order", fmt.Sprintf("%s-%d@%d: a new change came before the end of a replay", p.topic, p.partition, offset))
	}
	if n := len(l.order); n > 0 && !o.ordered(l.order[n-1], id) {
		o.note("order", fmt.Sprintf("%s-%d@%d: change %v came behind %v", p.topic, p.partition, offset, id, l.order[n-1]))
	}
	l.index[id], l.at = len(l.order), len(l.order)
	l.order = append(l.order, id)
	o.seen[id], o.at[id] = offset, p
	return false
}

// ordered tells whether a comes before b in the order of commits.
func (o *oracle) ordered(a, b ident) bool {
	o.db.mu.Lock()
	defer o.db.mu.Unlock()
	at, ai := o.db.find(a)
	bt, bi := o.db.find(b)
	if bt == nil || bt.changes[bi].undone != 0 {
		o.note("phantom", fmt.Sprintf("change %v never committed", b))
		return true
	}
	return at == nil || at.number < bt.number || at == bt && ai < bi
}

// find returns a committed change; the caller holds the lock.
func (d *database) find(id ident) (*transaction, int) {
	tx := d.byXID[id.xid]
	if tx == nil {
		return nil, 0
	}
	if id.n >= 0 && int(id.n) < len(tx.changes) {
		return tx, int(id.n)
	}
	for n := range tx.changes {
		if c := &tx.changes[n]; c.op == 'D' && c.undone == 0 && c.table.name == id.table && c.old.id == id.id {
			return tx, n
		}
	}
	return nil, 0
}

// takeOffset notes a position that was stored.
func (o *oracle) takeOffset(r *kgo.Record) {
	var v struct {
		End       uint64 `json:"lsn_commit"`
		Snapshot  string `json:"snapshot"`
		Completed bool   `json:"snapshot_completed"`
	}
	if r.Value == nil || json.Unmarshal(r.Value, &v) != nil {
		return
	}
	s := storedAt{offset: r.Offset, end: v.End, complete: v.Snapshot == "" || v.Completed}
	if n := len(o.stored); n > 0 && o.stored[n-1].complete && s.complete && s.end < o.stored[n-1].end {
		o.note("offset-back", fmt.Sprintf("%s was stored after %s", lsn(s.end), lsn(o.stored[n-1].end)))
	}
	o.stored = append(o.stored, s)
	if s.complete && !o.fromSet {
		o.from, o.fromSet = o.db.begun(s.end), true
	}
}

// begun tells whether a position was stored.
func (o *oracle) begun() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.stored) > 0
}

// begun returns where the reading of the log began, given the first position that was
// stored: at one of the places that the server gave to slots.
func (d *database) begun(first uint64) (at uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.begins {
		if b <= first {
			at = max(at, b)
		}
	}
	return at
}

// missing returns how many changes have not come yet, and one of them.
func (o *oracle) missing() (n int, example string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.db.mu.Lock()
	defer o.db.mu.Unlock()
	for _, tx := range o.db.committed {
		if o.fromSet && tx.commit < o.from {
			continue
		}
		for i := range tx.changes {
			if _, ok := o.seen[identOf(tx, i)]; !ok && tx.changes[i].undone == 0 {
				if n++; n == 1 {
					example = fmt.Sprintf("change %d of transaction %d, which committed at %s", i, tx.xid, lsn(tx.commit))
				}
			}
		}
	}
	return n, example
}

// equal compares the tables with what their topics come to.
func (o *oracle) equal() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.db.mu.Lock()
	defer o.db.mu.Unlock()
	for _, t := range o.db.tables {
		topic := o.folded[topicOf(t.name)]
		for id, r := range t.rows {
			if topic[id] != r {
				o.note("state", fmt.Sprintf("%s: row %d is %v and in the topic %v", t.name, id, r, topic[id]))
			}
		}
		for id, r := range topic {
			if _, ok := t.rows[id]; !ok {
				o.note("state", fmt.Sprintf("%s: row %d, %v, is in the topic only", t.name, id, r))
			}
		}
	}
}
