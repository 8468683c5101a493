package bankstorm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/testenv/netns"
	"github.com/tidemill/tidemill/torture/chaos"
	"github.com/tidemill/tidemill/torture/fleet"
)

// TestMain runs a process of the streams application when a test asks for that: the
// program that is tortured then is the test's own, with the race detector if that has it.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "fleet" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := fleet.Command(ctx, os.Args[2:])
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// builtBinary builds the worker.
func builtBinary(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "tidemill")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/tidemill").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// openTemp makes a directory for all that a run has. It is not t.TempDir: PostgreSQL,
// which runs as another user for root, must get in.
func openTemp(t *testing.T) string {
	t.Helper()
	temp, err := os.MkdirTemp("", "tidemill-torture-test-")
	if err == nil {
		err = os.Chmod(temp, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(temp) })
	t.Setenv("TMPDIR", temp)
	return temp
}

// TestShortStorm tortures the worker for a few seconds, with a fault of each part of the
// world: nothing is wrong, and nothing is left behind.
func TestShortStorm(t *testing.T) {
	binary, temp := builtBinary(t), openTemp(t)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	result, err := Run(ctx, Options{
		Seed: 1, Binary: binary, Out: filepath.Join(temp, "out"), Duration: 6 * time.Second, Patience: 4 * time.Minute, TPS: 50, Copies: true,
		Plan: chaos.Plan{{Class: "w.kill"}, {Class: "pg.crash", Press: true}, {Class: "kf.kill"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !result.OK() || result.Faults == 0 || result.Transactions == 0 || result.AckSamples == 0 || len(result.recoveries) == 0 {
		t.Errorf("%s\n%s", result.JSON(), result.Explain())
	}
	if !strings.Contains(result.Line(), " anomalies=0 ") || !json.Valid([]byte(result.JSON())) {
		t.Error(result.Line())
	}
	if left, err := filepath.Glob(filepath.Join(temp, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestShortFleetStorm tortures a streams application in three processes, behind a worker
// that writes whole transactions: one is killed, one loses its state, one stands still, and
// the broker is killed while one is down. What it derives is what must come of the changes,
// and nothing comes anew after a restart.
func TestShortFleetStorm(t *testing.T) {
	binary, temp := builtBinary(t), openTemp(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	result, err := Run(ctx, Options{
		Seed: 1, Binary: binary, Out: filepath.Join(temp, "out"), Duration: 4 * time.Second, Patience: 4 * time.Minute, TPS: 20, Streams: true,
		Templates: []string{"transfer", "key", "savepoints", "rebirth", "truncate"},
		Plan: chaos.Plan{
			{Class: "s.kill"}, {Class: "s.stop", Hold: 300 * time.Millisecond, Pick: 1}, {Class: "s.wipe", Pick: 2, Press: true}, {Class: "s.kill+kf.kill", Pick: 1},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !result.OK() || result.Faults == 0 || result.Transactions == 0 || len(result.flows) == 0 {
		t.Errorf("%s\n%s\n%s", result.JSON(), result.Explain(), crashesIn(t, result.Bundle))
	}
	if !strings.Contains(result.Line(), " streams_recovered_p99=") {
		t.Error(result.Line())
	}
	if left, err := filepath.Glob(filepath.Join(temp, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// crashesIn returns what the logs of a bundle say of panics and data races, which is gone
// with the bundle.
func crashesIn(t *testing.T, bundle string) string {
	t.Helper()
	var said strings.Builder
	logs, err := filepath.Glob(filepath.Join(bundle, "*.log"))
	if err != nil {
		t.Error(err)
	}
	for _, file := range logs {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		for _, mark := range []string{"WARNING: DATA RACE", "panic: "} {
			const most = 6000
			if at := strings.Index(string(text), mark); at >= 0 {
				fmt.Fprintf(&said, "%s:\n%s\n", filepath.Base(file), text[at:min(at+most, len(text))])
			}
		}
	}
	return said.String()
}

// TestBadOptionsAreNamed refuses what cannot be run.
func TestBadOptionsAreNamed(t *testing.T) {
	for _, o := range []Options{{}, {Binary: "x", Faults: []string{"s.kill"}}, {Binary: "x", Workers: 3, Faults: []string{"w.pull"}}, {Binary: "x", Lan: &netns.Lan{}}, {Binary: "x", Streams: true, Faults: []string{"pub.drop"}}, {Binary: "x", Mode: "often"}, {Binary: "x", Duration: -1}, {Binary: "x", Faults: []string{"w.hug"}}} {
		if _, err := Run(t.Context(), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// TestPercentiles counts in whole recoveries: the 99th percentile of few is the longest.
func TestPercentiles(t *testing.T) {
	var r Result
	for i := 200; i >= 1; i-- {
		r.recoveries = append(r.recoveries, recovered{chaos.Fault{Class: "w.kill"}, time.Duration(i) * time.Millisecond})
	}
	r.summarize()
	if r.RecoveredP50 != 0.1 || r.RecoveredP99 != 0.198 || r.RecoveredMax != 0.2 {
		t.Errorf("%v %v %v", r.RecoveredP50, r.RecoveredP99, r.RecoveredMax)
	}
	r.recoveries = r.recoveries[:3]
	if r.summarize(); r.RecoveredP99 != 0.003 {
		t.Error(r.RecoveredP99)
	}
}
