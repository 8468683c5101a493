package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// listening is a source whose task writes down what it is sent: signals, and the
// records of the topic "orders". Its offset is the number of what it wrote.
type listening struct{ config connect.Config }

func (c *listening) Start(_ context.Context, env connect.ConnectorEnv) error {
	c.config = env.Config
	return nil
}

func (c *listening) TaskConfigs(context.Context, int) ([]connect.Config, error) {
	return []connect.Config{c.config}, nil
}
func (c *listening) Stop(context.Context) error  { return nil }
func (c *listening) NewTask() connect.SourceTask { return &listeningTask{} }

func (c *listening) AlterOffsets(context.Context, connect.Config, map[connect.SourcePartition][]byte) (bool, error) {
	return true, nil
}

func (c *listening) Remedy(_ context.Context, config connect.Config, name string, offsets map[connect.SourcePartition][]byte) (map[connect.SourcePartition][]byte, string, error) {
	if name != "jump" {
		return nil, "", &connect.Error{Code: "remedy.unknown", Class: connect.ClassConfig, Place: name, Message: "there is only jump"}
	}
	for p, text := range offsets {
		return map[connect.SourcePartition][]byte{p: []byte(`{"n":100}`)}, "jumped from " + string(text), nil
	}
	return nil, "nothing to jump from", nil
}

// Retire refuses to be dropped while there may be two tasks.
func (c *listening) Retire(_ context.Context, config connect.Config, drop bool) (string, error) {
	switch {
	case !drop:
		return "an ear is left", nil
	case config["tasks.max"] == "2":
		return "", &connect.Error{Code: "ear.stuck", Message: "the ear does not come off"}
	}
	return "the ear was taken off", nil
}

type listeningTask struct {
	env    connect.SourceTaskEnv
	n      int
	orders chan string
}

func (t *listeningTask) Start(ctx context.Context, env connect.SourceTaskEnv) error {
	t.env, t.orders = env, make(chan string)
	text, err := env.StoredOffset(ctx, connect.SourcePartition{})
	if err != nil {
		return err
	}
	if text != nil {
		if _, err := fmt.Sscanf(string(text), `{"n":%d}`, &t.n); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(env.StateDir, 0o700); err != nil {
		return err
	}
	go func() {
		_ = env.Consume(ctx, nil, "orders", "listeners", func(key, value []byte) error {
			select {
			case t.orders <- string(key) + "=" + string(value):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return nil
}

func (t *listeningTask) Poll(ctx context.Context) ([]connect.SourceRecord, error) {
	var said string
	select {
	case s := <-t.env.Signals:
		said = string(s)
	case said = <-t.orders:
	case <-ctx.Done():
		return nil, nil
	}
	t.n++
	t.env.Show("heard", fmt.Appendf(nil, `{"n":%d}`, t.n))
	return []connect.SourceRecord{{
		Record:       connect.Record{Topic: "heard", Partition: 0, Value: connect.String(said), Timestamp: connect.NoTimestamp},
		SourceOffset: connect.OffsetMap{"n": t.n},
	}}, nil
}

func (t *listeningTask) Stop(context.Context) error { return nil }

func TestSignalsDetailsAndRemedies(t *testing.T) {
	l := newLab(t)
	l.produce("orders", 1, "go")
	dir := t.TempDir()
	w := l.start(connect.Config{"plugin.state.dir": dir})
	w.create("l s", connect.Config{"connector.class": "org.example.Listening"})
	w.waitState("l s", "RUNNING RUNNING")
	wait(t, "the order is heard", func() bool { return same(l.values("heard"), []string{"0=go"}) })
	if _, err := os.Stat(filepath.Join(dir, "connector-l%20s", "0")); err != nil {
		t.Error(err)
	}
	must(t, w.Signal("l s", []byte(`{"id":"1"}`)))
	wait(t, "the signal is heard", func() bool { return same(l.values("heard"), []string{"0=go", `{"id":"1"}`}) })
	for _, bad := range []string{`[]`, `null`, `{`} {
		if err := w.Signal("l s", []byte(bad)); connect.AsError(err).Code != "request.invalid" {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if err := w.Signal("nobody", []byte(`{}`)); connect.AsError(err).Code != "connector.not_found" {
		t.Error(err)
	}
	details, err := w.Details("l s")
	must(t, err)
	if text, err := details[0].MarshalJSON(); err != nil || string(text) != `{"heard":{"n":2},"id":0}` {
		t.Errorf("details %s, %v", text, err)
	}
	wait(t, "the offset is stored", func() bool {
		offsets, err := w.Offsets(t.Context(), "l s")
		return err == nil && len(offsets) == 1 && string(offsets[0].Offset) == `{"n":2}`
	})
	if _, err := w.Remedy(t.Context(), "l s", "pray"); connect.AsError(err).Code != "remedy.unknown" {
		t.Error(err)
	}
	w.waitState("l s", "RUNNING RUNNING")
	message, err := w.Remedy(t.Context(), "l s", "jump")
	if err != nil || message != `jumped from {"n":2}` {
		t.Fatalf("%q, %v", message, err)
	}
	wait(t, "it listens again", func() bool { return w.Signal("l s", []byte(`{"id":"2"}`)) == nil })
	wait(t, "it counts on from there", func() bool {
		offsets, err := w.Offsets(t.Context(), "l s")
		return err == nil && string(offsets[0].Offset) == `{"n":101}`
	})
	must(t, w.SetState(t.Context(), "l s", Stopped))
	w.waitState("l s", "STOPPED")
	if err := w.Signal("l s", []byte(`{}`)); connect.AsError(err).Code != "task.not_running" || !strings.Contains(err.Error(), "/status") {
		t.Error(err)
	}
	if message, err := w.Remedy(t.Context(), "l s", "jump"); err != nil || message != `jumped from {"n":101}` {
		t.Errorf("%q, %v", message, err)
	}
	w.waitState("l s", "STOPPED")
}

// TestDeleteWithAndWithoutDropping deletes connectors whose plugin has a say in it.
func TestDeleteWithAndWithoutDropping(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	w := l.start(connect.Config{"plugin.state.dir": dir})
	config := connect.Config{"connector.class": "org.example.Listening"}
	heard := func(stored string) {
		t.Helper()
		wait(t, "it listens", func() bool { return w.Signal("l", []byte(`{"id":"1"}`)) == nil })
		wait(t, "the offset is stored", func() bool {
			offsets, err := w.Offsets(t.Context(), "l")
			return err == nil && len(offsets) == 1 && string(offsets[0].Offset) == stored
		})
	}
	w.create("l", config)
	heard(`{"n":1}`)
	if left, err := w.Delete(t.Context(), "l", false); err != nil || left != "an ear is left" {
		t.Errorf("%q, %v", left, err)
	}
	w.create("l", with(config, "tasks.max", "2"))
	heard(`{"n":2}`) // It goes on where the deleted one was.
	if _, err := w.Delete(t.Context(), "l", true); connect.AsError(err).Code != "ear.stuck" {
		t.Error(err)
	}
	w.waitState("l", "RUNNING RUNNING")
	_, _, err := w.PutConfig(t.Context(), "l", config)
	must(t, err)
	if told, err := w.Delete(t.Context(), "l", true); err != nil || told != "the ear was taken off" {
		t.Errorf("%q, %v", told, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "connector-l")); !os.IsNotExist(err) {
		t.Error("what it kept on this machine is still there", err)
	}
	w.create("l", config)
	heard(`{"n":1}`)

	w.create("c", counter("numbers"))
	_, err = w.Delete(t.Context(), "c", true)
	failing(t, err, "request.invalid", "Connector c keeps nothing elsewhere that could be dropped")
	w.waitState("c", "RUNNING RUNNING")
	_, err = w.Delete(t.Context(), "nobody", true)
	failing(t, err, "connector.not_found", "Connector nobody not found")
}

// TestStateAskedForDuringARemedy holds from the remedy's end on, and only one thing at
// a time is done to a connector that stands still.
func TestStateAskedForDuringARemedy(t *testing.T) {
	l := newLab(t)
	w := l.start(nil)
	w.create("l", connect.Config{"connector.class": "org.example.Listening"})
	for _, c := range []struct {
		wish TargetState
		then string
	}{{Stopped, "STOPPED"}, {Started, "RUNNING RUNNING"}, {Paused, "PAUSED"}} {
		resume, err := w.halt(t.Context(), "l")
		must(t, err)
		must(t, w.awaitIdle(t.Context(), "l"))
		_, err = w.Remedy(t.Context(), "l", "jump")
		failing(t, err, "request.conflict", "Connector l stands still")
		_, err = w.Delete(t.Context(), "l", true)
		failing(t, err, "request.conflict", "Connector l stands still")
		must(t, w.SetState(t.Context(), "l", c.wish))
		w.waitState("l", "STOPPED")
		must(t, resume(t.Context()))
		w.waitState("l", c.then)
	}
}

// remove deletes a connector as Connect does.
func (r *rig) remove(name string) {
	r.l.t.Helper()
	_, err := r.Delete(r.l.t.Context(), name, false)
	must(r.l.t, err)
}
