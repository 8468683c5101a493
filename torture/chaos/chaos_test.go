package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"
)

func ctxFor(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestSupervisor kills a process, holds it down, lets it end by itself and stops it: it
// is there again each time but the last.
func TestSupervisor(t *testing.T) {
	ctx := ctxFor(t)
	dir := t.TempDir()
	done := filepath.Join(dir, "done")
	p := newProcess("sleeper", "/bin/sh", filepath.Join(dir, "log"), "-c", `echo up; while [ ! -e "`+done+`" ]; do sleep 0.02; done; rm "`+done+`"; exit 3`)
	ended := make(chan string, 16)
	p.said = func(_, text string) { ended <- text }
	life, cancel := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- p.run(life) }()
	running := func(n int) {
		t.Helper()
		if err := p.wait(ctx, func() bool { return p.cmd != nil && p.starts == n }); err != nil {
			t.Fatal(err)
		}
	}
	running(1)
	first := p.pid()
	if err := p.end(ctx, syscall.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	running(2)
	if p.pid() == first {
		t.Error("the same process runs on")
	}
	if err := p.end(ctx, syscall.SIGKILL, true); err != nil {
		t.Fatal(err)
	}
	if p.pid() != 0 {
		t.Error("a process that is held down runs")
	}
	p.release()
	running(3)
	if err := os.WriteFile(done, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case text := <-ended:
		if text != "sleeper ended by itself: exit status 3" {
			t.Error(text)
		}
	case <-ctx.Done():
		t.Fatal("nobody was told")
	}
	running(4)
	if err := p.stop(ctx, time.Minute); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-stopped; err != nil || p.pid() != 0 || p.crashes != 1 {
		t.Errorf("%v, process %d, %d crashes", err, p.pid(), p.crashes)
	}
}

// TestPlansComeFromSeeds draws plans: one seed always gives the same, which can be
// written down and read again; another gives another; and together they leave no class
// out but those that lose data and those that not every run has something to do to, which
// take part only when they are named or asked for.
func TestPlansComeFromSeeds(t *testing.T) {
	seen := map[string]bool{}
	var last Plan
	for seed := range uint64(40) {
		plan, err := Random(seed, time.Hour, time.Second, nil, Also{})
		if err != nil {
			t.Fatal(err)
		}
		again, err := Random(seed, time.Hour, time.Second, nil, Also{})
		if err != nil || !reflect.DeepEqual(plan, again) {
			t.Fatalf("seed %d gave two plans: %v", seed, err)
		}
		if reflect.DeepEqual(plan, last) || len(plan.Classes()) < 3 {
			t.Errorf("seed %d: %d faults of %v", seed, len(plan), plan.Classes())
		}
		last = plan
		for _, c := range plan.Classes() {
			seen[c] = true
		}
	}
	for _, c := range Classes() {
		if f := (Fault{Class: c}); seen[c] == (f.Loud() || f.OfFleet() || f.OfCable()) {
			t.Errorf("%s is in a plan: %v", c, seen[c])
		}
	}
	text, err := json.Marshal(last)
	if err != nil {
		t.Fatal(err)
	}
	var read Plan
	if err := json.Unmarshal(text, &read); err != nil || !reflect.DeepEqual(read, last) {
		t.Errorf("a plan changes when it is written down: %v", err)
	}
	only, err := Random(1, time.Hour, time.Second, []string{"w.kill", "kf.kill"}, Also{})
	if err != nil || !reflect.DeepEqual(only.Classes(), []string{"kf.kill", "w.kill"}) {
		t.Errorf("%v %v", only.Classes(), err)
	}
	loud, err := Random(1, time.Hour, time.Second, nil, Also{Loud: true})
	for _, c := range LoudClasses() {
		if err != nil || !slices.Contains(loud.Classes(), c) || len(loud.Classes()) < 6 {
			t.Errorf("%s is not among %v: %v", c, loud.Classes(), err)
		}
	}
	fleet, err := Random(1, time.Hour, time.Second, nil, Also{Fleet: true})
	for _, c := range fleetFaults() {
		if err != nil || !slices.Contains(fleet.Classes(), c.name) || len(fleet.Classes()) < len(fleetFaults())+3 {
			t.Errorf("%s is not among %v: %v", c.name, fleet.Classes(), err)
		}
	}
	cables, err := Random(1, time.Hour, time.Second, nil, Also{Cables: true})
	for _, c := range cableFaults() {
		if err != nil || !slices.Contains(cables.Classes(), c.name) || len(cables.Classes()) < len(cableFaults())+3 {
			t.Errorf("%s is not among %v: %v", c.name, cables.Classes(), err)
		}
	}
	named, err := Random(1, time.Hour, time.Second, []string{"pub.drop"}, Also{})
	if err != nil || !reflect.DeepEqual(named.Classes(), []string{"pub.drop"}) {
		t.Errorf("%v %v", named.Classes(), err)
	}
	if _, err := Random(1, time.Hour, time.Second, []string{"w.hug"}, Also{}); err == nil {
		t.Error("a fault that there is not was taken")
	}
}

// TestArm changes what the worker does at its failpoints, and forgets what it did.
func TestArm(t *testing.T) {
	w := &World{o: Options{Dir: t.TempDir()}}
	env, err := w.preparePoints("worker.acked=kill")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(w.pointsFile()); err != nil || string(text) != "worker.acked=kill" || !slices.Contains(env, "TIDEMILL_FAILPOINT=@"+w.pointsFile()) {
		t.Errorf("%q %v %q", text, err, env)
	}
	for _, done := range []string{"worker.acked=stop", "worker.acked=kill"} {
		if err := os.WriteFile(filepath.Join(w.pointsDir(), done), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if acted := w.Acted(); !slices.Equal(acted, []string{"worker.acked=kill", "worker.acked=stop"}) {
		t.Errorf("it has done %q", acted)
	}
	if err := w.Arm("source.commit=stop:1s"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(w.pointsFile()); err != nil || string(text) != "source.commit=stop:1s" || len(w.Acted()) != 0 {
		t.Errorf("%q %v; it has done %q", text, err, w.Acted())
	}
}

// TestSickRegistry answers errors, drips, and is well again.
func TestSickRegistry(t *testing.T) {
	well := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "well "+r.URL.Path) }))
	defer well.Close()
	s, err := newSickRegistry(well.URL, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status int
		drip   time.Duration
		want   string
	}{{0, 0, "well /subjects"}, {429, 0, ""}, {0, time.Microsecond, "well /subjects"}, {503, 0, ""}, {0, 0, "well /subjects"}} {
		s.set(c.status, c.drip)
		resp, err := http.Get(s.url + "/subjects")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if c.status == 0 && (string(text) != c.want || resp.StatusCode != 200) || c.status != 0 && resp.StatusCode != c.status || err != nil {
			t.Errorf("%+v: %s %q %v", c, resp.Status, text, err)
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// TestLogsAreWatched finds a crash and a secret in a log, each once, also when the line
// is written in two parts.
func TestLogsAreWatched(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	var out bytes.Buffer
	j := NewJournal(&out, nil)
	l := &logWatch{file: file, name: "it"}
	for _, text := range []string{"all is well\npan", "ic: no\n", "the password is hun", "ter2\nthis is not a panic: it is prose\n"} {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		f.Close()
		l.look("hunter2", j)
	}
	found := j.Anomalies()
	if len(found) != 2 || found[0].Name != AnomalyPanic || found[1].Name != AnomalySecret {
		t.Errorf("%+v\n%s", found, out.String())
	}
}

// TestMarkerKeys reads keys as the worker writes them.
func TestMarkerKeys(t *testing.T) {
	for _, c := range []struct {
		key string
		id  int64
		ok  bool
	}{{"\x00\x00\x00\x00\x07\x02", 1, true}, {"\x00\x00\x00\x00\x07\x80\x01", 64, true}, {"\x00\x00\x00\x00\x07", 0, false}, {"{\"id\":1}", 0, false}, {"", 0, false}} {
		if id, ok := markerID([]byte(c.key)); id != c.id || ok != c.ok {
			t.Errorf("%q: %d %v", c.key, id, ok)
		}
	}
}

// TestWeigh tells once of a worker that takes too much, and again when it has given it
// back meanwhile.
func TestWeigh(t *testing.T) {
	j := NewJournal(io.Discard, nil)
	m := &Monitor{w: &World{o: Options{Journal: j}}, o: MonitorOptions{Memory: 400}}
	over := false
	for _, rss := range []int64{100, 400, 401, 900, 300, 500} {
		over = m.weigh(rss, over)
	}
	if n := len(j.Anomalies()); n != 2 || !over {
		t.Errorf("%d anomalies: %+v", n, j.Anomalies())
	}
	if m.o.Memory = 0; m.weigh(1<<40, false) {
		t.Error("without a limit there is too much")
	}
}
