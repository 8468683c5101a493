package join_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/streams/window"
)

// childFleet has the child be an instance of the fleet, of this name.
const childFleet = "JOIN_TEST_CHILD_FLEET"

const (
	fleetApp        = "fleet"
	fleetPartitions = 4
	fleetWindow     = 200 * time.Millisecond
	fleetReach      = 30 * time.Millisecond
	fleetKeys       = 10 // Of each partition.
	fleetRegions    = 16
	repartitioned   = "fleet-regions-repartition"
)

// fleetTopology counts orders of each region, which it deals out anew, and those of each
// key in windows, and joins orders and payments of a key that are near each other. Every
// change is passed on, so that a result that comes twice, or not at all, shows.
func fleetTopology() (*streams.Topology, error) {
	b := streams.NewBuilder()
	orders, payments := streams.From(b, "orders", text{}, text{}), streams.From(b, "payments", text{}, text{})
	streams.GroupBy(orders, func(_, order string) string { return regionOf(order) }, text{}, text{}, streams.With{Name: "regions", Partitions: fleetPartitions}).
		Count(streams.With{Uncached: true, Store: "counts"}).ToStream().To("counts", text{}, serde.Int64{})
	window.Count(orders.GroupByKey(text{}, text{}), window.Tumbling(fleetWindow).Grace(time.Hour), streams.With{Uncached: true, Store: "windows"}).
		ToStream().To("windows", window.TimeKeys[string](text{}, fleetWindow), serde.Int64{})
	join.Streams(orders, payments, join.Within[string, string, string]{
		Before: fleetReach, After: fleetReach, Grace: time.Hour, Key: text{}, Left: text{}, Right: text{},
	}, join.Inner(glue), streams.With{Name: "near"}).To("pairs", text{}, text{})
	return b.Build()
}

func regionOf(order string) string {
	_, region, _ := strings.Cut(order, "/")
	return region
}

// openFleet opens an instance. One that is to be killed has a short session, so that the
// others learn of its death; the others have a long one, so that a machine that is busy
// with other things does not kill them.
func openFleet(c streams.Config, session time.Duration) (*streams.Engine, error) {
	topology, err := fleetTopology()
	if err != nil {
		return nil, err
	}
	c.Remote = &query.Remote{Secret: "between us"}
	c.Client = []kgo.Opt{kgo.SessionTimeout(session), kgo.MetadataMinAge(100 * time.Millisecond)}
	e, err := streams.OpenEngine(c)
	if err != nil {
		return nil, err
	}
	// However much there is to restore, tasks move at once.
	return e, e.Add(streams.App{ID: fleetApp, Topology: topology, ExactlyOnce: true, CommitInterval: 50 * time.Millisecond, Standbys: 1, AcceptableLag: 1 << 40})
}

const (
	shortSession = 6 * time.Second // What brokers allow at least.
	longSession  = 45 * time.Second
)

// runFleetChild is the process of an instance that is killed.
func runFleetChild(name string, brokers []string, dir string) error {
	e, err := openFleet(streams.Config{Brokers: brokers, Dir: dir, Instance: name, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}, shortSession)
	if err != nil {
		return err
	}
	return e.Run(context.Background())
}

// fleetTask is a task by a store it has and its partition.
type fleetTask struct {
	store     string
	partition int32
}

// inputs are the topics whose records the task takes.
func (t fleetTask) inputs() []string {
	if t.store == "counts" {
		return []string{repartitioned}
	}
	return []string{"orders", "payments"}
}

// rebuilt is the beginning of a restoration of a task by an instance.
type rebuilt struct {
	by   string
	task fleetTask
}

// fleetWorld is a fleet under load, and what is known of it.
type fleetWorld struct {
	t       *testing.T
	ctx     context.Context
	brokers []string
	client  *topics.Client
	random  *rand.Rand
	keys    [fleetPartitions][]string
	made    [fleetPartitions]int64 // Orders in each partition.
	began   int64
	ended   map[string]func()

	mu        sync.Mutex                 // guards the following
	engines   map[string]*streams.Engine // Those in this process, by their names.
	rules     map[fleetTask]string       // Who ran a task, when all was calm last.
	committed map[string]map[int32]int64
	rebuilt   []rebuilt
	armed     bool // The next restoration waits until the tasks that stay have gone on.
	held      int  // How many did.
}

func newFleetWorld(t *testing.T) *fleetWorld {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	t.Cleanup(cancel)
	f := &fleetWorld{
		t: t, ctx: ctx, brokers: devstack.TestKafka(t), random: rand.New(rand.NewPCG(7, 8)), began: time.Now().Add(-time.Hour).UnixMilli(),
		engines: map[string]*streams.Engine{}, ended: map[string]func(){}, rules: map[fleetTask]string{},
	}
	var err error
	if f.client, err = topics.Open(f.brokers); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.client.Close)
	for _, topic := range []string{"orders", "payments", "counts", "windows", "pairs"} {
		if err := f.client.Create(ctx, topics.Spec{Name: topic, Partitions: fleetPartitions}); err != nil {
			t.Fatal(err)
		}
	}
	place := kgo.StickyKeyPartitioner(nil).ForTopic("orders")
	for i := 0; slices.ContainsFunc(f.keys[:], func(keys []string) bool { return len(keys) < fleetKeys }); i++ {
		key := fmt.Sprint("customer", i)
		p := place.Partition(&kgo.Record{Key: []byte(key)}, fleetPartitions)
		if len(f.keys[p]) < fleetKeys {
			f.keys[p] = append(f.keys[p], key)
		}
	}
	return f
}

// outstanding is how many orders of a partition may wait. So the load is what the fleet
// can do, and a partition that nobody works on does not hold the others up.
const outstanding = 40

// load writes orders and payments to every partition, again and again, until ctx is done.
func (f *fleetWorld) load(ctx context.Context) error {
	for ctx.Err() == nil {
		at, err := f.client.GroupOffsets(f.ctx, fleetApp)
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.committed = at
		f.mu.Unlock()
		var rs []*kgo.Record
		for p := range int32(fleetPartitions) {
			for range max(0, outstanding-(f.made[p]-at["orders"][p])) / 2 {
				rs = append(rs, f.order(p)...)
			}
		}
		if err := f.client.Produce(f.ctx, rs...); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// order makes an order and, for each second of them, a payment, up to 20 ms before or
// after it.
func (f *fleetWorld) order(p int32) []*kgo.Record {
	n := f.made[p]
	f.made[p]++
	key, ms := []byte(f.keys[p][f.random.IntN(fleetKeys)]), f.began+2*n
	rs := []*kgo.Record{{Topic: "orders", Key: key, Value: fmt.Appendf(nil, "o%d.%d/r%d", p, n, f.random.IntN(fleetRegions)), Timestamp: time.UnixMilli(ms)}}
	if f.random.IntN(2) == 0 {
		rs = append(rs, &kgo.Record{Topic: "payments", Key: key, Value: fmt.Appendf(nil, "p%d.%d", p, n), Timestamp: time.UnixMilli(ms + f.random.Int64N(41) - 20)})
	}
	return rs
}

// launch starts an instance in this process.
func (f *fleetWorld) launch(name string) {
	f.t.Helper()
	ready := make(chan struct{})
	e, err := openFleet(streams.Config{
		Brokers: f.brokers, Dir: f.t.TempDir(), Instance: name, Logger: slog.New(slog.NewTextHandler(f.t.Output(), nil)),
		Restoring: func(_, store string, p int32, read, _ int64) {
			<-ready
			if store != "windows" && store != "counts" || read > 0 {
				return
			}
			f.restoring(name, fleetTask{store, p})
		},
	}, longSession)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.engines[name] = e
	f.mu.Unlock()
	close(ready)
	ctx, stop := context.WithCancel(f.ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	f.t.Cleanup(stop)
	f.ended[name] = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			f.t.Errorf("%s: %v", name, err)
		}
	})
}

// restoring notes that an instance begins to restore a task's store. The first one after
// the fleet was changed stands still until all tasks that stay where they are have gone
// on: if they waited for it, it would be for ever.
func (f *fleetWorld) restoring(by string, task fleetTask) {
	f.mu.Lock()
	f.rebuilt = append(f.rebuilt, rebuilt{by, task})
	hold := f.armed
	f.armed = false
	from, rules, e := f.committed, f.rules, f.engines[by]
	f.mu.Unlock()
	if !hold {
		return
	}
	now := f.ruling(e)
	f.wait("the tasks that stay to go on while others are restored", func() bool {
		for task, who := range rules {
			if now[task] == who && !f.goneOn(task, from) {
				return false
			}
		}
		return true
	})
	f.mu.Lock()
	f.held++
	f.mu.Unlock()
}

// goneOn tells whether more has been committed of all inputs of a task than was then.
func (f *fleetWorld) goneOn(task fleetTask, then map[string]map[int32]int64) bool {
	const enough = 20
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, topic := range task.inputs() {
		if f.committed[topic][task.partition] < then[topic][task.partition]+enough {
			return false
		}
	}
	return true
}

// ruling tells who runs which task, as an instance in this process was told.
func (f *fleetWorld) ruling(e *streams.Engine) map[fleetTask]string {
	who := map[fleetTask]string{}
	for _, store := range []string{"windows", "counts"} {
		rows, err := e.Rows(f.ctx, fleetApp, store)
		if err != nil {
			f.t.Error(err)
			return who
		}
		for _, in := range rows.Instances() {
			for _, p := range in.Active {
				who[fleetTask{store, p}] = in.Name
			}
		}
	}
	return who
}

// wait polls until ok or the test's time is over.
func (f *fleetWorld) wait(what string, ok func() bool) {
	for !ok() {
		select {
		case <-f.ctx.Done():
			f.t.Errorf("waited in vain for %s", what)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// change does something to the fleet and waits until it is calm again: until the
// instances named, and no others, share the tasks and every task goes on. No task that
// stayed where it was has been restored. held tells that tasks are restored in this
// process, and wait there until those that stay have gone on.
func (f *fleetWorld) change(what string, held bool, do func(), names ...string) {
	f.t.Helper()
	f.mu.Lock()
	f.rebuilt, f.armed, f.held = nil, held, 0
	f.mu.Unlock()
	do()
	var now map[fleetTask]string
	f.wait("the tasks to be shared after "+what, func() bool {
		for _, e := range f.engines { // Nobody else changes it.
			now = f.ruling(e)
			sharing := slices.Compact(slices.Sorted(maps.Values(now)))
			m, err := e.Metrics(fleetApp)
			if err != nil || len(now) < 2*fleetPartitions || !slices.Equal(sharing, names) || m.Restoring.Load() > 0 {
				return false
			}
		}
		return true
	})
	f.mu.Lock()
	from := f.committed
	f.mu.Unlock()
	f.wait("all tasks to go on after "+what, func() bool {
		for task := range now {
			if !f.goneOn(task, from) {
				return false
			}
		}
		return true
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if held && f.held == 0 {
		f.t.Errorf("%s: no task was restored while others stayed", what)
	}
	for _, r := range f.rebuilt {
		if f.rules[r.task] == r.by && now[r.task] == r.by {
			f.t.Errorf("%s: %s restored %v, which it had", what, r.by, r.task)
		}
	}
	f.rules = now
	if f.t.Failed() {
		f.t.FailNow()
	}
}

// end has an instance of this process leave in an orderly way.
func (f *fleetWorld) end(name string) {
	m, err := f.engines[name].Metrics(fleetApp)
	if err != nil {
		f.t.Fatal(err)
	}
	if n := m.Restarts.Load(); n > 0 {
		f.t.Errorf("%s started anew %d times", name, n)
	}
	f.mu.Lock()
	delete(f.engines, name)
	f.mu.Unlock()
	f.ended[name]()
}

// child starts an instance in a process of its own.
func (f *fleetWorld) child(name, dir string) *exec.Cmd {
	f.t.Helper()
	cmd := exec.CommandContext(f.ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childBrokers+"="+strings.Join(f.brokers, ","), childDir+"="+dir, childFleet+"="+name)
	cmd.Stderr = io.Writer(f.t.Output())
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	return cmd
}

// TestFleetUnderLoad changes a fleet of up to three instances while it works: instances
// come, one is killed and comes back, one leaves. Tasks that stay never stop, and in the
// end every result is there once.
func TestFleetUnderLoad(t *testing.T) {
	f := newFleetWorld(t)
	loading, enough := context.WithCancel(f.ctx)
	loaded := make(chan error, 1)
	go func() { loaded <- f.load(loading) }()

	dir := t.TempDir()
	var b *exec.Cmd
	f.change("the first has come", false, func() { f.launch("a") }, "a")
	f.change("a second has come", false, func() { b = f.child("b", dir) }, "a", "b")
	f.change("a third has come", true, func() { f.launch("c") }, "a", "b", "c")
	f.change("one was killed", true, func() { _, _ = b.Process.Kill(), b.Wait() }, "a", "c")
	f.change("it has come back", false, func() { b = f.child("b", dir) }, "a", "b", "c")
	f.change("one has left", true, func() { f.end("a") }, "b", "c")

	enough()
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
	f.compare()
	f.end("c")
}

// compare works out what must have come of the orders and payments, and compares it, key
// by key, with what is committed in the output topics.
func (f *fleetWorld) compare() {
	f.t.Helper()
	want := f.expected()
	for _, topic := range []string{"counts", "windows", "pairs"} {
		var got map[string][]string
		f.wait("all results in "+topic, func() bool {
			got = f.results(topic)
			return size(got) >= size(want[topic])
		})
		for key := range want[topic] {
			if !slices.Equal(got[key], want[topic][key]) {
				f.t.Errorf("%s of %s: too much %v, missing %v", topic, key, difference(got[key], want[topic][key]), difference(want[topic][key], got[key]))
			}
		}
		if len(got) != len(want[topic]) || size(got) < fleetPartitions*outstanding {
			f.t.Errorf("%s: %d results of %d keys, %d of %d keys were to come", topic, size(got), len(got), size(want[topic]), len(want[topic]))
		}
	}
}

func size(results map[string][]string) (n int) {
	for _, list := range results {
		n += len(list)
	}
	return n
}

// results are the committed records of a topic by key: counts in their order, pairs
// sorted.
func (f *fleetWorld) results(topic string) map[string][]string {
	all := map[string][]string{}
	f.read(topic, func(r *kgo.Record) {
		key, value := string(r.Key), string(r.Value)
		if topic != "pairs" {
			value = strconv.FormatUint(binary.BigEndian.Uint64(r.Value), 10)
		}
		if topic == "windows" {
			n := len(key) - 8
			key = fmt.Sprintf("%s@%d", key[:n], binary.BigEndian.Uint64(r.Key[n:]))
		}
		all[key] = append(all[key], value)
	})
	if topic == "pairs" {
		for _, list := range all {
			slices.Sort(list)
		}
	}
	return all
}

func (f *fleetWorld) read(topic string, visit func(*kgo.Record)) {
	f.t.Helper()
	err := f.client.Read(f.ctx, topic, topics.ToEnd, func(r *kgo.Record) (bool, error) {
		visit(r)
		return true, nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// expected is what must be in the output topics, from what is in the input topics.
func (f *fleetWorld) expected() map[string]map[string][]string {
	counts, windows, pairs := map[string][]string{}, map[string][]string{}, map[string][]string{}
	next := func(of map[string][]string, key string) { of[key] = append(of[key], strconv.Itoa(len(of[key])+1)) }
	payments := map[string][]*kgo.Record{}
	f.read("payments", func(r *kgo.Record) { payments[string(r.Key)] = append(payments[string(r.Key)], r) })
	byTime := func(r *kgo.Record, at time.Time) int { return r.Timestamp.Compare(at) }
	for _, list := range payments {
		slices.SortFunc(list, func(a, b *kgo.Record) int { return byTime(a, b.Timestamp) })
	}
	f.read("orders", func(r *kgo.Record) {
		key, ms := string(r.Key), r.Timestamp.UnixMilli()
		next(counts, regionOf(string(r.Value)))
		next(windows, fmt.Sprintf("%s@%d", key, ms-ms%fleetWindow.Milliseconds()))
		first, _ := slices.BinarySearchFunc(payments[key], r.Timestamp.Add(-fleetReach), byTime)
		for _, p := range payments[key][first:] {
			if p.Timestamp.Sub(r.Timestamp) > fleetReach {
				break
			}
			pairs[key] = append(pairs[key], glue("", pair{Left: string(r.Value), HasLeft: true, Right: string(p.Value), HasRight: true}))
		}
	})
	for _, list := range pairs {
		slices.Sort(list)
	}
	return map[string]map[string][]string{"counts": counts, "windows": windows, "pairs": pairs}
}
