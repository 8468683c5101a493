package join

import (
	"bytes"
	"errors"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// Reference is a table together with where its key stands in the rows of another.
type Reference[K, V, FK, W any] struct {
	table *streams.Table[FK, W]
	key   func(K, V) (FK, bool)
}

// On refers to a table by a foreign key: key takes it from a row, or says that the
// row has none. It must give the same for the same row.
func On[K, V, FK, W any](t *streams.Table[FK, W], key func(K, V) (fk FK, ok bool)) Reference[K, V, FK, W] {
	return Reference[K, V, FK, W]{table: t, key: key}
}

// ForeignKey joins each row of the left table with the row of another table that its
// foreign key refers to; any number of rows may refer to the same one. A change on
// either side changes the results, which have the left table's keys. The joiner is
// Inner or Left: with Inner, rows that refer to nothing have no result. value keeps
// the results, in the store that With names.
//
// The tables need not lie in equally many partitions. The other table lies in its own by
// the bytes of its keys, as Kafka's own producers cut topics: that is how what is asked
// finds its way, and the answer goes to the partition that asked. One with a
// CDC.StoredKey is dealt out anew for that (see [streams.Table.Dealt]). Each row of the left
// table subscribes at the partition of its foreign key, through the topic
// <application>-<name>-subscription-registration-topic, and is told about that key's
// row, at once and whenever it changes, through the topic
// <application>-<name>-subscription-response-topic; both are named as by Kafka
// Streams (KIP-213). An answer carries a hash of the row that asked, and is passed
// over when the row has changed since, because then a newer answer is on its way. A
// row's answers arrive later than what they are about, so that for a short time a
// result can be missing or be that of an older row, as in Kafka Streams. Unlike there,
// every subscription is answered, if only by saying that there is no row: without that,
// a result stays that has lost its row while its own side was changing.
func ForeignKey[K, V, FK, W, R any](l *streams.Table[K, V], on Reference[K, V, FK, W], how Joiner[K, V, W, R], value serde.Serde[R], opts ...streams.With) *streams.Table[K, R] {
	set := options(opts)
	l, r := l.Stored(), on.table.Dealt().Stored()
	key, _ := l.Serdes()
	foreign, row := r.Serdes()
	f := &foreignKey[K, V, FK, W, R]{left: l, right: r, key: on.key, how: how}
	b := streams.Changes(l, false).Builder()
	f.name = named(b, set, l.Name(), "foreignkey")
	if how.right {
		b.Fault("streams.join.outer", f.name, "a join by foreign key is not outer", "use Inner or Left")
	}

	asked := streams.Process(streams.Changes(l, true), f.subscriber(foreign),
		streams.With{Name: f.name + "-subscription-registration-processor", Op: "subscribe"}, l.Reading()).
		Repartition(foreign, subscriptions[K]{key}, streams.With{Name: f.name + "-subscription-registration", Topic: f.name + registrationTopic})

	// Subscriptions and the rows they are about meet in one operator.
	arrivals := streams.MapValues(asked, func(_ FK, s subscription[K]) arrival[K, W] { return arrival[K, W]{sub: s, asks: true} },
		streams.With{Name: f.name + "-subscription-receive"})
	changes := streams.MapValues(streams.Changes(r, false), func(_ FK, c streams.Change[W]) arrival[K, W] { return arrival[K, W]{change: c} },
		streams.With{Name: f.name + "-foreign-changes"})
	store := f.name + "-subscription-store"
	told := streams.Process(arrivals.Merge(changes, streams.With{Name: f.name + "-foreign-merge"}), f.publisher(store),
		streams.With{Name: f.name + "-subscription-join-foreign", Op: "publish", CoPartitioned: true, Keyless: true, Stores: []state.Spec{{Name: store}}}, r.Reading()).
		PartitionBy(func(r streams.Record[[]byte, answer[W]], _ int) int { return int(r.Value.partition) }).
		Repartition(serde.Bytes{}, answers[W]{row}, streams.With{Name: f.name + "-subscription-response", Topic: f.name + responseTopic})
	return f.resolve(told, key, value, set)
}

// The ends of the names of the two topics.
const (
	registrationTopic = "-subscription-registration-topic"
	responseTopic     = "-subscription-response-topic"
)

// foreignKey is what the operators of one join by foreign key know.
type foreignKey[K, V, FK, W, R any] struct {
	name  string
	left  *streams.Table[K, V]
	right *streams.Table[FK, W]
	key   func(K, V) (FK, bool)
	how   Joiner[K, V, W, R]
}

// subscriber turns changes of left rows into subscriptions.
type subscriber[K, V, FK, W, R any] struct {
	f    *foreignKey[K, V, FK, W, R]
	c    *streams.Context[FK, subscription[K]]
	rows *streams.Rows[K, V]
	same serde.Serde[FK]
	out  streams.Record[FK, subscription[K]]

	row, before, after []byte // scratch
}

func (f *foreignKey[K, V, FK, W, R]) subscriber(same serde.Serde[FK]) func(*streams.Context[FK, subscription[K]]) (func(*streams.Record[K, streams.Change[V]]) error, error) {
	return func(c *streams.Context[FK, subscription[K]]) (func(*streams.Record[K, streams.Change[V]]) error, error) {
		rows, err := f.left.RowsIn(c)
		topic := c.ApplicationID() + "-" + f.name + registrationTopic
		n := &subscriber[K, V, FK, W, R]{f: f, c: c, rows: rows, same: serde.Bind(same, topic, true)}
		return n.take, err
	}
}

// reference is a foreign key that a row has, or has not.
type reference[FK any] struct {
	key FK
	has bool
}

func (n *subscriber[K, V, FK, W, R]) take(r *streams.Record[K, streams.Change[V]]) error {
	c := &r.Value
	if r.NoKey || !c.HasOld && !c.HasNew {
		return nil
	}
	if c.Past {
		n.c.Drop() // Rows of the past refer to nothing (KIP-914).
		return nil
	}
	var was, is reference[FK]
	if c.HasOld {
		was.key, was.has = n.f.key(r.Key, c.Old)
	}
	sub := subscription[K]{key: r.Key, partition: n.c.Partition()}
	if c.HasNew {
		is.key, is.has = n.f.key(r.Key, c.New)
		if err := n.mark(r.Key, &sub); err != nil {
			return err
		}
	}
	moved, err := n.moved(was, is)
	if err != nil {
		return err
	}
	if n.f.how.left {
		return n.subscribeLeft(r, sub, was, is, moved)
	}
	return n.subscribeInner(r, sub, was, is, moved)
}

// mark notes the hash of the row as it is stored, with which the answer to it is
// compared.
func (n *subscriber[K, V, FK, W, R]) mark(k K, sub *subscription[K]) error {
	key, err := n.rows.Key(k)
	if err != nil {
		return err
	}
	if n.row, sub.hasHash, err = n.rows.Bytes().Get(n.row[:0], key); sub.hasHash && err == nil {
		sub.hash = hashOfRow(n.row)
	}
	return err
}

// hashOfRow returns the hash of a timed row without its time.
func hashOfRow(timed []byte) hash {
	_, row := state.SplitTimed(timed)
	return hashOf(row)
}

// moved tells whether the row refers to something else than before. Keys are
// compared as they are written.
func (n *subscriber[K, V, FK, W, R]) moved(was, is reference[FK]) (bool, error) {
	if !was.has || !is.has {
		return was.has != is.has, nil
	}
	var err error
	if n.before, err = n.same.Append(n.before[:0], was.key); err == nil {
		n.after, err = n.same.Append(n.after[:0], is.key)
	}
	return !bytes.Equal(n.before, n.after), err
}

// subscribeLeft: every row has a result, so every change has an answer. A row that
// refers to nothing asks nowhere in particular.
func (n *subscriber[K, V, FK, W, R]) subscribeLeft(r *streams.Record[K, streams.Change[V]], sub subscription[K], was, is reference[FK], moved bool) error {
	if was.has && moved {
		if err := n.send(r, sub, was, forget); err != nil {
			return err
		}
	}
	return n.send(r, sub, is, tell)
}

// subscribeInner: a row that refers to nothing has no result, and is only heard of
// when it may have had one before.
func (n *subscriber[K, V, FK, W, R]) subscribeInner(r *streams.Record[K, streams.Change[V]], sub subscription[K], was, is reference[FK], moved bool) error {
	switch {
	case !is.has && !was.has:
		if r.Value.HasNew {
			n.c.Drop()
		}
		return nil
	case !is.has:
		return n.send(r, sub, was, forgetAndTell)
	case was.has && moved:
		if err := n.send(r, sub, was, forget); err != nil {
			return err
		}
	}
	// Whether there is an earlier result cannot be known: the answer that would have
	// removed it may have been passed over because the row had changed.
	return n.send(r, sub, is, tell)
}

func (n *subscriber[K, V, FK, W, R]) send(r *streams.Record[K, streams.Change[V]], sub subscription[K], to reference[FK], do instruction) error {
	sub.do = do
	n.out = streams.Record[FK, subscription[K]]{Key: to.key, NoKey: !to.has, Value: sub, Time: r.Time, Headers: r.Headers}
	return n.c.Forward(&n.out)
}

// arrival is a subscription or a change of a row that is subscribed to.
type arrival[K, W any] struct {
	asks   bool
	sub    subscription[K]
	change streams.Change[W]
}

// publisher keeps the subscriptions to the rows of its partition and answers them.
type publisher[K, V, FK, W, R any] struct {
	c    *streams.Context[[]byte, answer[W]]
	subs state.Store
	rows *streams.Rows[FK, W]
	sub  subscription[K] // the one being told
	out  streams.Record[[]byte, answer[W]]

	kbuf, vbuf []byte // scratch
}

func (f *foreignKey[K, V, FK, W, R]) publisher(store string) func(*streams.Context[[]byte, answer[W]]) (func(*streams.Record[FK, arrival[K, W]]) error, error) {
	return func(c *streams.Context[[]byte, answer[W]]) (func(*streams.Record[FK, arrival[K, W]]) error, error) {
		n := &publisher[K, V, FK, W, R]{c: c}
		var err error
		if n.rows, err = f.right.RowsIn(c); err == nil {
			key, row := n.rows.Serdes()
			c.Held(&waiting[FK, arrival[K, W]]{key: key, value: arrivals[K, W]{row}})
			n.subs, err = c.Store(store)
		}
		return n.take, err
	}
}

func (n *publisher[K, V, FK, W, R]) take(r *streams.Record[FK, arrival[K, W]]) error {
	n.out = streams.Record[[]byte, answer[W]]{Time: r.Time, Headers: r.Headers}
	if !r.NoKey {
		key, err := n.rows.Key(r.Key)
		if err != nil {
			return err
		}
		layout := n.rows.Layout()
		n.kbuf = appendForeign(n.kbuf[:0], key[layout.Prefix():])
	}
	switch {
	case r.NoValue || r.NoKey && (!r.Value.asks || r.Value.sub.do != tell):
		n.c.Drop()
		return nil
	case r.Value.asks:
		return n.subscribe(r)
	case r.Value.change.Past:
		n.c.Drop()
		return nil
	}
	return n.publish(r.Value.change)
}

// subscribe keeps or removes a subscription and answers it.
func (n *publisher[K, V, FK, W, R]) subscribe(r *streams.Record[FK, arrival[K, W]]) error {
	sub := &r.Value.sub
	if !r.NoKey {
		if err := n.keep(sub); err != nil {
			return err
		}
	}
	if sub.do == forget {
		return nil
	}
	a := answer[W]{hash: sub.hash, hasHash: sub.hasHash, partition: sub.partition}
	if !r.NoKey {
		row, ms, found, err := n.rows.Get(r.Key)
		if err != nil {
			return err
		}
		if found {
			n.out.Time = max(n.out.Time, ms)
		}
		if found && sub.do != forgetAndTell {
			a.row, a.hasRow = row, true
		}
	}
	if sub.do == tellIfThere && !a.hasRow {
		return nil
	}
	return n.tell(sub.raw, a)
}

// keep stores the subscription under the foreign key, which kbuf has, and the
// primary key.
func (n *publisher[K, V, FK, W, R]) keep(sub *subscription[K]) (err error) {
	n.kbuf = append(n.kbuf, sub.raw...)
	if sub.do == forget || sub.do == forgetAndTell {
		return n.subs.Delete(n.kbuf)
	}
	n.vbuf = sub.appendRaw(n.vbuf[:0])
	return n.subs.Put(n.kbuf, n.vbuf)
}

// publish tells all who subscribed to a row that it changed.
func (n *publisher[K, V, FK, W, R]) publish(c streams.Change[W]) error {
	it := n.subs.Scan(state.Range{Lo: n.kbuf, Hi: state.PrefixEnd(n.kbuf)})
	for it.Next() {
		err := n.sub.read(it.Value())
		if err == nil {
			err = n.tell(n.sub.raw, answer[W]{
				hash: n.sub.hash, hasHash: n.sub.hasHash, row: c.New, hasRow: c.HasNew, partition: n.sub.partition,
			})
		}
		if err != nil {
			return errors.Join(err, it.Close())
		}
	}
	return it.Close()
}

// tell sends an answer to the row of a key.
func (n *publisher[K, V, FK, W, R]) tell(key []byte, a answer[W]) error {
	n.out.Key, n.out.Value = key, a
	return n.c.Forward(&n.out)
}
