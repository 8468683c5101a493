package join

import (
	"fmt"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
)

// StreamTable looks up, for each record of the stream, the row of the table with the
// record's key, and gives what the joiner makes of both: the row as it is when the record is
// processed or, of a table with a history, as it was at the record's time (KIP-914). Only
// the stream has results. The joiner is Inner or Left: with Inner, records without key or
// row have no result. value writes the records to the repartition topic that keys need
// which may have changed.
//
// With.Grace lets records wait until the stream has come that much further than their
// time, so that rows that come late are met (KIP-923). The time is the stream's, as far as
// the operator has met it; nothing else moves it. Records leave in the order of their times;
// one that comes when its time is over is joined at once, and so is one without key, which
// no row can come for. The table has a history of no less than the grace. Records that wait
// are kept in a store of the operator's name and "-buffer", with value, and are logged and
// restored like any other.
func StreamTable[K, V, W, R any](s *streams.Stream[K, V], t *streams.Table[K, W], how Joiner[K, V, W, R], value serde.Serde[V], opts ...streams.With) *streams.Stream[K, R] {
	set := options(opts)
	key, _ := t.Serdes()
	t = t.Stored()
	name := named(s.Builder(), set, s.Name(), "join")
	if how.right {
		s.Builder().Fault("streams.join.outer", name, "a stream and a table have no outer join", "use Inner or Left")
	}
	s, _, _ = s.GroupByKey(key, value, side(set, "-left")).Stream()
	if set.Grace != 0 {
		set.Name = name
		return graceJoin(s, t, how, value, set)
	}
	return streams.Process(s, func(c *streams.Context[K, R]) (func(*streams.Record[K, V]) error, error) {
		n := &streamTable[K, V, W, R]{how: how, c: c}
		err := n.read(t)
		if err == nil && value != nil {
			key, _ := n.rows.Serdes()
			topic := c.ApplicationID() + "-" + name + "-left-repartition"
			c.Held(&waiting[K, V]{key: key, value: serde.Bind(value, topic, false)})
		}
		return n.take, err
	}, streams.With{Name: name, Op: "join", SameKey: true, CoPartitioned: true, Keyless: how.left}, t.Reading())
}

// graceJoin is StreamTable with a grace period.
func graceJoin[K, V, W, R any](s *streams.Stream[K, V], t *streams.Table[K, W], how Joiner[K, V, W, R], value serde.Serde[V], set streams.With) *streams.Stream[K, R] {
	fault := func(message, mend string) { s.Builder().Fault("streams.join.grace", set.Name, message, mend) }
	switch history := t.History(); {
	case set.Grace < 0:
		fault("a time to wait is less than nothing", "give With.Grace a duration of a millisecond or more")
	case history == 0:
		fault("the table has only the rows there are, and records that have waited are joined with those of their time", "give the table a With.History of "+set.Grace.String()+" or more")
	case history < set.Grace:
		fault(fmt.Sprintf("records wait for %v, and the table has a history of %v", set.Grace, history), "let With.History be no less than With.Grace")
	case value == nil:
		fault("there is nothing to write records with while they wait", "give the Serde of the stream's values")
	}
	key, _ := t.Serdes()
	store := set.Name + "-buffer"
	return streams.Process(s, func(c *streams.Context[K, R]) (func(*streams.Record[K, V]) error, error) {
		n := &graced[K, V, W, R]{streamTable: streamTable[K, V, W, R]{how: how, c: c}, grace: set.Grace.Milliseconds()}
		err := n.streamTable.read(t)
		if err == nil {
			err = n.open(store, key, value)
		}
		return n.take, err
	}, streams.With{Name: set.Name, Op: "gracejoin", SameKey: true, CoPartitioned: true, Keyless: how.left, Stores: []state.Spec{{Name: store, Form: state.TimeFirst}}}, t.Reading())
}

// streamTable is the operator of StreamTable.
type streamTable[K, V, W, R any] struct {
	how  Joiner[K, V, W, R]
	c    *streams.Context[K, R]
	rows *streams.Rows[K, W]
	past bool // the rows of the records' times are wanted
	rec  streams.Record[K, R]
}

// read opens the table.
func (n *streamTable[K, V, W, R]) read(t *streams.Table[K, W]) (err error) {
	n.rows, err = t.RowsIn(n.c)
	n.past = t.History() > 0
	return err
}

func (n *streamTable[K, V, W, R]) take(r *streams.Record[K, V]) error {
	if r.NoValue || r.NoKey && !n.how.left {
		n.c.Drop()
		return nil
	}
	return n.join(r)
}

// join sends the result of a record.
func (n *streamTable[K, V, W, R]) join(r *streams.Record[K, V]) (err error) {
	p := Pair[V, W]{Left: r.Value, HasLeft: true}
	switch {
	case r.NoKey:
	case n.past:
		p.Right, _, p.HasRight, err = n.rows.AsOf(r.Key, r.Time)
	default:
		p.Right, _, p.HasRight, err = n.rows.Get(r.Key)
	}
	if err != nil || !n.how.keeps(&p) {
		return err
	}
	n.rec = streams.Record[K, R]{Key: r.Key, NoKey: r.NoKey, Value: n.how.fn(r.Key, p), Time: r.Time, Headers: r.Headers}
	return n.c.Forward(&n.rec)
}
