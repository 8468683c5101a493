package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// pulse shows life until ctx ends, also while the member waits for others to join, and
// has all work stopped when the brokers have not answered for as long as the session
// lasts (KAFKA-9184). A sign of life does not wait for the answer to the one before, so
// that a slow network costs a member its place only when its answers take a session.
func (m *Member) pulse(ctx context.Context) {
	tick := time.NewTimer(m.interval())
	defer tick.Stop()
	var beats sync.WaitGroup
	defer beats.Wait()
	under := make(chan struct{}, unanswered)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-m.hurry:
		}
		// A machine that was suspended finds that out before it asks.
		m.checkContact(ctx)
		tick.Reset(m.interval())
		select {
		case under <- struct{}{}:
		default:
			continue
		}
		beats.Go(func() {
			defer func() { <-under }()
			turn, err := m.beat(ctx)
			m.heard(ctx, turn, err)
		})
	}
}

// unanswered is how many signs of life may be under way.
const unanswered = 32

// heard takes the answer to a sign of life of a generation.
func (m *Member) heard(ctx context.Context, turn int32, err error) {
	switch {
	case ctx.Err() != nil:
	case m.isStale(turn):
		// While the member joins, answers are of the former generation.
	case errors.Is(err, kerr.RebalanceInProgress):
		nudge(m.wake)
	case ends(err):
		select {
		case m.faults <- err:
		default:
		}
	case err != nil:
		m.c.Log.Debug("the group does not answer", "group", m.c.Group, "error", err)
	}
}

// briskly is how often, and for how long, a member shows life that expects to hear of a new
// division: the sooner it hears, the shorter nobody runs what has been stopped elsewhere.
const (
	briskly = 50 * time.Millisecond
	brisk   = time.Second
)

// Hurry tells the member that work was stopped elsewhere, which is about to be divided anew.
func (m *Member) Hurry() {
	m.expect()
	nudge(m.hurry)
}

// expect has the member show life more often for a while.
func (m *Member) expect() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.brisk = time.Now().Add(brisk)
}

// interval is when to show life next: not later than when the session would be over.
func (m *Member) interval() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := min(m.c.Heartbeat, m.c.Session)
	if left := m.c.Session - time.Since(m.contact); left > 0 {
		next = min(next, left)
	}
	if time.Now().Before(m.brisk) {
		next = min(briskly, next)
	}
	return next
}

// ends tells whether an error says that the member has no place any more, or another one.
func ends(err error) bool {
	return errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.FencedInstanceID)
}

// isStale tells whether the goroutine of rounds is about to find out by itself.
func (m *Member) isStale(turn int32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.joining || m.turn != turn
}

var errNoPlace = errors.New("the worker has no place in its group")

// Unheard returns after how long without an answer a connection of a member's client
// ought to be given up: late enough for slow networks, and early enough for another one
// to be tried before the session is over.
func Unheard(session time.Duration) time.Duration { return max(session/2, 100*time.Millisecond) }

// beat shows life once, and returns the generation it named. The answer counts as long as
// the session lasts.
func (m *Member) beat(ctx context.Context) (int32, error) {
	m.mu.Lock()
	id, turn := m.id, m.turn
	m.mu.Unlock()
	if turn < 0 {
		return turn, errNoPlace
	}
	ctx, cancel := context.WithTimeout(ctx, m.c.Session)
	defer cancel()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.InstanceID, req.Generation = m.c.Group, id, m.instance(), turn
	sent := time.Now()
	resp, err := req.RequestWith(ctx, m.c.Client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err == nil || errors.Is(err, kerr.RebalanceInProgress) {
		m.touch(sent)
	}
	return turn, err
}

// touch notes that the brokers knew this member at a time.
func (m *Member) touch(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.After(m.contact) {
		m.contact = at
	}
}

// checkContact stops all work when the brokers have not known the member for too long.
func (m *Member) checkContact(ctx context.Context) {
	m.mu.Lock()
	silence := time.Since(m.contact)
	m.mu.Unlock()
	if silence < m.c.Session || len(m.State().Work) == 0 {
		return
	}
	m.lose(ctx, fmt.Sprintf("the group's coordinator was not heard of for %s, and others may have been given it", silence.Round(time.Millisecond)))
	nudge(m.wake) // Work is given back only to those that say they have none.
}

// confirmWait is how often a membership is asked for that is not certain.
const confirmWait = 50 * time.Millisecond

// Confirm returns when the brokers say that this member has its place: whatever it was
// given is its own now. It waits until that is so or ctx ends, whose error it returns.
func (m *Member) Confirm(ctx context.Context) error {
	for {
		_, err := m.beat(ctx)
		if err == nil || errors.Is(err, kerr.RebalanceInProgress) {
			return nil
		}
		if pause(ctx, confirmWait); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// after looks after an error of a round. It tells whether to join again at once; an error
// it returns is final.
func (m *Member) after(ctx context.Context, err error) (again bool, final error) {
	switch {
	case errors.Is(err, kerr.RebalanceInProgress):
		return true, nil
	case errors.Is(err, kerr.FencedInstanceID):
		m.lose(ctx, ErrReplaced.Error())
		return false, ErrReplaced
	case errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.IllegalGeneration):
		m.lose(ctx, "the group has given this worker up")
		m.forget(errors.Is(err, kerr.UnknownMemberID))
		return true, nil
	case errors.Is(err, errBehind):
		return m.stayBehind(ctx, err), nil
	case isUnwelcome(err):
		m.lose(ctx, err.Error())
		return false, err
	case refused(err):
		m.lose(ctx, err.Error())
		return false, fmt.Errorf("join the group %s of workers: %w", m.c.Group, err)
	}
	m.c.Log.Warn("the group of workers cannot be joined, trying again", "group", m.c.Group, "error", err)
	return false, nil
}

func isUnwelcome(err error) bool {
	_, ok := errors.AsType[*Unwelcome](err)
	return ok
}

// refused tells whether trying again is of no use.
func refused(err error) bool {
	for _, refusal := range []error{
		kerr.GroupAuthorizationFailed, kerr.InconsistentGroupProtocol, kerr.InvalidSessionTimeout, kerr.InvalidGroupID, kerr.UnsupportedVersion,
		kerr.SaslAuthenticationFailed,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// forget gives up the generation, and the id with it if it is known no more.
func (m *Member) forget(id bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn = -1
	if id {
		m.id = ""
	}
}

// behindMost is how often in a row a member may fail to read the configurations before it
// leaves its work to others.
const behindMost = 5

// stayBehind waits for configurations that cannot be read.
func (m *Member) stayBehind(ctx context.Context, err error) bool {
	m.behind++
	m.c.Log.Warn("this worker's configurations are behind those of the others", "group", m.c.Group, "error", err, "times", m.behind)
	if m.behind < behindMost {
		return false
	}
	m.behind = 0
	m.lose(ctx, "the configurations cannot be read as far as others have read them")
	m.leave(ctx)
	m.forget(true)
	pause(ctx, m.c.Unsync)
	return true
}

// isAlone tells whether this is the only member, and may keep its place for a successor of
// the same name.
func (m *Member) isAlone(ctx context.Context) bool {
	state := m.State()
	if m.c.Instance == "" || !state.Leads || len(state.URLs) != 1 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	_, err := m.beat(ctx)
	return err == nil // Nobody else joins now.
}

// leaveTime bounds how long the brokers are waited for when a member leaves.
const leaveTime = 3 * time.Second

// leave gives the place up.
func (m *Member) leave(ctx context.Context) {
	m.mu.Lock()
	id := m.id
	m.mu.Unlock()
	if id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = m.c.Group, id
	one := kmsg.NewLeaveGroupRequestMember()
	one.MemberID, one.InstanceID = id, m.instance()
	req.Members = append(req.Members, one)
	if _, err := req.RequestWith(ctx, m.c.Client); err != nil {
		m.c.Log.Warn("the group of workers could not be told that this one leaves", "group", m.c.Group, "error", err)
	}
}
