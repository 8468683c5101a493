package streams

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
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
