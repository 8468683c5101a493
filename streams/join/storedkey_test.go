package join_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
)

// customerKeys writes the keys of captured customers as their topic has them, which is not
// how a store of them does.
type customerKeys struct{ key *connect.Schema }

func (k customerKeys) of(id int64) connect.Value {
	return connect.StructValue(k.key.StructOf([]connect.Value{connect.Int64(id)}))
}

func (k customerKeys) Append(dst []byte, v connect.Value) ([]byte, error) {
	return fmt.Appendf(dst, `{"id":%d}`, v.Struct().At(0).Int()), nil
}

func (k customerKeys) Decode(b []byte) (connect.Value, error) {
	var id int64
	_, err := fmt.Sscanf(string(b), `{"id":%d}`, &id)
	return k.of(id), err
}

// customers are change events of a table with an id and a name.
type customers struct {
	keys     customerKeys
	row      *connect.Schema
	envelope *connect.Schema
}

func newCustomers() (c customers, err error) {
	c.keys.key = connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{{Name: "id", Schema: connect.Of(connect.KindInt64)}}}.MustBuild()
	c.row = connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{
		{Name: "id", Schema: connect.Of(connect.KindInt64).AsOptional()}, {Name: "name", Schema: connect.Of(connect.KindString).AsOptional()},
	}}.MustBuild()
	source := connect.SchemaDef{Kind: connect.KindStruct, Optional: true, Fields: []connect.Field{{Name: "lsn", Schema: connect.Of(connect.KindInt64)}}}.MustBuild()
	c.envelope, err = connect.EnvelopeSchema("shop.customers.Envelope", c.row, source)
	return c, err
}

// event says that a customer has this name now, or is gone when it is empty.
func (c customers) event(id int64, name string) (*kgo.Record, error) {
	e := c.envelope.NewStruct()
	row := connect.StructValue(e.Schema().Fields()[0].Schema.StructOf([]connect.Value{connect.Int64(id), connect.String(name)}))
	op, at := connect.OpCreate, 1
	if name == "" {
		op, at = connect.OpDelete, 0
	}
	e.Set(at, row)
	e.Set(4, connect.String(op))
	key, err := c.keys.Append(nil, c.keys.of(id))
	if err != nil {
		return nil, err
	}
	value, err := serde.Row(c.envelope).Append(nil, connect.StructValue(e))
	return &kgo.Record{Topic: "stored-customers", Key: key, Value: value}, err
}

// storedTopology joins orders with customers, and messages with orders.
func storedTopology(c customers) (*streams.Topology, error) {
	b := streams.NewBuilder()
	cdc := streams.CDC{Topic: "stored-customers", Key: c.keys, Envelope: serde.Row(c.envelope), Row: c.row, StoredKey: serde.Row(c.keys.key)}
	captured := cdc.Table(b, streams.With{Store: "customers"})
	named := captured.Filter(func(_, row connect.Value) bool { return !strings.HasPrefix(row.Struct().At(1).Str(), "test") })
	orders := streams.TableFrom(b, "stored-orders", text{}, serde.Int64{})
	on := func(t *streams.Table[connect.Value, connect.Value]) join.Reference[string, int64, connect.Value, connect.Value] {
		return join.On(t, func(_ string, id int64) (connect.Value, bool) { return c.keys.of(id), true })
	}
	name := join.Left(func(_ string, p join.Pair[int64, connect.Value]) string {
		if !p.HasRight {
			return "nobody"
		}
		return p.Right.Struct().At(1).Str()
	})
	join.ForeignKey(orders, on(captured), name, text{}, streams.With{Name: "all"}).ToStream().To("stored-all", text{}, text{})
	join.ForeignKey(orders, on(named), name, text{}, streams.With{Name: "some"}).ToStream().To("stored-some", text{}, text{})
	// The partitions of these are chosen.
	called := streams.Map(cdc.Stream(b), func(r streams.Record[connect.Value, streams.Change[connect.Value]]) streams.Record[int64, string] {
		out := streams.Record[int64, string]{Key: r.Key.Struct().At(0).Int(), NoValue: !r.Value.HasNew, Time: r.Time}
		if r.Value.HasNew {
			out.Value = r.Value.New.Struct().At(1).Str()
		}
		return out
	}).PartitionBy(func(r streams.Record[int64, string], n int) int { return int(r.Key) % n }).
		Repartition(serde.Int64{}, text{}, streams.With{Name: "called"}).ToTable(serde.Int64{}, text{})
	join.ForeignKey(orders, join.On(called, func(_ string, id int64) (int64, bool) { return id, true }), join.Left(func(_ string, p join.Pair[int64, string]) string {
		if !p.HasRight {
			return "nobody"
		}
		return p.Right
	}), text{}, streams.With{Name: "called-orders"}).ToStream().To("stored-called", text{}, text{})
	// What a join makes of a captured table lies as that one does.
	friends := join.ForeignKey(captured, join.On(captured, func(_, row connect.Value) (connect.Value, bool) {
		return c.keys.of(row.Struct().At(0).Int() + 1), true
	}), join.Left(func(_ connect.Value, p join.Pair[connect.Value, connect.Value]) string {
		if !p.HasRight {
			return p.Left.Struct().At(1).Str() + " alone"
		}
		return p.Left.Struct().At(1).Str() + " before " + p.Right.Struct().At(1).Str()
	}), text{}, streams.With{Name: "friends"})
	join.ForeignKey(orders, join.On(friends, func(_ string, id int64) (connect.Value, bool) { return c.keys.of(id), true }),
		join.Left(func(_ string, p join.Pair[int64, string]) string { return p.Right }), text{}, streams.With{Name: "pairs"}).ToStream().To("stored-pairs", text{}, text{})
	return b.Build()
}

// TestForeignKeyOfStoredKeys joins with a captured table whose keys are stored in other
// bytes than the topic has them in, and with one whose partitions are chosen: rows find each
// other over all partitions.
func TestForeignKeyOfStoredKeys(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	brokers := devstack.TestKafka(t)
	client, err := topics.Open(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	outputs := []string{"stored-all", "stored-some", "stored-called", "stored-pairs"}
	for _, topic := range append([]string{"stored-customers", "stored-orders"}, outputs...) {
		if err := client.Create(ctx, topics.Spec{Name: topic, Partitions: 3}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := newCustomers()
	if err != nil {
		t.Fatal(err)
	}
	topology, err := storedTopology(c)
	if err != nil {
		t.Fatal(err)
	}
	e, err := streams.OpenEngine(streams.Config{Brokers: brokers})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Add(streams.App{ID: "stored", Topology: topology}); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(running) }()
	write := func(names map[int64]string) {
		t.Helper()
		for id, name := range names {
			r, err := c.event(id, name)
			if err == nil {
				err = client.Produce(ctx, r)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	names := map[int64]string{}
	for id := range int64(24) {
		names[id] = fmt.Sprint("name ", id)
	}
	write(names)
	for id := range int64(24) {
		v, err := serde.Int64{}.Append(nil, id)
		if err == nil {
			err = client.Produce(ctx, &kgo.Record{Topic: "stored-orders", Key: fmt.Append(nil, "order ", id), Value: v})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(outputs...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	got := map[string]string{}
	follow := func(want map[string]string) {
		t.Helper()
		for !maps.Equal(got, want) {
			fetches := reader.PollFetches(ctx)
			if ctx.Err() != nil {
				t.Fatalf("the results are %v, want %v", got, want)
			}
			fetches.EachRecord(func(r *kgo.Record) { got[r.Topic+" "+string(r.Key)] = string(r.Value) })
		}
	}
	follow(storedResults(names))
	changed := map[int64]string{3: "another", 7: "", 11: "test", 12: "test too"}
	write(changed)
	for id, name := range changed {
		names[id] = name
	}
	follow(storedResults(names))
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// storedResults are the results of orders, each of the customer of its number.
func storedResults(names map[int64]string) map[string]string {
	want := map[string]string{}
	for id, name := range names {
		order := fmt.Sprint(" order ", id)
		want["stored-all"+order], want["stored-some"+order], want["stored-called"+order] = name, name, name
		if name == "" || strings.HasPrefix(name, "test") {
			want["stored-some"+order] = "nobody"
		}
		next := names[id+1]
		switch {
		case name == "":
			want["stored-all"+order], want["stored-called"+order], want["stored-pairs"+order] = "nobody", "nobody", ""
		case next == "":
			want["stored-pairs"+order] = name + " alone"
		default:
			want["stored-pairs"+order] = name + " before " + next
		}
	}
	return want
}
