package streams

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/status"
)

// doing asks how an application is doing.
func (w *world) doing(r *running, app string) *status.Application {
	w.t.Helper()
	a, err := r.Status(w.ctx, app)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// TestStatus follows an application: it works, is paused and falls behind, catches up,
// keeps its state on disk, and restores it where there is none.
func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.drop("wc-counts-changelog")
	topology, counts := wordCount(t)
	app, dir := App{ID: "wc", Topology: topology, ExactlyOnce: true, CommitInterval: 10 * time.Millisecond}, t.TempDir()
	e := w.start(dir, app)
	w.put(300)
	w.waitCounted(e, "wc", counts)
	w.wait("no lag", func() bool { return w.doing(e, "wc").Lag() == 0 })
	a := w.doing(e, "wc")
	if a.ID != "wc" || a.Guarantee != "exactly_once_v2" || len(a.Tasks) != 8 || a.Error != nil || a.Disk == nil || a.Disk.Full {
		t.Errorf("status %+v", a)
	}
	var processed, offsets, reads int64
	for _, k := range a.Tasks {
		processed += k.Processed
		for _, p := range k.Partitions {
			offsets += max(p.Offset, 0)
			if p.Node == "" || p.Lag != 0 {
				t.Errorf("task %s reads %+v", k.ID, p)
			}
		}
		for _, s := range k.Stores {
			reads += s.CacheReads
		}
	}
	// Each word is processed twice, on both sides of the repartition topic, whose
	// transactions have marks that take an offset.
	if processed < 600 || a.Thread.Processed < processed || offsets < 600 || reads == 0 {
		t.Errorf("%d records processed, %d by the thread, up to offsets %d, and %d reads", processed, a.Thread.Processed, offsets, reads)
	}
	if th := a.Thread; th.Commits == 0 || th.Polls == 0 || th.Created < 8 || th.Process.Count == 0 || th.Commit.Max <= 0 {
		t.Errorf("the thread has %+v", th)
	}
	if err := e.Pause("wc"); err != nil {
		t.Fatal(err)
	}
	w.wait("the pause", func() bool { return w.doing(e, "wc").State == string(Paused) })
	w.put(70)
	w.wait("the lag", func() bool { return w.doing(e, "wc").Lag() >= 70 })
	if err := e.Resume("wc"); err != nil {
		t.Fatal(err)
	}
	w.waitCounted(e, "wc", counts)
	e.end()
	e = w.start(dir, app)
	w.waitContents(e, "wc", counts)
	w.wait("the sizes on disk", func() bool {
		var size uint64
		for _, k := range w.doing(e, "wc").Tasks {
			for _, s := range k.Stores {
				size += s.DiskBytes
			}
		}
		return size > 0
	})
	e.end()
	e = w.start(t.TempDir(), app)
	w.waitContents(e, "wc", counts)
	var done int64
	for _, k := range w.doing(e, "wc").Tasks {
		for _, s := range k.Stores {
			if s.Restore == nil || s.Restore.Left != 0 || s.Restore.ETA == nil {
				t.Fatalf("store %s of task %s was restored: %+v", s.Name, k.ID, s.Restore)
			}
			done += s.Restore.Done
		}
	}
	if done < int64(len(w.model)) {
		t.Errorf("%d records restored", done)
	}
	if _, err := e.Status(w.ctx, "nobody"); connect.AsError(err).Code != "streams.app.unknown" {
		t.Errorf("the status of nobody: %v", err)
	}
	e.end()
}

// TestStatusOfStandbys has a second instance keep copies, and tell of them.
func TestStatusOfStandbys(t *testing.T) {
	w := newWorld(t)
	w.drop("wc-counts-changelog")
	topology, counts := keyCount(t)
	app := App{ID: "wc", Topology: topology, Standbys: 1, CommitInterval: 10 * time.Millisecond}
	first := w.start(t.TempDir(), app)
	w.put(200)
	w.waitCounted(first, "wc", counts)
	second := w.start(t.TempDir(), app)
	w.wait("copies of all that run elsewhere, up to date", func() bool {
		a, b := w.doing(first, "wc"), w.doing(second, "wc")
		for _, s := range append(a.Standbys, b.Standbys...) {
			if s.Lag != 0 || len(s.Stores) != 1 {
				return false
			}
		}
		return len(a.Standbys) == len(b.Tasks) && len(b.Standbys) == len(a.Tasks) && len(a.Tasks)+len(b.Tasks) == 4
	})
	second.end()
	first.end()
}

// asked asks an engine over HTTP.
func (w *world) asked(r *running, method, path string, change func(*http.Request)) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, method, "http://"+r.Address()+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if method == http.MethodPut {
		req.Header.Set("Content-Type", "application/json")
	}
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestStatusOverHTTP asks an engine, as those who know the secret do and as others do.
func TestStatusOverHTTP(t *testing.T) {
	w := newWorld(t)
	w.drop("wc-counts-changelog")
	topology, counts := keyCount(t)
	remote := &query.Remote{Secret: "open sesame"}
	eng, err := OpenEngine(Config{Brokers: w.brokers, Remote: remote})
	if err != nil {
		t.Fatal(err)
	}
	if err := eng.Add(App{ID: "wc", Topology: topology}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	e := &running{Engine: eng, t: t, stop: cancel, done: make(chan error, 1)}
	go func() { e.done <- eng.Run(ctx) }()
	w.put(100)
	w.waitCounted(e, "wc", counts)
	sign := remote.Sign
	var all []status.Summary
	if code, body := w.asked(e, "GET", status.Path, sign); code != 200 || json.Unmarshal([]byte(body), &all) != nil || len(all) != 1 || all[0].ID != "wc" || all[0].Tasks != 4 {
		t.Errorf("all: %d %s", code, body)
	}
	var one status.Application
	if code, body := w.asked(e, "GET", status.Path+"/wc", sign); code != 200 || json.Unmarshal([]byte(body), &one) != nil || one.State != "RUNNING" || len(one.Tasks) != 4 || strings.Contains(body, "null") {
		t.Errorf("one: %d %s", code, body)
	}
	for path, want := range map[string]string{"/wc/topology": topology.Describe(), "/wc/topology?format=dot": topology.DOT()} {
		if code, body := w.asked(e, "GET", status.Path+path, sign); code != 200 || body != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, c := range []struct {
		method, path string
		change       func(*http.Request)
		want         int
	}{
		{"GET", status.Path + "/nobody", sign, 404},
		{"GET", status.Path, nil, 401},
		{"PUT", status.Path + "/wc/pause", nil, 401},
		{"PUT", status.Path + "/wc/pause", func(r *http.Request) { sign(r); r.Header.Set("Content-Type", "text/plain") }, 415},
		{"GET", status.Path, func(r *http.Request) { sign(r); r.Host = "evil.example" }, 415},
		{"GET", status.Path + "/wc", func(r *http.Request) {
			other := r.Clone(r.Context())
			other.URL.Path = status.Path
			sign(other)
			r.Header = other.Header
		}, 401},
		{"DELETE", status.Path + "/wc", func(r *http.Request) { sign(r); r.Header.Set("Content-Type", "application/json") }, 405},
		{"PUT", status.Path + "/wc/pause", sign, 202},
	} {
		if code, body := w.asked(e, c.method, c.path, c.change); code != c.want {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, code, body, c.want)
		}
	}
	w.wait("the pause", func() bool { return w.doing(e, "wc").State == "PAUSED" })
	if code, body := w.asked(e, "PUT", status.Path+"/wc/resume", sign); code != 202 {
		t.Errorf("resume: %d %s", code, body)
	}
	w.put(50)
	w.waitCounted(e, "wc", counts)
	e.end()
}

// TestTopologiesComeAndGo adds and removes topologies while others run under load: those
// that stay go on without a rebalance of theirs, those that are removed and come again go
// on where they were, and one that is removed with a reset begins anew. All count every
// word once.
func TestTopologiesComeAndGo(t *testing.T) {
	w := newWorld(t)
	topology, counts := keyCount(t, With{Uncached: true})
	name := func(i int) string { return fmt.Sprint("guest", i) }
	for i := range 4 {
		w.drop(name(i) + "-counts-changelog")
	}
	e := w.start(t.TempDir(), App{ID: "wc", Topology: topology, ExactlyOnce: true, CommitInterval: 10 * time.Millisecond})
	w.put(100)
	w.waitCounted(e, "wc", counts)
	w.wait("all tasks", func() bool { return e.apps["wc"].metrics.Tasks.Load() == 4 })
	before := w.doing(e, "wc").Thread
	guests := make([]*Table[string, int64], 4)
	add := func(i int) {
		t.Helper()
		var guest *Topology
		guest, guests[i] = newOther(t)
		if err := e.Add(App{ID: name(i), Topology: guest, ExactlyOnce: i%2 == 0, CommitInterval: 10 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range guests {
		add(i)
		w.put(50)
	}
	for round := range 2 {
		for i := range guests {
			w.put(30)
			if err := e.Remove(w.ctx, name(i), i == 3 && round == 1); err != nil {
				t.Fatal(err)
			}
			if _, err := e.State(name(i)); connect.AsError(err).Code != "streams.app.unknown" {
				t.Errorf("%s was removed: %v", name(i), err)
			}
			w.put(30)
			add(i)
		}
	}
	w.put(100)
	w.waitCounted(e, "wc", counts)
	for i, guest := range guests {
		w.waitContents(e, name(i), guest)
	}
	if got := strings.Join(e.Apps(), " "); got != "guest0 guest1 guest2 guest3 wc" {
		t.Errorf("there are %s", got)
	}
	stayed := w.doing(e, "wc")
	if stayed.Thread.Created != before.Created || stayed.Thread.Closed != before.Closed || stayed.Thread.Restarts != before.Restarts {
		t.Errorf("the one that stayed was disturbed: %+v", stayed.Thread)
	}
	e.end()
	w.checkExact()
}
