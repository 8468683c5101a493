package streamstest

import (
	"context"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/txn"
)

// Driver runs one topology. Errors end the test it was made for.
type Driver struct {
	tb    testing.TB
	local *streams.Local
	held  bool
}

// App is the application id of a Driver's topology, from which the names of its
// internal topics begin.
const App = "test"

// New opens a topology with empty stores. The wall clock stands at the start of
// the year 2000, UTC.
func New(tb testing.TB, t *streams.Topology) *Driver {
	tb.Helper()
	local, err := streams.NewLocal(t, App)
	if err != nil {
		tb.Fatal(err)
	}
	local.KeepHistory()
	return &Driver{tb: tb, local: local}
}

// InTransactions runs the topology in transaction mode. It is called before anything is
// piped in.
func (d *Driver) InTransactions(s *txn.Source) {
	d.tb.Helper()
	if err := d.local.InTransactions(s); err != nil {
		d.tb.Fatal(err)
	}
}

// Hold stops committing after every record; from now on Commit does it.
func (d *Driver) Hold() { d.held = true }

// Commit commits what was held.
func (d *Driver) Commit() {
	d.tb.Helper()
	if err := d.local.Commit(); err != nil {
		d.tb.Fatal(err)
	}
}

// Restart ends the topology as the death of its process would and starts it again.
// What was not committed is done again. With wipe the stores are rebuilt from the
// changelogs.
func (d *Driver) Restart(wipe bool) {
	d.tb.Helper()
	err := d.local.Restart(wipe)
	if err == nil {
		err = d.local.Run()
	}
	if err != nil {
		d.tb.Fatal(err)
	}
}

// Advance moves the wall clock, and does what is due by it.
func (d *Driver) Advance(by time.Duration) {
	d.tb.Helper()
	if err := d.local.Advance(by); err != nil {
		d.tb.Fatal(err)
	}
	if !d.held {
		d.Commit()
	}
}

// OnFault decides from now on what becomes of records at fault, instead of ending the
// test; those passed over go to the topic deadLetters, if it is not empty.
func (d *Driver) OnFault(decide func(*fault.Fault) fault.Verdict, deadLetters string) {
	d.local.OnFault(decide, deadLetters)
}

// Metrics returns the topology's counters.
func (d *Driver) Metrics() *streams.Metrics { return d.local.Metrics() }

// Rows reads a store by its name.
func (d *Driver) Rows(store string) *query.Rows {
	d.tb.Helper()
	rows, err := d.local.Rows(store)
	if err != nil {
		d.tb.Fatal(err)
	}
	return rows
}

// Input pipes records into a topic.
type Input[K, V any] struct {
	d     *Driver
	topic string
	key   serde.Serde[K]
	value serde.Serde[V]
}

// In returns the input of a topic the topology reads.
func In[K, V any](d *Driver, topic string, key serde.Serde[K], value serde.Serde[V]) *Input[K, V] {
	return &Input[K, V]{d: d, topic: topic, key: key, value: value}
}

// Pipe puts in a record with the wall clock's time.
func (i *Input[K, V]) Pipe(k K, v V) { i.d.tb.Helper(); i.At(i.d.local.Now().UnixMilli(), k, v) }

// At puts in a record with a time of its own, in milliseconds.
func (i *Input[K, V]) At(ms int64, k K, v V) {
	i.d.tb.Helper()
	i.Record(streams.Record[K, V]{Key: k, Value: v, Time: ms})
}

// Delete puts in a record without value.
func (i *Input[K, V]) Delete(k K) {
	i.d.tb.Helper()
	i.Record(streams.Record[K, V]{Key: k, NoValue: true, Time: i.d.local.Now().UnixMilli()})
}

// Record puts in a record as it is.
func (i *Input[K, V]) Record(r streams.Record[K, V]) {
	i.d.tb.Helper()
	var key, value []byte
	var err error
	if !r.NoKey {
		if key, err = i.key.Append([]byte{}, r.Key); err != nil {
			i.d.tb.Fatal(err)
		}
	}
	if !r.NoValue {
		if value, err = i.value.Append([]byte{}, r.Value); err != nil {
			i.d.tb.Fatal(err)
		}
	}
	if err = i.d.local.Put(i.topic, key, value, r.Time, r.Headers...); err == nil {
		err = i.d.local.Run()
	}
	if err != nil {
		i.d.tb.Fatal(err)
	}
	if !i.d.held {
		i.d.Commit()
	}
}

// Output reads what the topology wrote to a topic.
type Output[K, V any] struct {
	d     *Driver
	topic string
	key   serde.Serde[K]
	value serde.Serde[V]
}

// Out returns the output of a topic.
func Out[K, V any](d *Driver, topic string, key serde.Serde[K], value serde.Serde[V]) *Output[K, V] {
	return &Output[K, V]{d: d, topic: topic, key: key, value: value}
}

// Read returns the records written since the last Read.
func (o *Output[K, V]) Read() (out []streams.Record[K, V]) {
	o.d.tb.Helper()
	for _, r := range o.d.local.Take(o.topic) {
		rec := streams.Record[K, V]{NoKey: r.Key == nil, NoValue: r.Value == nil, Time: r.Timestamp.UnixMilli(), Headers: r.Headers}
		var err error
		if !rec.NoKey {
			rec.Key, err = o.key.Decode(r.Key)
		}
		if err == nil && !rec.NoValue {
			rec.Value, err = o.value.Decode(r.Value)
		}
		if err != nil {
			o.d.tb.Fatalf("reading topic %s: %v", o.topic, err)
		}
		out = append(out, rec)
	}
	return out
}

// Table reads a table's rows from the store that keeps them.
func Table[K comparable, V any](d *Driver, t *streams.Table[K, V]) map[K]V {
	d.tb.Helper()
	rows := map[K]V{}
	err := t.View(d.Rows(t.StoreName())).All(context.Background(), func(r streams.Record[K, V]) error {
		rows[r.Key] = r.Value
		return nil
	})
	if err != nil {
		d.tb.Fatal(err)
	}
	return rows
}
