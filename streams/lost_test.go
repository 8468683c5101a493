package streams

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/query"
)

// ownBroker is one that the test can make misbehave.
func ownBroker(t *testing.T) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// throwOut has the broker answer the next heartbeat of anybody as if it had forgotten
// all members, as one that was killed has. told is closed when it has.
func throwOut(c *kfake.Cluster) (told chan struct{}) {
	told = make(chan struct{})
	c.ControlKey(int16(kmsg.Heartbeat), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = kerr.UnknownMemberID.Code
		close(told)
		return resp, nil, true
	})
	return told
}

// TestThrownOutBeforeCommit has the group forget its member after the member has
// written everything of a transaction and before it ends it.
func TestThrownOutBeforeCommit(t *testing.T) {
	c := ownBroker(t)
	w := newWorldOn(t, c.ListenAddrs())
	topology, counts := keyCount(t, With{Uncached: true})
	w.put(200)
	thrown := false
	e := w.start(t.TempDir(), App{ID: "wc", Topology: topology, ExactlyOnce: true}, func(e *Engine) {
		e.crash = func(point string) error {
			if point != "written" || thrown {
				return nil
			}
			thrown = true
			select {
			case <-throwOut(c):
			case <-w.ctx.Done():
			}
			return nil
		}
	})
	w.waitOutput()
	w.waitContents(e, "wc", counts)
	w.checkExact()
	e.end()
	if !thrown {
		t.Error("nobody was thrown out")
	}
}

// TestNoPlaceNoAnswer takes an application its place in the group and lets it wait for
// another: its stores must not be read as if they were empty.
func TestNoPlaceNoAnswer(t *testing.T) {
	for name, eos := range guarantees {
		t.Run(name, func(t *testing.T) {
			c := ownBroker(t)
			w := newWorldOn(t, c.ListenAddrs())
			topology, counts := wordCount(t)
			w.put(200)
			e := w.start(t.TempDir(), App{ID: "wc", Topology: topology, ExactlyOnce: eos})
			w.waitOutput()
			w.waitContents(e, "wc", counts)
			before, err := e.Rows(w.ctx, "wc", counts.StoreName())
			if err != nil {
				t.Fatal(err)
			}

			join := make(chan struct{})
			c.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.SleepControl(func() {
					select {
					case <-join:
					case <-w.ctx.Done():
					}
				})
				return nil, nil, false
			})
			throwOut(c)
			w.wait("the tasks to go", func() bool { return e.tasks("wc") == 0 })

			impatient, cancel := context.WithCancelCause(w.ctx)
			cancel(errors.New("no time"))
			if _, err := e.Rows(impatient, "wc", counts.StoreName()); !hasCode(err, "streams.app.not_ready") {
				t.Errorf("an application without a place in its group is read with %v", err)
			}
			err = before.ScanAll(w.ctx, nil, nil, func(query.Row) error { return nil })
			if !hasCode(err, "streams.store.elsewhere") {
				t.Errorf("a store without its partitions is read with %v", err)
			}
			if _, _, err := before.Get(w.ctx, []byte("word1")); !hasCode(err, "streams.store.elsewhere") {
				t.Errorf("a key of a store without its partitions is read with %v", err)
			}
			close(join)
			w.put(50)
			w.waitOutput()
			w.waitContents(e, "wc", counts)
			e.end()
		})
	}
}

func hasCode(err error, code string) bool {
	e, ok := errors.AsType[*connect.Error](err)
	return ok && e.Code == code
}

// TestStoppedWhileJoining stops an application while the brokers let it wait for its place
// in the group, as they do until all members have asked for theirs: it does not wait for
// that.
func TestStoppedWhileJoining(t *testing.T) {
	for name, eos := range guarantees {
		t.Run(name, func(t *testing.T) {
			c := ownBroker(t)
			w := newWorldOn(t, c.ListenAddrs())
			topology, _ := wordCount(t)
			w.put(200)
			e := w.start(t.TempDir(), App{ID: "wc", Topology: topology, ExactlyOnce: eos})
			w.waitOutput()
			joining, over := make(chan struct{}), make(chan struct{})
			defer close(over)
			c.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
				close(joining)
				c.SleepControl(func() { <-over })
				return nil, nil, false
			})
			throwOut(c)
			select {
			case <-joining:
			case <-w.ctx.Done():
				t.Fatal("nobody asks for a place")
			}
			e.end()
		})
	}
}

// heldUp has the broker keep the first request of its kind that is of an instance waiting.
// begun is closed when it has come, and close(release) lets it go on.
func (w *world) heldUp(c *kfake.Cluster, key kmsg.Key, instance string) (begun, release chan struct{}) {
	begun, release = make(chan struct{}), make(chan struct{})
	c.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		var of *string
		switch req := req.(type) {
		case *kmsg.JoinGroupRequest:
			of = req.InstanceID
		case *kmsg.SyncGroupRequest:
			of = req.InstanceID
		}
		if of == nil || *of != instance {
			return nil, nil, false
		}
		c.DropControl()
		close(begun)
		c.SleepControl(func() {
			select {
			case <-release:
			case <-w.ctx.Done():
			}
		})
		return nil, nil, false
	})
	return begun, release
}

// TestGivenUpOnWhileJoining has the group give up on a member that asks for a new
// generation, and give its partitions to another, which goes on in them. The member is not
// told: it joins again by itself, and must not commit what it has done meanwhile as one of
// the new generation.
func TestGivenUpOnWhileJoining(t *testing.T) {
	for name, stays := range map[string]bool{"the other stays": true, "the other leaves": false} {
		t.Run(name, func(t *testing.T) { givenUpOn(t, stays) })
	}
}

// givenUpOn has the other one leave before the member is back, or stay. When it leaves, the
// member is given the partitions that it believes to have.
func givenUpOn(t *testing.T, stays bool) {
	c := ownBroker(t)
	w := newWorldOn(t, c.ListenAddrs())
	topology, _ := keyCount(t, With{Uncached: true})
	app := App{ID: "wc", Topology: topology, ExactlyOnce: true, CommitInterval: 10 * time.Millisecond}
	w.put(100)
	var stalled atomic.Bool
	joined := make(chan struct{})
	first := w.start(t.TempDir(), app, func(e *Engine) {
		e.crash = func(point string) error {
			if point == "written" && stalled.CompareAndSwap(true, false) {
				select {
				case <-joined:
				case <-w.ctx.Done():
				}
			}
			return nil
		}
	})
	w.waitOutput()

	asks, answer := w.heldUp(c, kmsg.JoinGroup, first.instance)
	second := w.start(t.TempDir(), app)
	<-asks
	stalled.Store(true) // What it does from here on is committed when it has joined again.
	admin, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := kadm.NewClient(admin).LeaveGroup(w.ctx, kadm.LeaveGroup("wc").InstanceIDs(first.instance)); err != nil {
		t.Fatal(err)
	}
	w.wait("the second engine to have all tasks", func() bool { return second.tasks("wc") == 4 })
	w.put(100)
	w.wait("the first engine to have done the same", func() bool { return !stalled.Load() })
	w.wait("the second engine to commit it", func() (done bool) {
		commits, err := w.client.Committed(w.ctx, "wc", map[string][]int32{"in": {0, 1, 2, 3}})
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for _, commit := range commits["in"] {
			sum += commit.Offset
		}
		return sum == 200
	})

	if !stays {
		second.end()
	}
	synced, settle := w.heldUp(c, kmsg.SyncGroup, first.instance)
	close(answer)
	<-synced
	close(joined)
	close(settle)
	w.wait("the tasks to be where they belong", func() bool {
		w.put(20)
		return stays && first.tasks("wc") == 2 && second.tasks("wc") == 2 || !stays && first.tasks("wc") == 4
	})
	w.waitOutput()
	w.checkExact()
	first.end()
	if stays {
		second.end()
	}
}
