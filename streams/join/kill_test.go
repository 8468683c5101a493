package join_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/topics"
)

// The test binary runs itself as the process that is killed.
const (
	childBrokers = "JOIN_TEST_CHILD_BROKERS"
	childDir     = "JOIN_TEST_CHILD_DIR"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(childFleet); name != "" {
		fmt.Fprintln(os.Stderr, runFleetChild(name, strings.Split(os.Getenv(childBrokers), ","), os.Getenv(childDir)))
		os.Exit(1)
	}
	if brokers := os.Getenv(childBrokers); brokers != "" {
		e, err := openJoins(strings.Split(brokers, ","), os.Getenv(childDir))
		if err == nil {
			err = e.Run(context.Background())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// openJoins opens an engine with one application that has every kind of join.
func openJoins(brokers []string, dir string) (*streams.Engine, error) {
	b := streams.NewBuilder()
	facts := streams.From(b, "facts", text{}, text{})
	rows := streams.TableFrom(b, "rows", text{}, text{}, streams.With{Name: "rows"})
	left := func() joiner { return join.Left(glue) }
	join.StreamTable(facts, rows, left(), text{}, streams.With{Name: "st"}).To("st-out", text{}, text{})
	prices := streams.TableFrom(b, "prices", text{}, text{}, streams.With{Name: "prices", History: time.Hour})
	join.StreamTable(facts, prices, left(), text{}, streams.With{Name: "gt", Grace: 9 * time.Millisecond}).To("gt-out", text{}, text{})
	join.Global(facts, streams.GlobalFrom(b, "world", text{}, text{}, streams.With{Store: "world"}), after, left(), streams.With{Name: "sg"}).To("sg-out", text{}, text{})
	join.Streams(facts, streams.From(b, "others", text{}, text{}), join.Within[string, string, string]{
		Before: 5 * time.Millisecond, After: 5 * time.Millisecond, Grace: 5 * time.Minute, Key: text{}, Left: text{}, Right: text{},
	}, left(), streams.With{Name: "ss"}).To("ss-out", text{}, text{})
	moving := streams.TableFrom(b, "moving", text{}, text{}, streams.With{Name: "moving"})
	join.Tables(rows, moving, join.Outer(glue), text{}, streams.With{Name: "tt"}).ToStream().To("tt-out", text{}, text{})
	join.ForeignKey(moving, join.On(streams.TableFrom(b, "referred", text{}, text{}, streams.With{Name: "referred"}), reference), left(), text{}, streams.With{Name: "fk"}).
		ToStream().To("fk-out", text{}, text{})
	topology, err := b.Build()
	if err != nil {
		return nil, err
	}
	e, err := streams.OpenEngine(streams.Config{Brokers: brokers, Dir: dir, Instance: "one"})
	if err != nil {
		return nil, err
	}
	return e, e.Add(streams.App{ID: "joins", Topology: topology, ExactlyOnce: true, CommitInterval: 10 * time.Millisecond})
}

// joinWorld is a broker with the topics of the joins, and what was put into them.
type joinWorld struct {
	t       *testing.T
	ctx     context.Context
	client  *topics.Client
	rnd     *rand.Rand
	next    int
	facts   []*kgo.Record
	others  []*kgo.Record
	prices  []seen                       // the versions of a table with a history
	rows    map[string]map[string]string // of tables, by topic
	brokers []string
	// base is the time from which on all times count. It is not long ago, or the brokers
	// would compact versions away before their time.
	base int64
}

func newJoinWorld(t *testing.T) *joinWorld {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	w := &joinWorld{
		t: t, ctx: ctx, brokers: devstack.TestKafka(t), rnd: rand.New(rand.NewPCG(5, 6)),
		rows: map[string]map[string]string{"rows": {}, "moving": {}, "referred": {}, "world": {}},
		base: time.Now().Add(-30 * time.Minute).UnixMilli(),
	}
	var err error
	if w.client, err = topics.Open(w.brokers); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	for topic, n := range map[string]int{"facts": 2, "others": 2, "rows": 2, "moving": 2, "referred": 3, "world": 2, "prices": 2, "st-out": 1, "gt-out": 1, "sg-out": 1, "ss-out": 1, "tt-out": 1, "fk-out": 1} {
		if err := w.client.Create(ctx, topics.Spec{Name: topic, Partitions: n}); err != nil {
			t.Fatal(err)
		}
	}
	// What streams look up is there before them, and does not change.
	for i := range 6 {
		w.row("rows", fmt.Sprint("k", i), fmt.Sprint("row", i))
		w.row("world", fmt.Sprint("g", i), fmt.Sprint("place", i))
	}
	// The prices of the time to come are there too, in no strict order.
	for i := range int64(300) {
		p := seen{key: fmt.Sprint("k", w.rnd.IntN(8)), ms: 1000 + 10*i - w.rnd.Int64N(9)}
		if w.rnd.IntN(5) > 0 {
			p.value = fmt.Sprint("price", i)
		}
		w.prices = append(w.prices, p)
		w.write("prices", p.key, p.value, p.ms)
	}
	return w
}

func (w *joinWorld) write(topic, key, value string, ms int64) *kgo.Record {
	w.t.Helper()
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value), Timestamp: time.UnixMilli(w.base + ms)}
	if value == "" {
		r.Value = nil
	}
	if err := w.client.Produce(w.ctx, r); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// row changes or, with an empty value, deletes a row of a table.
func (w *joinWorld) row(topic, key, value string) {
	w.write(topic, key, value, int64(w.next))
	if w.rows[topic][key] = value; value == "" {
		delete(w.rows[topic], key)
	}
}

// put writes n records to each of the streams and changes n rows of each of the tables.
func (w *joinWorld) put(n int) {
	w.t.Helper()
	for range n {
		w.next++
		key, ms := fmt.Sprint("k", w.rnd.IntN(8)), int64(1000+w.next*3)
		w.facts = append(w.facts, w.write("facts", key, fmt.Sprintf("f%d:g%d", w.next, w.rnd.IntN(8)), ms))
		if w.rnd.IntN(2) == 0 {
			w.others = append(w.others, w.write("others", key, fmt.Sprint("o", w.next), ms+w.rnd.Int64N(12)-6))
		}
		value := func(format string) string {
			if w.rnd.IntN(5) == 0 {
				return ""
			}
			return fmt.Sprintf(format, w.rnd.IntN(6), w.next)
		}
		w.row("moving", fmt.Sprint("k", w.rnd.IntN(8)), value("r%d/%d"))
		w.row("referred", fmt.Sprint("r", w.rnd.IntN(6)), value("name%d-%d"))
	}
}

// expected are the results of the streams, each once, sorted.
func (w *joinWorld) expected() map[string][]string {
	want := map[string][]string{}
	for _, f := range w.facts {
		key, value, ms := string(f.Key), string(f.Value), f.Timestamp.UnixMilli()-w.base
		p := pair{Left: value, HasLeft: true}
		p.Right, p.HasRight = w.rows["rows"][key]
		want["st-out"] = append(want["st-out"], fmt.Sprintf("%s=%s@%d", key, glue("", p), ms))
		want["gt-out"] = append(want["gt-out"], w.priced(key, value, ms))
		at, _ := after("", value)
		p.Right, p.HasRight = w.rows["world"][at]
		want["sg-out"] = append(want["sg-out"], fmt.Sprintf("%s=%s@%d", key, glue("", p), ms))
		met := false
		for _, o := range w.others {
			oms := o.Timestamp.UnixMilli() - w.base
			if string(o.Key) == key && oms >= ms-5 && oms <= ms+5 {
				met = true
				want["ss-out"] = append(want["ss-out"], fmt.Sprintf("%s=%s+%s@%d", key, value, o.Value, max(ms, oms)))
			}
		}
		if !met {
			want["ss-out"] = append(want["ss-out"], fmt.Sprintf("%s=%s+-@%d", key, value, ms))
		}
	}
	for _, rs := range want {
		slices.Sort(rs)
	}
	return want
}

// priced is a fact with the price of its time.
func (w *joinWorld) priced(key, value string, ms int64) string {
	m := graceModel{history: 3600_000, rows: w.prices, table: -1}
	m.join(seen{key: key, value: value, ms: ms})
	return m.results[0]
}

// output reads what is committed in a topic: all of it, sorted, and the last for each
// key.
func (w *joinWorld) output(topic string) (all []string, last map[string]string) {
	w.t.Helper()
	last = map[string]string{}
	err := w.client.Read(w.ctx, topic, topics.ToEnd, func(r *kgo.Record) (bool, error) {
		if strings.HasPrefix(string(r.Key), "end") {
			return true, nil
		}
		all = append(all, fmt.Sprintf("%s=%s@%d", r.Key, r.Value, r.Timestamp.UnixMilli()-w.base))
		if last[string(r.Key)] = string(r.Value); r.Value == nil {
			delete(last, string(r.Key))
		}
		return true, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Sort(all)
	return all, last
}

func (w *joinWorld) wait(what string, ok func() bool) {
	w.t.Helper()
	for !ok() {
		select {
		case <-w.ctx.Done():
			w.t.Fatalf("waited in vain for %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestKill kills a process with every kind of join in the middle of its work, several
// times, with the state on disk kept and once without. In the end every result of the
// streams is there once, and the tables are the relational joins.
func TestKill(t *testing.T) {
	w := newJoinWorld(t)
	dir := t.TempDir()
	for round := range 3 {
		if round == 2 {
			dir = t.TempDir()
		}
		cmd := exec.CommandContext(w.ctx, os.Args[0])
		cmd.Env = append(os.Environ(), childBrokers+"="+strings.Join(w.brokers, ","), childDir+"="+dir)
		cmd.Stderr = t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before, _ := w.output("st-out")
		w.wait("some more output", func() bool {
			w.put(5)
			now, _ := w.output("st-out")
			return len(now) > len(before)
		})
		w.put(w.rnd.IntN(40))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // It was killed, and says so.
	}
	e, err := openJoins(w.brokers, dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(w.ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	w.put(20)
	w.checkStreams()
	w.checkTables(e)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// checkStreams waits until the streams have as many results as they must have, and
// compares them. Records far in the future close the windows of all partitions.
func (w *joinWorld) checkStreams() {
	w.t.Helper()
	want := w.expected()
	for _, topic := range []string{"st-out", "sg-out", "ss-out", "gt-out"} {
		var got []string
		w.wait("the results in "+topic, func() bool {
			ends := map[string]string{"ss-out": "others", "gt-out": "facts"}[topic]
			for i := range 8 {
				if ends != "" {
					w.next++
					w.write(ends, fmt.Sprint("end", i), "x", 600_000+int64(w.next)*10)
				}
			}
			got, _ = w.output(topic)
			return len(got) >= len(want[topic])
		})
		if !slices.Equal(got, want[topic]) {
			w.t.Errorf("%s: too much %v, missing %v", topic, difference(got, want[topic]), difference(want[topic], got))
		}
	}
}

// checkTables waits until the tables are what they have to be, in the output and in the
// store of the global one.
func (w *joinWorld) checkTables(e *streams.Engine) {
	w.t.Helper()
	want := map[string]map[string]string{
		"tt-out": relation("tables", "outer", map[string]map[string]string{"L": w.rows["rows"], "R": w.rows["moving"]}),
		"fk-out": relation("foreign", "left", map[string]map[string]string{"L": w.rows["moving"], "R": w.rows["referred"]}),
	}
	for topic, rows := range want {
		var last map[string]string
		w.t.Cleanup(func() {
			if w.t.Failed() {
				w.t.Logf("%s has %v, want %v", topic, last, rows)
			}
		})
		w.wait("the rows in "+topic, func() bool {
			_, last = w.output(topic)
			return maps.Equal(last, rows)
		})
	}
	w.row("world", "g1", "")
	w.row("world", "g9", "new")
	world := streams.GlobalFrom(streams.NewBuilder(), "world", text{}, text{}, streams.With{Store: "world"})
	w.wait("the global table", func() bool {
		rows, err := e.Rows(w.ctx, "joins", "world")
		if err != nil {
			w.t.Fatal(err)
		}
		have := map[string]string{}
		err = world.View(rows).All(w.ctx, func(r streams.Record[string, string]) error {
			have[r.Key] = r.Value
			return nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
		return maps.Equal(have, w.rows["world"])
	})
}
