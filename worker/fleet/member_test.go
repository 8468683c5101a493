package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/devstack"
)

// cluster is what the workers of a test have in common: the configurations, and a count of
// who runs what.
type cluster struct {
	t       *testing.T
	brokers []string

	mu     sync.Mutex
	work   []Work
	offset int64
	runs   map[Work]string // By whom.
	twice  []string
	starts map[Work]int
}

func newCluster(t *testing.T, brokers []string) *cluster {
	return &cluster{t: t, brokers: brokers, runs: map[Work]string{}, starts: map[Work]int{}}
}

// patience is how long a test waits for what must come; machines that run tests may be
// slow.
const patience = 3 * time.Minute

func (c *cluster) wait(what string, f func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.t.Fatalf("it never came to this: %s; runs %v", what, c.runs)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// peer is a worker of a test.
type peer struct {
	*Member
	c      *cluster
	name   string
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{}
	err    error
	behind atomic.Bool // It cannot read the newest configurations.
	read   int64       // Guarded by the cluster's mu.
	seen   []Work      // Likewise.
	ended  bool        // Likewise: it runs nothing any more.
}

// start starts a worker.
func (c *cluster) start(name string, change ...func(*Config)) *peer {
	c.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...))
	if err != nil {
		c.t.Fatal(err)
	}
	p := &peer{c: c, name: name, client: client, done: make(chan struct{})}
	config := Config{
		Client: client, Group: "workers", URL: "http://" + name + "/", Instance: name,
		Session: time.Minute, Heartbeat: 50 * time.Millisecond, Host: p,
	}
	for _, f := range change {
		f(&config)
	}
	p.Member = NewMember(config)
	_ = p.Refresh(c.t.Context())
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	go func() {
		defer close(p.done)
		p.err = p.Run(ctx)
	}()
	c.t.Cleanup(func() {
		cancel()
		<-p.done
		client.Close()
	})
	return p
}

// end stops a worker in order: it runs nothing more, whatever it is still given, and then
// gives its place up.
func (p *peer) end() {
	p.c.mu.Lock()
	p.ended = true
	p.c.mu.Unlock()
	p.Apply(p.c.t.Context(), State{})
	p.stop()
	<-p.done
}

// kill ends a worker as if it had been killed: the group is told nothing.
func (p *peer) kill() {
	p.client.Close()
	p.stop()
	<-p.done
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	maps.DeleteFunc(p.c.runs, func(_ Work, name string) bool { return name == p.name })
}

func (p *peer) Configured() ([]Work, int64) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	return p.seen, p.read
}

func (p *peer) Refresh(context.Context) error {
	if p.behind.Load() {
		return errors.New("the topic cannot be read")
	}
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	p.seen, p.read = p.c.work, p.c.offset
	return nil
}

func (p *peer) Apply(_ context.Context, s State) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if p.ended {
		s.Work = nil
	}
	maps.DeleteFunc(p.c.runs, func(w Work, name string) bool { return name == p.name && !slices.Contains(s.Work, w) })
	for _, w := range s.Work {
		switch p.c.runs[w] {
		case p.name:
		case "":
			p.c.runs[w] = p.name
			p.c.starts[w]++
		default:
			p.c.twice = append(p.c.twice, fmt.Sprint(w))
		}
	}
}

// configure changes the configurations, which all workers read.
func (c *cluster) configure(tasks map[string]int, readers ...*peer) {
	g := group{}
	g.configure(tasks)
	c.mu.Lock()
	c.work = g.configured
	c.offset++
	c.mu.Unlock()
	for _, p := range readers {
		_ = p.Refresh(c.t.Context())
		p.Changed()
	}
}

// counts returns how much each worker runs, and whether everything that is configured runs.
func (c *cluster) counts() (map[string]int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.twice) > 0 {
		c.t.Errorf("these ran twice: %v", c.twice)
		c.twice = nil
	}
	counts := map[string]int{}
	for _, name := range c.runs {
		counts[name]++
	}
	return counts, len(c.runs) == len(c.work)
}

func (c *cluster) waitCounts(want map[string]int) {
	c.t.Helper()
	c.wait(fmt.Sprintf("the work is divided as %v", want), func() bool {
		got, all := c.counts()
		return all && maps.Equal(got, want)
	})
}

func (c *cluster) allStarts() map[Work]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.starts)
}

func TestMembersShareTheWork(t *testing.T) {
	for _, protocol := range []string{"sessioned", "compatible", "eager"} {
		t.Run(protocol, func(t *testing.T) {
			c := newCluster(t, devstack.TestKafka(t))
			with := func(config *Config) { config.Protocol = protocol }
			a := c.start("a", with)
			c.configure(map[string]int{"x": 5, "y": 5, "z": 5}, a)
			c.waitCounts(map[string]int{"a": 18})
			b, d := c.start("b", with), c.start("d", with)
			c.waitCounts(map[string]int{"a": 6, "b": 6, "d": 6})
			before := c.allStarts()
			c.configure(map[string]int{"x": 5, "y": 2, "z": 5, "v": 2}, a, b, d)
			c.wait("the change is in effect", func() bool { _, all := c.counts(); return all && c.allStarts()[Work{"v", 1}] > 0 })
			for w, n := range c.allStarts() {
				if protocol != "eager" && (w.Connector == "x" || w.Connector == "z") && n != before[w] {
					t.Errorf("%v was started %d times, and before the change %d times", w, n, before[w])
				}
			}
			leaders := 0
			for _, p := range []*peer{a, b, d} {
				s := p.State()
				if s.Leads {
					leaders++
					if len(s.URLs) != 3 || len(s.Owners) != 18 {
						t.Errorf("the leader knows of %v and %v", s.URLs, s.Owners)
					}
				}
			}
			if leaders != 1 {
				t.Errorf("%d leaders", leaders)
			}
			b.end()
			c.waitCounts(map[string]int{"a": 9, "d": 9})
			if err := errors.Join(a.Confirm(t.Context()), d.Confirm(t.Context())); err != nil {
				t.Error(err)
			}
			a.end()
			c.waitCounts(map[string]int{"d": 18})
		})
	}
}

// TestWorkOfADeadMemberMoves kills a member.
func TestWorkOfADeadMemberMoves(t *testing.T) {
	c := newCluster(t, devstack.TestKafka(t))
	quick := func(config *Config) { config.Session = 6 * time.Second }
	a, b := c.start("a", quick), c.start("b", quick)
	c.configure(map[string]int{"x": 1, "y": 1}, a, b)
	c.waitCounts(map[string]int{"a": 2, "b": 2})
	a.kill()
	c.waitCounts(map[string]int{"b": 4})
}

// TestStaticMemberComesBackToItsPlace kills members whose sessions last longer than a
// test. A successor of the same name takes the place of each at once.
func TestStaticMemberComesBackToItsPlace(t *testing.T) {
	c := newCluster(t, devstack.TestKafka(t))
	long := func(config *Config) { config.Session = 5 * time.Minute }
	a := c.start("a", long)
	c.configure(map[string]int{"x": 1, "y": 1}, a)
	c.waitCounts(map[string]int{"a": 4})
	for range 3 {
		a.kill()
		a = c.start("a", long)
		c.waitCounts(map[string]int{"a": 4})
	}
	b := c.start("b", long)
	c.waitCounts(map[string]int{"a": 2, "b": 2})
	before := c.allStarts()
	for range 2 {
		b.kill()
		b = c.start("b", long)
		c.waitCounts(map[string]int{"a": 2, "b": 2})
		a.kill()
		a = c.start("a", long)
		c.waitCounts(map[string]int{"a": 2, "b": 2})
	}
	for w, n := range c.allStarts() {
		if n != before[w]+2 {
			t.Errorf("%v has moved: %d starts, want %d", w, n, before[w]+2)
		}
	}
	// One that stops alone keeps its place for its successor.
	b.end()
	c.waitCounts(map[string]int{"a": 4})
	a.end()
	a = c.start("a", long)
	c.waitCounts(map[string]int{"a": 4})
	c.configure(map[string]int{"x": 3, "y": 1}, a)
	c.waitCounts(map[string]int{"a": 6})
}

func TestDynamicMembers(t *testing.T) {
	c := newCluster(t, devstack.TestKafka(t))
	dynamic := func(config *Config) { config.Instance = "" }
	a, b := c.start("a", dynamic), c.start("b", dynamic)
	c.configure(map[string]int{"x": 1, "y": 1}, a, b)
	c.waitCounts(map[string]int{"a": 2, "b": 2})
	b.end()
	c.waitCounts(map[string]int{"a": 4})
}

func TestReplacedMemberIsTold(t *testing.T) {
	c := newCluster(t, devstack.TestKafka(t))
	a := c.start("a")
	c.configure(map[string]int{"x": 1, "y": 1}, a)
	c.waitCounts(map[string]int{"a": 4})
	twin := c.start("twin", func(config *Config) { config.Instance = "a" })
	<-a.done
	if !errors.Is(a.err, ErrReplaced) {
		t.Errorf("the first one ends with %v", a.err)
	}
	c.mu.Lock()
	c.twice = nil // Until it is told, it does not know.
	c.mu.Unlock()
	twin.Apply(t.Context(), twin.State())
	c.waitCounts(map[string]int{"twin": 4})
}

// fake starts a broker that can be made to misbehave.
func fake(t *testing.T) (*kfake.Cluster, *cluster) {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k, newCluster(t, k.ListenAddrs())
}

// TestMemberThatIsCutOffStopsItsWork has brokers that answer no heartbeats.
func TestMemberThatIsCutOffStopsItsWork(t *testing.T) {
	t.Parallel()
	k, c := fake(t)
	a := c.start("a", func(config *Config) { config.Session = 6 * time.Second })
	c.configure(map[string]int{"x": 1, "y": 1}, a)
	c.waitCounts(map[string]int{"a": 4})
	cut := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat, kmsg.JoinGroup}, Err: kerr.UnknownServerError, TopLevel: true, Count: -1})
	c.wait("it has stopped everything", func() bool { counts, _ := c.counts(); return len(counts) == 0 })
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := a.Confirm(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("its place is confirmed: %v", err)
	}
	cut.Remove()
	c.waitCounts(map[string]int{"a": 4})
}

// TestWorkStopsWhenTheSessionIsOver has a member that nobody answers, and that would show life
// long after that.
func TestWorkStopsWhenTheSessionIsOver(t *testing.T) {
	t.Parallel()
	k, c := fake(t)
	k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownServerError, TopLevel: true, Count: -1})
	a := c.start("a", func(config *Config) { config.Session, config.Heartbeat = 6*time.Second, time.Hour })
	c.configure(map[string]int{"x": 1, "y": 1}, a)
	c.waitCounts(map[string]int{"a": 4})
	c.wait("it has stopped everything, and was given it again", func() bool { return c.allStarts()[Work{"x", 0}] == 2 })
}

// TestMemberThatIsForgottenStopsItsWorkAndJoinsAnew has a broker that knows it no more.
func TestMemberThatIsForgottenStopsItsWorkAndJoinsAnew(t *testing.T) {
	t.Parallel()
	for _, err := range []*kerr.Error{kerr.UnknownMemberID, kerr.IllegalGeneration} {
		k, c := fake(t)
		a := c.start("a")
		c.configure(map[string]int{"x": 1, "y": 1}, a)
		c.waitCounts(map[string]int{"a": 4})
		k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: err, TopLevel: true, Count: 1})
		c.wait("everything was started again", func() bool { return c.allStarts()[Work{"x", 0}] == 2 })
		c.waitCounts(map[string]int{"a": 4})
	}
}

func TestRefusalsEndAMember(t *testing.T) {
	c := newCluster(t, devstack.TestKafka(t))
	a := c.start("a", func(config *Config) { config.Session = 24 * time.Hour })
	<-a.done
	if !errors.Is(a.err, kerr.InvalidSessionTimeout) {
		t.Errorf("ends with %v", a.err)
	}
}

// TestMembersThatAreBehind has a member that cannot read what another has read: as the
// leader it divides nothing, and as a member it gives up its place.
func TestMembersThatAreBehind(t *testing.T) {
	c := newCluster(t, devstack.TestKafka(t))
	a := c.start("a", func(config *Config) { config.Unsync = 2 * time.Second })
	c.configure(map[string]int{"x": 1, "y": 1}, a)
	c.waitCounts(map[string]int{"a": 4})
	a.behind.Store(true)
	c.configure(map[string]int{"x": 3, "y": 3})
	b := c.start("b")
	c.waitCounts(map[string]int{"b": 8})
	a.behind.Store(false)
	c.waitCounts(map[string]int{"a": 4, "b": 4})
	_ = b
}
