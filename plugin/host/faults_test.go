package host

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// find looks into a directory and returns the only source there.
func find(t *testing.T, dir string, log *journal) connect.Plugin[connect.SourceConnector] {
	t.Helper()
	found := New(Options{Dirs: []string{dir}, Log: log.logger()}).Plugins(true)
	if len(found.Sources) != 1 {
		t.Fatalf("found %+v: %s", found, log)
	}
	return found.Sources[0]
}

// TestFilesThatAreRefused has everything in a directory that must not be run.
func TestFilesThatAreRefused(t *testing.T) {
	dir := pluginDir(t, "counter-1", "counter-1copy", "silent-1", "odd-1")
	must(t, os.WriteFile(filepath.Join(dir, "open-1"), []byte("#!/bin/sh\ntouch "+dir+"/ran\n"), 0o755))
	must(t, os.Chmod(filepath.Join(dir, "open-1"), 0o777))
	must(t, os.WriteFile(filepath.Join(dir, "script-1"), []byte("#!/bin/sh\necho hello\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("x"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "java.jar"), []byte("x"), 0o644))
	must(t, os.Mkdir(filepath.Join(dir, "below"), 0o755))
	must(t, os.Symlink(filepath.Join(dir, "counter-1"), filepath.Join(dir, "link-1")))
	wide := pluginDir(t, "counter-9")
	must(t, os.Chmod(wide, 0o777))
	log := new(journal)
	h := New(Options{Dirs: []string{dir, wide, filepath.Join(dir, "none")}, Log: log.logger()})
	found := h.Plugins(true)
	if len(found.Sources) != 2 || len(found.Sinks) != 2 {
		t.Errorf("found %+v", found)
	}
	for _, text := range []string{
		"open-1 can be written by others", "link-1 is no regular file", wide + " can be written by others", "below", "java.jar",
		"test.Odd: a header converter works in the worker's own process only", "silent-1", "script-1", "sha256=",
	} {
		if !strings.Contains(log.String(), text) {
			t.Errorf("the log does not say %q:\n%s", text, log)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("a file that others can write was run")
	}
	// Nothing has changed, so that nothing is asked or said again.
	said := len(log.String())
	if again := h.Plugins(true); len(again.Sources) != 2 || len(log.String()) != said {
		t.Errorf("the second look says:\n%s", log.String()[said:])
	}
	must(t, os.Remove(filepath.Join(dir, "counter-1")))
	if left := h.Plugins(true); len(left.Sources) != 1 {
		t.Errorf("a file was removed, and there are still %d versions", len(left.Sources))
	}
	err := found.Sources[0].New().NewTask().Start(t.Context(), connect.SourceTaskEnv{Log: log.logger()})
	if connect.AsError(err).Code != "plugin.changed" {
		t.Errorf("a task of the removed file: %v", err)
	}
}

// TestReplacedFile puts another file in the place of one that is known.
func TestReplacedFile(t *testing.T) {
	dir := pluginDir(t, "counter-1")
	h := New(Options{Dirs: []string{dir}, Log: slog.New(slog.DiscardHandler)})
	start := func(found connect.Plugins) error {
		task := found.Sources[0].New().NewTask()
		defer func() { must(t, task.Stop(t.Context())) }()
		return task.Start(t.Context(), connect.SourceTaskEnv{Config: connect.Config{"topic": "t"}, Log: slog.New(slog.DiscardHandler), StoredOffset: new(connecttest.Offsets).Get, Metrics: &connecttest.Figures{}})
	}
	before := h.Plugins(true)
	must(t, start(before))
	must(t, os.Remove(filepath.Join(dir, "counter-1")))
	must(t, os.WriteFile(filepath.Join(dir, "counter-1"), []byte("#!/bin/sh\n"), 0o755))
	if err := start(before); connect.AsError(err).Code != "plugin.changed" || connect.AsError(err).Class != connect.ClassRetriable {
		t.Errorf("a task of the former file: %v", err)
	}
	if left := h.Plugins(false); len(left.Sources) != 0 {
		t.Errorf("the file that is no plugin any more holds %v", left.Sources)
	}
	must(t, os.Remove(filepath.Join(dir, "counter-1")))
	put(t, dir, "counter-1")
	must(t, start(h.Plugins(true)))
}

// TestPanics has a task panic, where it is called and beside that.
func TestPanics(t *testing.T) {
	log := new(journal)
	source := find(t, pluginDir(t, "counter-1"), log)
	for trouble, says := range map[string]string{"panic": "panic: the plugin's own fault", "background panic": "panic: in the background"} {
		task := source.New().NewTask()
		must(t, task.Start(t.Context(), connect.SourceTaskEnv{
			Config: connect.Config{"topic": "t", "trouble": trouble}, Log: log.logger().With("connector", "c", "task", 7), StoredOffset: new(connecttest.Offsets).Get, Metrics: &connecttest.Figures{},
		}))
		var err error
		for deadline := time.Now().Add(patience); err == nil && time.Now().Before(deadline); {
			_, err = task.Poll(t.Context())
		}
		e := connect.AsError(err)
		if e.Code != "plugin.ended" || e.Class != connect.ClassRetriable || !strings.Contains(e.Message, says) || !strings.Contains(e.Message, "exit status 2") {
			t.Errorf("%s: %v", trouble, err)
		}
		if err := task.Stop(t.Context()); err != nil {
			t.Errorf("stopping what is gone: %v", err)
		}
	}
	if !strings.Contains(log.String(), "output=\"goroutine ") || !strings.Contains(log.String(), "connector=c task=7") {
		t.Errorf("the log lacks what the process wrote: %s", log)
	}
}

// TestEnvironment shows what a plugin sees of the worker's variables.
func TestEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "canary-3141")
	t.Setenv("TZ", "Europe/Zurich")
	run := connecttest.StartSource(t, find(t, pluginDir(t, "counter-1"), new(journal)).New(), connect.Config{"topic": "t", "trouble": "environment"}, &connecttest.Offsets{})
	seen := run.Take(1)[0].Value.Str()
	if strings.Contains(seen, "canary") || strings.Contains(seen, "HOME=") || !strings.Contains(seen, "TZ=Europe/Zurich") {
		t.Errorf("a plugin sees %q", seen)
	}
}

// TestDoors goes through all the ways between a source task and its worker but records.
func TestDoors(t *testing.T) {
	run := connecttest.StartSource(t, find(t, pluginDir(t, "counter-1"), new(journal)).New(), connect.Config{"topic": "t", "count": "7"}, &connecttest.Offsets{})
	run.Take(7)
	run.Commit()
	if n := run.Metrics.Counter("rows_total"); n != 7 {
		t.Errorf("%d rows are counted", n)
	}
	await(t, "the task is told of its last offset", func() bool { return run.Metrics.Gauges()["committed"] == 7 })
	run.Signals <- []byte(`{"id":"s"}`)
	if got := run.Take(1)[0].Value.Str(); got != `{"id":"s"}` {
		t.Errorf("the signal came as %s", got)
	}
	await(t, "the document is shown", func() bool { return string(run.Shown("signal")) == `{"taken":{"id":"s"}}` })
}

// TestConnectorSpeaks has a connector ask for its tasks to be divided anew, fail by itself,
// and lose its process.
func TestConnectorSpeaks(t *testing.T) {
	source := find(t, pluginDir(t, "counter-1"), new(journal))
	for _, trouble := range []string{"reconfigure", "fail connector", "killed"} {
		said := make(chan string, 1)
		c := source.New()
		must(t, c.Start(t.Context(), connect.ConnectorEnv{
			Name: "c", Config: connect.Config{"topic": "t", "trouble": trouble}, Log: slog.New(slog.DiscardHandler),
			Reconfigure: func() { said <- "reconfigure" },
			Fail:        func(err error) { said <- connect.AsError(err).Code },
		}))
		want := map[string]string{"reconfigure": "reconfigure", "fail connector": "test.lost", "killed": "plugin.ended"}[trouble]
		if trouble == "killed" {
			c.(*sourceConnector).process.child.kill()
		}
		select {
		case got := <-said:
			if got != want {
				t.Errorf("%s: said %s", trouble, got)
			}
		case <-time.After(patience):
			t.Errorf("%s: nothing is said", trouble)
		}
		if err := c.Stop(t.Context()); err != nil && trouble != "killed" {
			t.Error(err)
		}
	}
}

// TestStartIsGivenUp ends the context of a start.
func TestStartIsGivenUp(t *testing.T) {
	source := find(t, pluginDir(t, "counter-1"), new(journal))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	task := source.New().NewTask()
	if err := task.Start(ctx, connect.SourceTaskEnv{Config: connect.Config{"topic": "t"}, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("it started")
	}
	must(t, task.Stop(t.Context()))
}

// TestDiesWithItsWorker kills a worker, which cannot say goodbye to its plugins.
func TestDiesWithItsWorker(t *testing.T) {
	dir := pluginDir(t, "counter-1")
	w := exec.Command(os.Args[0])
	w.Env = append(os.Environ(), workerVariable+"="+dir)
	w.Stderr = os.Stderr
	must(t, w.Start())
	path := filepath.Join(dir, "pid")
	await(t, "the task runs", func() bool { return pid(path) != 0 })
	must(t, w.Process.Kill())
	_ = w.Wait() // It was killed, and says so.
	await(t, "the plugin's process is gone", func() bool { return gone(pid(path)) })
}

// TestWhatKilledWorkersLeave kills a worker and starts the next: it removes the directories
// of the dead one's processes, and neither those of its own nor another program's.
func TestWhatKilledWorkersLeave(t *testing.T) {
	tmp, err := os.MkdirTemp("", "host")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(tmp)) })
	t.Setenv("TMPDIR", tmp)
	dirs := func() []string {
		list, err := filepath.Glob(filepath.Join(tmp, "plugin-dir*"))
		must(t, err)
		return list
	}
	foreign := filepath.Join(tmp, "plugin-dir-foreign")
	must(t, os.Mkdir(foreign, 0o700))
	plugins := pluginDir(t, "counter-1")
	w := exec.Command(os.Args[0])
	w.Env = append(os.Environ(), workerVariable+"="+plugins)
	w.Stderr = os.Stderr
	must(t, w.Start())
	path := filepath.Join(plugins, "pid")
	await(t, "the task runs", func() bool { return pid(path) != 0 })
	live := find(t, plugins, &journal{})
	if len(dirs()) != 2 {
		t.Errorf("the worker that lives has %v", dirs())
	}
	must(t, w.Process.Kill())
	_ = w.Wait() // It was killed, and says so.
	await(t, "the plugin's process is gone", func() bool { return gone(pid(path)) })
	dead := dirs()
	task := live.New().NewTask()
	must(t, task.Start(t.Context(), connect.SourceTaskEnv{
		Config: connect.Config{"topic": "t"}, Log: slog.New(slog.DiscardHandler),
		StoredOffset: func(context.Context, connect.SourcePartition) ([]byte, error) { return nil, nil },
	}))
	own := slices.DeleteFunc(dirs(), func(dir string) bool { return slices.Contains(dead, dir) })
	find(t, plugins, &journal{})
	slices.Sort(own)
	if got := dirs(); len(own) != 1 || !slices.Equal(got, append([]string{foreign}, own...)) {
		t.Errorf("there are %v, of which %v is in use", got, own)
	}
	must(t, task.Stop(t.Context()))
	await(t, "its own is gone", func() bool { return slices.Equal(dirs(), []string{foreign}) })
}

// gone tells whether a process has ended, be it that nobody has taken note of it.
func gone(id int) bool {
	if syscall.Kill(id, 0) != nil {
		return true
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(id), "stat"))
	return err == nil && strings.Contains(string(stat), ") Z ")
}
