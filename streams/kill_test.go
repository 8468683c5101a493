package streams

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The test binary runs itself as the process that is killed.
const (
	childBrokers = "STREAMS_TEST_CHILD_BROKERS"
	childDir     = "STREAMS_TEST_CHILD_DIR"
	childApp     = "STREAMS_TEST_CHILD_APP"
)

func TestMain(m *testing.M) {
	if brokers := os.Getenv(childBrokers); brokers != "" {
		run := child
		if os.Getenv(childApp) == "wide" {
			run = wideChild
		}
		if err := run(strings.Split(brokers, ","), os.Getenv(childDir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// killed is the application that is killed: counts, uncached and exactly once.
func killed(topology *Topology) App {
	return App{ID: "wc", Topology: topology, ExactlyOnce: true, CommitInterval: 100 * time.Millisecond, Standbys: 1}
}

// childSession is after how long of silence a group gives up on the child: the shortest
// time that brokers allow.
const childSession = 6 * time.Second

// child runs the application until it is killed.
func child(brokers []string, dir string) error {
	topology, _, err := newKeyCount(With{Uncached: true})
	if err != nil {
		return err
	}
	e, err := OpenEngine(Config{Brokers: brokers, Dir: dir, Remote: asking(), Client: []kgo.Opt{kgo.SessionTimeout(childSession)}})
	if err != nil {
		return err
	}
	if err := e.Add(killed(topology)); err != nil {
		return err
	}
	return e.Run(context.Background())
}

// startChild starts a process that runs the application.
func (w *world) startChild(dir string) *exec.Cmd {
	w.t.Helper()
	return w.startChildOf("", dir)
}

// startChildOf starts a process that runs another one.
func (w *world) startChildOf(app, dir string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.CommandContext(w.ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childBrokers+"="+strings.Join(w.brokers, ","), childDir+"="+dir, childApp+"="+app)
	cmd.Stderr = w.t.Output()
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return cmd
}

// TestKill kills a process in the middle of its work, several times, at any
// moment; in the end every count is in the output once, and the state is right.
func TestKill(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	for range 4 {
		cmd := w.startChild(dir)
		counted := len(w.sequences())
		deadline := time.After(time.Duration(w.rnd.IntN(300)) * time.Millisecond)
		w.wait("some more output", func() bool {
			w.put(20)
			n := 0
			for _, c := range w.sequences() {
				n += len(c)
			}
			return n > counted
		})
		<-deadline
		w.put(20)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // It was killed, and says so.
	}
	topology, counts := keyCount(t, With{Uncached: true})
	e := w.start(dir, killed(topology))
	w.waitOutput()
	w.checkExact()
	w.waitContents(e, "wc", counts)
	e.end()
}
