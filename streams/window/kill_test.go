package window_test

import (
	"context"
	"fmt"
	"log/slog"
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
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/streams/window"
)

// The test binary runs itself as the process that is killed.
const (
	childBrokers = "WINDOW_TEST_CHILD_BROKERS"
	childDir     = "WINDOW_TEST_CHILD_DIR"
)

func TestMain(m *testing.M) {
	if brokers := os.Getenv(childBrokers); brokers != "" {
		if err := runEngine(context.Background(), strings.Split(brokers, ","), os.Getenv(childDir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// shapes are the windows of the application that is killed, by the topic they go to.
// Each passes on one result of every window, except those that many tells of.
func shapes() map[string]shape {
	return map[string]shape{
		"updates":  {kind: "fixed", size: 20, advance: 20, grace: 15, windows: window.Tumbling(20 * time.Millisecond).Grace(15 * time.Millisecond)},
		"together": {kind: "fixed", size: 20, advance: 10, grace: 15, together: true, windows: window.Hopping(20*time.Millisecond, 10*time.Millisecond).Grace(15 * time.Millisecond)},
		"sessions": {kind: "session", size: 6, grace: 5, windows: window.Session(6 * time.Millisecond).Grace(5 * time.Millisecond).OnClose().EmitEvery(0)},
		"held":     {kind: "fixed", size: 20, advance: 7, grace: 5, windows: window.Hopping(20*time.Millisecond, 7*time.Millisecond).Grace(5 * time.Millisecond)},
		"sliding":  {kind: "sliding", size: 10, grace: 60, windows: window.Sliding(10 * time.Millisecond).Grace(60 * time.Millisecond).OnClose().EmitEvery(0)},
	}
}

// many tells whether a topic gets every change of a window.
func many(topic string) bool { return topic == "updates" || topic == "together" }

// sessionForm writes every kind of windowed key with both of its ends.
func sessionForm() serde.Serde[wkey] { return window.SessionKeys[string](text{}) }

func windowsTopology() (*streams.Topology, error) {
	b := streams.NewBuilder()
	in := streams.From(b, "in", text{}, text{})
	for _, topic := range slices.Sorted(maps.Keys(shapes())) {
		s := shapes()[topic]
		table := s.over(in, s.windows, streams.With{Name: topic, Store: topic})
		if topic == "held" {
			table = window.UntilClosed(table, window.Bounds{}, streams.With{Name: "final"})
		}
		table.ToStream(streams.With{Name: topic + "-stream"}).To(topic, sessionForm(), text{}, streams.With{Name: topic + "-sink"})
	}
	return b.Build()
}

func runEngine(ctx context.Context, brokers []string, dir string) error {
	topology, err := windowsTopology()
	if err != nil {
		return err
	}
	e, err := streams.OpenEngine(streams.Config{
		Brokers: brokers, Dir: dir, Instance: "one",
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	err = e.Add(streams.App{ID: "win", Topology: topology, ExactlyOnce: true, CommitInterval: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	return e.Run(ctx)
}

// feeder writes records whose times wander, and go back now and then.
type feeder struct {
	t      *testing.T
	ctx    context.Context
	client *topics.Client
	rnd    *rand.Rand
	now    int64
	fed    int
}

func (f *feeder) put(rs ...*kgo.Record) {
	f.t.Helper()
	if err := f.client.Produce(f.ctx, rs...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *feeder) feed(n int) {
	f.t.Helper()
	var rs []*kgo.Record
	f.fed += n
	for range n {
		f.now += f.rnd.Int64N(6)
		rs = append(rs, &kgo.Record{
			Topic: "in", Key: fmt.Append(nil, "k", f.rnd.IntN(5)), Value: []byte{'a' + byte(f.rnd.IntN(26))},
			Timestamp: time.UnixMilli(f.now - f.rnd.Int64N(50)),
		})
	}
	f.put(rs...)
}

// wants works out what must come from the input as it is in the topic.
func (f *feeder) wants() map[string]map[wkey]row {
	f.t.Helper()
	want, models := map[string]map[wkey]row{}, map[string]map[int32]*model{}
	for topic := range shapes() {
		want[topic], models[topic] = map[wkey]row{}, map[int32]*model{}
	}
	err := f.client.Read(f.ctx, "in", topics.ToEnd, func(r *topics.Record) (bool, error) {
		for topic, s := range shapes() {
			m := models[topic][r.Partition]
			if m == nil {
				m = &model{shape: s, observed: -1, times: [2]int64{-1, -1}, rows: want[topic]}
				models[topic][r.Partition] = m
			}
			m.add(input{Key: string(r.Key), Value: string(r.Value), Time: r.Timestamp.UnixMilli()})
		}
		return true, nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	for topic := range models {
		for _, m := range models[topic] {
			m.slide()
		}
	}
	return want
}

// outputs reads the last result of each window, and how many there were of it.
func (f *feeder) outputs(topic string) (last map[wkey]row, times map[wkey]int) {
	f.t.Helper()
	last, times = map[wkey]row{}, map[wkey]int{}
	err := f.client.Read(f.ctx, topic, topics.ToEnd, func(r *topics.Record) (bool, error) {
		k, err := sessionForm().Decode(r.Key)
		if err == nil {
			last[k] = row{string(r.Value), r.Timestamp.UnixMilli()}
			times[k]++
		}
		return true, err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return last, times
}

// TestKill kills a process with windows of every kind in the middle of its work, several
// times and once with the loss of its stores. In the end every window is what its records
// come to, and those that wait for their close have been passed on once.
func TestKill(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	brokers := devstack.TestKafka(t)
	client, err := topics.Open(brokers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	names := []string{"in"}
	for topic := range shapes() {
		names = append(names, topic)
	}
	for _, name := range names {
		if err := client.Create(ctx, topics.Spec{Name: name, Partitions: 2}); err != nil {
			t.Fatal(err)
		}
	}
	f := &feeder{t: t, ctx: ctx, client: client, rnd: rand.New(rand.NewPCG(1, 2)), now: time.Now().UnixMilli()}
	f.feed(50)
	dir := t.TempDir()
	for round := range 4 {
		if round == 2 {
			dir = t.TempDir()
		}
		f.killOne(brokers, dir)
		t.Logf("killed after %d records", f.fed)
	}
	// One record for each partition that closes everything before it.
	for i := range 8 {
		f.put(&kgo.Record{Topic: "in", Key: fmt.Append(nil, "z", i), Value: []byte("z"), Timestamp: time.UnixMilli(f.now + 1000)})
	}
	ended := make(chan error, 1)
	running, stop := context.WithCancel(ctx)
	go func() { ended <- runEngine(running, brokers, dir) }()
	f.settle()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// killOne runs a process until it has passed something on and been fed for a while, and
// kills it.
func (f *feeder) killOne(brokers []string, dir string) {
	f.t.Helper()
	cmd := exec.CommandContext(f.ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childBrokers+"="+strings.Join(brokers, ","), childDir+"="+dir)
	cmd.Stderr = f.t.Output()
	before, _ := f.outputs("updates")
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.feed(40) // Their windows are new ones.
	for now := before; len(now) <= len(before); now, _ = f.outputs("updates") {
		select {
		case <-f.ctx.Done():
			f.t.Fatal("the process passes nothing on")
		case <-time.After(20 * time.Millisecond):
		}
	}
	for range f.rnd.IntN(20) {
		f.feed(10)
	}
	if err := cmd.Process.Kill(); err != nil {
		f.t.Fatal(err)
	}
	_ = cmd.Wait() // It was killed, and says so.
}

// settle waits until all windows but those of the last records have come out as they
// must, and looks that none came twice that may come once.
func (f *feeder) settle() {
	f.t.Helper()
	want := f.wants()
	for topic := range want {
		for k := range want[topic] {
			if strings.HasPrefix(k.Key, "z") {
				delete(want[topic], k)
			}
		}
		if len(want[topic]) == 0 {
			f.t.Fatalf("nothing is expected in %s", topic)
		}
	}
	for topic := range want {
		for !f.complete(topic, want[topic]) {
			select {
			case <-f.ctx.Done():
				got, _ := f.outputs(topic)
				f.t.Fatalf("waited in vain for %d windows in %s, there are %d", len(want[topic]), topic, len(got))
			case <-time.After(20 * time.Millisecond):
			}
		}
		last, times := f.outputs(topic)
		for k := range last {
			if strings.HasPrefix(k.Key, "z") {
				delete(last, k)
			} else if !many(topic) && times[k] != 1 {
				f.t.Errorf("%s: %v was passed on %d times", topic, k, times[k])
			}
		}
		sameRows(f.t, topic, last, want[topic])
	}
}

// complete tells whether all that is wanted has come; whether it is right is looked at
// afterwards.
func (f *feeder) complete(topic string, want map[wkey]row) bool {
	last, _ := f.outputs(topic)
	for k, w := range want {
		if got, ok := last[k]; !ok || many(topic) && got != w {
			return false
		}
	}
	return true
}
