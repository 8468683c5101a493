package fleet

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"
)

// The names of the protocols, by which workers agree on a version of the formats.
const (
	sessioned  = "sessioned"
	compatible = "compatible"
	eager      = "default"
)

// Host is whose work is divided.
type Host interface {
	// Configured returns all the work that the configurations ask for, and the place in
	// the config topic up to which they were read.
	Configured() (work []Work, offset int64)
	// Refresh reads the configurations to their end.
	Refresh(ctx context.Context) error
	// Apply makes the worker run what the state says, and only that. It returns when what
	// is to be stopped has stopped or was abandoned. It is called by one goroutine at a
	// time.
	Apply(ctx context.Context, state State)
}

// Config says which group a member joins and how. Client, Group, URL and Host are needed.
type Config struct {
	// Client is the member's own.
	Client *kgo.Client
	Group  string
	// URL is where others reach this worker's REST interface.
	URL string
	// Instance makes the member a static one (KIP-345): one that comes back under the same
	// name within its session takes the place it had. Empty for a dynamic one.
	Instance string
	// Protocol is the newest that is offered: sessioned (when empty), compatible or eager.
	Protocol string
	// Session is after how long without a sign of life a member is given up, 10 seconds
	// when 0; Heartbeat how often it shows life, 500 milliseconds when 0; Rebalance how
	// long members have to join again, a minute when 0.
	Session, Heartbeat, Rebalance time.Duration
	// MaxDelay is how long the work of a member that is gone waits for it.
	MaxDelay time.Duration
	// Sync bounds the reading of configurations that another member has read already, 3
	// seconds when 0. A member that cannot read them stays away for Unsync.
	Sync, Unsync time.Duration
	// Admission is how long a static member waits for others to go that it cannot be in the
	// group with, 30 seconds when 0: those that were killed are there until their session is
	// over.
	Admission time.Duration
	Host      Host
	Log       *slog.Logger
}

// State is what a member knows of its group and is to do. Slices and maps of it are not
// changed any more.
type State struct {
	Generation int32
	// Member is this one's id in the group, empty when it has no place there.
	Member string
	// LeaderURL is the REST interface of the leader's worker, empty when none is known.
	LeaderURL string
	// Leads tells that this member is the leader.
	Leads bool
	// Protocol is the name of the protocol the group has chosen.
	Protocol string
	// Work is all that this member is to run.
	Work []Work
	// URLs are the members' workers, and Owners those that were given each work. Only the
	// leader knows them.
	URLs   []string
	Owners map[Work]string
	// Rounds counts the divisions of work that this member has taken part in.
	Rounds int64
	// Divided is when the work was last divided, and Took how long that took.
	Divided time.Time
	Took    time.Duration
}

// ErrReplaced says that another worker of the same name has taken the member's place.
var ErrReplaced = errors.New("another worker of the same name has taken this one's place in the group")

// Member is a worker's place in its group. Its methods may be called from any number of
// goroutines.
type Member struct {
	c       Config
	wake    chan struct{} // The work is to be divided anew.
	changed chan struct{} // The configurations may ask for something else.
	hurry   chan struct{} // Life is to be shown now.
	faults  chan error    // Answers to heartbeats that end a membership.

	// What follows belongs to the goroutine of rounds.
	ledger    ledger
	completed int32               // The last generation that has come to work.
	seen      map[Work]bool       // What was configured when it was last divided.
	delayed   *time.Timer         // When the leader wants everybody to join again.
	behind    int                 // How often in a row the configurations could not be read.
	vetted    string              // The leader that was last found to be one of ours.
	hosting   *semaphore.Weighted // Held while the host applies a state, and while state changes.

	mu      sync.Mutex // Guards what follows.
	state   State
	id      string
	turn    int32 // The generation that heartbeats name, -1 for none.
	joining bool
	joined  time.Time // When the member last began to join.
	contact time.Time // When the brokers last knew this member.
	brisk   time.Time // Until when life is shown more often.
}

// NewMember returns a member that has not joined yet.
func NewMember(c Config) *Member {
	or := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	or(&c.Session, 10*time.Second)
	or(&c.Heartbeat, 500*time.Millisecond)
	or(&c.Rebalance, time.Minute)
	or(&c.Sync, 3*time.Second)
	or(&c.Admission, 30*time.Second)
	if c.Protocol == "" {
		c.Protocol = sessioned
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	m := &Member{
		c: c, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), hurry: make(chan struct{}, 1), faults: make(chan error, 1),
		hosting: semaphore.NewWeighted(1), ledger: ledger{maxDelay: c.MaxDelay}, completed: -1, turn: -1, delayed: time.NewTimer(time.Hour),
	}
	m.delayed.Stop()
	return m
}

// State returns what the member knows now.
func (m *Member) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// Changed tells the member that the configurations have changed. If they ask for other
// work than they did, it is divided anew.
func (m *Member) Changed() { nudge(m.changed) }

// nudge sends unless a signal is waiting already.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run takes part in the group until ctx is done, and then gives the place up; the host's
// work has ended before. A static member that is the only one keeps its place until its
// session is over: there is nobody to take its work, and a successor goes on at once. The
// error is [ErrReplaced], [Unwelcome], or that of a group that cannot be joined at all. It is called
// once.
func (m *Member) Run(ctx context.Context) error {
	defer m.delayed.Stop()
	pulsing, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.pulse(pulsing)
	}()
	err := m.rounds(ctx)
	stop()
	<-ended
	if last := context.WithoutCancel(ctx); err == nil && !m.isAlone(last) {
		m.leave(last)
	}
	return err
}

// rounds joins again and again.
func (m *Member) rounds(ctx context.Context) error {
	if err := m.admit(ctx); err != nil {
		return err
	}
	retry := time.Duration(0)
	for ctx.Err() == nil {
		err := m.round(ctx)
		if err == nil {
			retry = 0
			err = m.rest(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			continue
		}
		again, err := m.after(ctx, err)
		if err != nil {
			return err
		}
		if !again {
			retry = min(max(2*retry, 50*time.Millisecond), time.Second)
			pause(ctx, retry)
		}
	}
	return nil
}

// pause waits, or for ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// rest waits until there is a reason to join again.
func (m *Member) rest(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
			return nil
		case <-m.delayed.C:
			return nil
		case err := <-m.faults:
			return err
		case <-m.changed:
			if work, _ := m.c.Host.Configured(); !m.isSeen(work) {
				return nil
			}
		}
	}
}

func (m *Member) isSeen(work []Work) bool {
	return len(work) == len(m.seen) && !slices.ContainsFunc(work, func(w Work) bool { return !m.seen[w] })
}

// round joins, takes part in the division and applies what comes of it.
func (m *Member) round(ctx context.Context) error {
	if m.c.Protocol == "eager" || m.State().Protocol == eager {
		m.lose(ctx, "all work is divided anew")
	}
	m.setJoining(true)
	defer m.setJoining(false)
	joined, err := m.join(ctx)
	if err != nil {
		return err
	}
	p, err := m.plan(ctx, joined)
	if err != nil {
		return err
	}
	assigned, err := m.sync(ctx, joined, p)
	if p.leads && !joined.SkipAssignment && assigned.Leader != joined.MemberID {
		// Another member was told so too, and what that one has divided holds.
		p = plan{protocol: p.protocol}
	}
	if err == nil && !p.leads {
		err = m.vet(ctx, assigned.Leader)
	}
	if err != nil {
		return err
	}
	return m.adopt(ctx, joined, p, assigned)
}

func (m *Member) setJoining(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joining = on
	if on {
		m.joined = time.Now()
	}
}

// Joining tells whether the work is being divided.
func (m *Member) Joining() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.joining
}

// lose stops all work.
func (m *Member) lose(ctx context.Context, why string) {
	defer m.host()()
	state := m.State()
	if len(state.Work) == 0 {
		return
	}
	m.c.Log.Warn("the worker stops all its work", "because", why, "group", m.c.Group)
	state.Work = nil
	m.apply(ctx, state)
}

// host waits until nobody else has the host apply anything, and returns what ends that.
func (m *Member) host() (done func()) {
	_ = m.hosting.Acquire(context.Background(), 1) // It cannot fail.
	return func() { m.hosting.Release(1) }
}

// apply sets the state and has the host follow it. The caller holds hosting.
func (m *Member) apply(ctx context.Context, state State) {
	m.mu.Lock()
	m.state = state
	m.mu.Unlock()
	m.c.Host.Apply(ctx, state)
}
