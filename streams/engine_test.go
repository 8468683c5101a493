package streams

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
)

// world is a broker with the topics of a word count, and what it must come to.
type world struct {
	t       testing.TB
	ctx     context.Context
	brokers []string
	client  *topics.Client
	rnd     *rand.Rand
	model   map[string]int64
	options []kgo.Opt // of the clients of engines that startOn starts
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOn(t, devstack.TestKafka(t))
}

// newWorldOn is newWorld on brokers of the test's own.
func newWorldOn(t testing.TB, brokers []string) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx, brokers: brokers, rnd: rand.New(rand.NewPCG(1, 2)), model: map[string]int64{}}
	var err error
	if w.client, err = topics.Open(w.brokers); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	// On a broker that tests share, what the test before deleted may take a moment
	// to go.
	if err := w.client.Delete(ctx, "in", "out", "wc-words-repartition", "wc-counts-changelog"); err != nil {
		t.Fatal(err)
	}
	w.create("in", 4)
	w.create("out", 4)
	return w
}

func (w *world) create(topic string, partitions int) {
	w.t.Helper()
	if err := w.client.Create(w.ctx, topics.Spec{Name: topic, Partitions: partitions}); err != nil {
		w.t.Fatal(err)
	}
}

// put writes n records whose values are words, to be counted.
func (w *world) put(n int) {
	w.t.Helper()
	rs := make([]*kgo.Record, n)
	for i := range rs {
		word := fmt.Sprint("word", w.rnd.IntN(40))
		w.model[word]++
		rs[i] = &kgo.Record{Topic: "in", Key: []byte(word), Value: []byte(word)}
	}
	if err := w.client.Produce(w.ctx, rs...); err != nil {
		w.t.Fatal(err)
	}
}

// wordCount counts words by value through a repartition topic.
func wordCount(t testing.TB, opts ...With) (*Topology, *Table[string, int64]) {
	t.Helper()
	b := NewBuilder()
	in := From(b, "in", serde.Text{}, serde.Text{})
	counts := GroupBy(in, func(_, word string) string { return word }, serde.Text{}, serde.Text{}, With{Name: "words"}).
		Count(append(opts, With{Store: "counts"})...)
	counts.ToStream().To("out", serde.Text{}, serde.Int64{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology, counts
}

// keyCount counts words by key, with no topic on the way that could get records
// twice.
func keyCount(t testing.TB, opts ...With) (*Topology, *Table[string, int64]) {
	t.Helper()
	topology, counts, err := newKeyCount(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return topology, counts
}

func newKeyCount(opts ...With) (*Topology, *Table[string, int64], error) {
	b := NewBuilder()
	counts := From(b, "in", serde.Text{}, serde.Text{}).GroupByKey(serde.Text{}, serde.Text{}).Count(append(opts, With{Store: "counts"})...)
	counts.ToStream().To("out", serde.Text{}, serde.Int64{})
	topology, err := b.Build()
	return topology, counts, err
}

// running is an engine in a goroutine.
type running struct {
	*Engine
	t    testing.TB
	stop context.CancelFunc
	done chan error
}

func (w *world) start(dir string, app App, change ...func(*Engine)) *running {
	w.t.Helper()
	e, err := OpenEngine(Config{
		Brokers: w.brokers, Dir: dir,
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range change {
		c(e)
	}
	if err := e.Add(app); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	r := &running{Engine: e, t: w.t, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- e.Run(ctx) }()
	w.t.Cleanup(func() { cancel() })
	return r
}

// end stops the engine and waits for it.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.done:
		if err != nil {
			r.t.Error(err)
		}
	case <-time.After(30 * time.Second):
		r.t.Fatal("the engine does not end")
	}
}

// wait polls until ok or the world's time is over.
func (w *world) wait(what string, ok func() bool) {
	w.t.Helper()
	for !ok() {
		select {
		case <-w.ctx.Done():
			w.t.Fatalf("waited in vain for %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// output reads what is committed in the topic out: the last count of each word,
// and how often a count was not one more than some count before it.
func (w *world) output() (last map[string]int64, total int) {
	w.t.Helper()
	last = map[string]int64{}
	err := w.client.Read(w.ctx, "out", topics.ToEnd, func(r *kgo.Record) (bool, error) {
		n := int64(binary.BigEndian.Uint64(r.Value))
		last[string(r.Key)] = n
		total++
		return true, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return last, total
}

func (w *world) waitOutput() {
	w.t.Helper()
	var last map[string]int64
	defer func() {
		if w.t.Failed() {
			w.t.Logf("the output has %v, want %v", last, w.model)
		}
	}()
	w.wait("the output to equal the model", func() bool {
		last, _ = w.output()
		return maps.Equal(last, w.model)
	})
}

// waitContents waits until a table of a running engine equals the model: what is
// written may be seen before it is committed.
func (w *world) waitContents(r *running, app string, t *Table[string, int64]) {
	w.t.Helper()
	w.wait("the store to equal the model", func() bool { return maps.Equal(r.contents(w.ctx, app, t), w.model) })
}

// contents reads a table from a running engine.
func (r *running) contents(ctx context.Context, app string, t *Table[string, int64]) map[string]int64 {
	r.t.Helper()
	rows, err := r.Rows(ctx, app, t.StoreName())
	if err != nil {
		r.t.Fatal(err)
	}
	got := map[string]int64{}
	err = t.View(rows).All(ctx, func(rec Record[string, int64]) error {
		got[rec.Key] = rec.Value
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

var guarantees = map[string]bool{"at least once": false, "exactly once": true}

// TestEngineRestarts counts, stops, counts on, and counts on once more without the
// local state.
func TestEngineRestarts(t *testing.T) {
	for name, eos := range guarantees {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			topology, counts := wordCount(t)
			app, dir := App{ID: "wc", Topology: topology, ExactlyOnce: eos}, t.TempDir()

			w.put(500)
			e := w.start(dir, app)
			w.waitOutput()
			w.waitContents(e, "wc", counts)
			e.end()

			w.put(300)
			e = w.start(dir, app)
			w.waitOutput()
			if n := e.apps["wc"].metrics.Restored.Load(); n != 0 {
				t.Errorf("%d records restored after a clean stop", n)
			}
			e.end()

			w.put(300)
			e = w.start(t.TempDir(), app)
			w.waitOutput()
			if n := e.apps["wc"].metrics.Restored.Load(); n == 0 {
				t.Error("nothing restored into an empty directory")
			}
			w.waitContents(e, "wc", counts)
			e.end()
		})
	}
}

// TestCrash ends the engine, as its death would, at every point of a commit, and
// goes on with what it left behind.
func TestCrash(t *testing.T) {
	for name, eos := range guarantees {
		for _, point := range []string{"before flush", "written", "offsets committed", "committed"} {
			for _, keep := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %s, state kept %v", name, point, keep), func(t *testing.T) {
					crashAndGoOn(t, eos, keep, point)
				})
			}
		}
	}
}

func crashAndGoOn(t *testing.T, eos, keep bool, point string) {
	w := newWorld(t)
	topology, counts := wordCount(t)
	if !eos {
		topology, counts = keyCount(t)
	}
	app, dir := App{ID: "wc", Topology: topology, ExactlyOnce: eos, CommitInterval: 20 * time.Millisecond}, t.TempDir()
	w.put(400)
	var passed atomic.Int32
	died := make(chan struct{})
	e := w.start(dir, app, func(e *Engine) {
		e.instance = "again"
		e.crash = func(at string) error {
			if at == point && passed.Add(1) >= 2 {
				if passed.Load() == 2 {
					close(died)
				}
				return errCrash
			}
			return nil
		}
	})
	w.wait("the crash", func() bool {
		select {
		case <-died:
			return true
		default:
			w.put(20)
			return false
		}
	})
	e.end()
	w.put(200)
	if !keep {
		dir = t.TempDir()
	}
	e = w.start(dir, app, func(e *Engine) { e.instance = "again" })
	if eos || keep {
		// At least once, a crash between changelog and offsets may count twice
		// when only the changelog is left.
		w.waitOutput()
		w.waitContents(e, "wc", counts)
	} else {
		w.wait("no word to be missing", func() bool {
			last, _ := w.output()
			for word, n := range w.model {
				if last[word] < n {
					return false
				}
			}
			return true
		})
	}
	e.end()
}
