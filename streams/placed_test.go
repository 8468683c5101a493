package streams

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/serde"
)

// topicKeys writes the keys of captured rows as their topic has them.
type topicKeys struct{ schema *connect.Schema }

func (k topicKeys) of(id int64) connect.Value {
	return connect.StructValue(k.schema.StructOf([]connect.Value{connect.Int64(id)}))
}

func (k topicKeys) Append(dst []byte, v connect.Value) ([]byte, error) {
	return fmt.Appendf(dst, `{"id":%d}`, v.Struct().At(0).Int()), nil
}

func (k topicKeys) Decode(b []byte) (connect.Value, error) {
	var id int64
	_, err := fmt.Sscanf(string(b), `{"id":%d}`, &id)
	return k.of(id), err
}

// elsewhere are tables whose rows lie in partitions that the bytes of their keys do not tell.
type elsewhere struct {
	keys     topicKeys
	envelope *connect.Schema
	topology *Topology
	captured *Table[connect.Value, connect.Value]
	counted  *Table[connect.Value, int64]
	chosen   *Table[string, string]
}

func (w *world) placedTables() *elsewhere {
	w.t.Helper()
	integer := []connect.Field{{Name: "id", Schema: connect.Of(connect.KindInt64)}}
	p := &elsewhere{keys: topicKeys{connect.SchemaDef{Kind: connect.KindStruct, Fields: integer}.MustBuild()}}
	row := connect.SchemaDef{Kind: connect.KindStruct, Fields: integer}.MustBuild()
	source := connect.SchemaDef{Kind: connect.KindStruct, Optional: true, Fields: integer}.MustBuild()
	var err error
	if p.envelope, err = connect.EnvelopeSchema("placed.Envelope", row, source); err != nil {
		w.t.Fatal(err)
	}
	b := NewBuilder()
	stored := serde.Row(p.keys.schema)
	cdc := CDC{Topic: "placed-rows", Key: p.keys, Envelope: serde.Row(p.envelope), Row: row, StoredKey: stored}
	p.captured = cdc.Table(b, With{Store: "captured", History: 24 * time.Hour})
	events := From(b, "placed-rows", p.keys, serde.Row(p.envelope))
	p.counted = events.GroupByKey(stored, serde.Row(p.envelope)).Count(With{Store: "counted"})
	p.chosen = From(b, "placed-texts", serde.Text{}, serde.Text{}).
		PartitionBy(func(r Record[string, string], n int) int { return len(r.Value) % n }).
		Repartition(serde.Text{}, serde.Text{}, With{Name: "dealt"}).
		ToTable(serde.Text{}, serde.Text{}, With{Store: "chosen"})
	p.topology = w.built(b)
	return p
}

// write writes n rows.
func (p *elsewhere) write(w *world, n int) {
	w.t.Helper()
	for i := range n {
		e := p.envelope.NewStruct()
		e.Set(1, connect.StructValue(e.Schema().Fields()[1].Schema.StructOf([]connect.Value{connect.Int64(int64(i))})))
		e.Set(4, connect.String(connect.OpCreate))
		key, err := p.keys.Append(nil, p.keys.of(int64(i)))
		if err != nil {
			w.t.Fatal(err)
		}
		value, err := serde.Row(p.envelope).Append(nil, connect.StructValue(e))
		if err != nil {
			w.t.Fatal(err)
		}
		text := fmt.Sprint("text", i)
		err = w.client.Produce(w.ctx, &kgo.Record{Topic: "placed-rows", Key: key, Value: value},
			&kgo.Record{Topic: "placed-texts", Key: []byte(text), Value: make([]byte, i)})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// found counts which of n rows an instance finds by their keys, in each of the tables.
func (p *elsewhere) found(ctx context.Context, e *running, n int) (counts [4]int, err error) {
	rows, err := e.Rows(ctx, "placed", "captured")
	if err != nil {
		return counts, err
	}
	captured := p.captured.View(rows)
	if rows, err = e.Rows(ctx, "placed", "counted"); err != nil {
		return counts, err
	}
	counted := p.counted.View(rows)
	if rows, err = e.Rows(ctx, "placed", "chosen"); err != nil {
		return counts, err
	}
	chosen := p.chosen.View(rows)
	for i := range n {
		key := p.keys.of(int64(i))
		row, is, err := captured.Lookup(ctx, key)
		if err != nil {
			return counts, err
		}
		if is && row.Value.Struct().At(0).Int() == int64(i) {
			counts[0]++
		}
		if _, is, err = captured.LookupAsOf(ctx, key, time.Now().Add(time.Hour)); err != nil {
			return counts, err
		}
		if is {
			counts[1]++
		}
		count, is, err := counted.Lookup(ctx, key)
		if err != nil {
			return counts, err
		}
		if is && count.Value == 1 {
			counts[2]++
		}
		text, is, err := chosen.Lookup(ctx, fmt.Sprint("text", i))
		if err != nil {
			return counts, err
		}
		if is && len(text.Value) == i {
			counts[3]++
		}
	}
	return counts, nil
}

// TestEveryKeyIsFoundWhereverItLies looks rows up, in every instance, of tables whose keys
// are stored in other bytes than their topic has them in, or whose partitions the user has
// chosen: a key does not tell its partition there, and that is what is said of it.
func TestEveryKeyIsFoundWhereverItLies(t *testing.T) {
	const n = 40
	w := newWorld(t)
	w.create("placed-rows", 4)
	w.create("placed-texts", 4)
	p := w.placedTables()
	p.write(w, n)
	app := App{ID: "placed", Topology: p.topology, CommitInterval: 20 * time.Millisecond}
	var all []*running
	for range 3 {
		all = append(all, w.startAsking(t.TempDir(), app))
	}
	w.wait("the tasks to be shared", func() bool {
		return !slices.ContainsFunc(all, func(e *running) bool { return e.tasks("placed") == 0 })
	})
	check := func(engines []*running) {
		for i, e := range engines {
			var counts [4]int
			w.wait(fmt.Sprintf("instance %d to find every key", i), func() (ok bool) {
				var err error
				counts, err = p.found(w.ctx, e, n)
				t.Log(counts, err)
				return settledIn(t, err) && counts == [4]int{n, n, n, n}
			})
			rows, err := e.Rows(w.ctx, "placed", "captured")
			if err != nil {
				t.Fatal(err)
			}
			if _, found, err := p.captured.View(rows).Lookup(w.ctx, p.keys.of(n)); settledIn(t, err) && found {
				t.Error("a row was found that is not there")
			}
			if o := rows.Owners([]byte("key")); o.Partition != -1 || o.Active != nil {
				t.Errorf("a key that tells no partition belongs to %+v", o)
			}
		}
	}
	check(all)
	all[1].end()
	check([]*running{all[0], all[2]})
	all[0].end()
	all[2].end()
}
