package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/devstack"
)

// TestDemoOnce runs the main job on the embedded broker and registry: snapshot,
// stream, derived table, sink, proof. It leaves nothing behind.
func TestDemoOnce(t *testing.T) { demoOnce(t) }

// TestDemoOnGivenBrokers runs the main job on the brokers and the registry that the
// tests are given, which may be real ones.
func TestDemoOnGivenBrokers(t *testing.T) {
	demoOnce(t, "--brokers", strings.Join(devstack.TestKafka(t), ","), "--registry", devstack.TestRegistry(t))
}

func demoOnce(t *testing.T, args ...string) {
	t.Helper()
	// Not t.TempDir: PostgreSQL, which runs as another user for root, must get in.
	temp, err := os.MkdirTemp("", "tidemill-demo-test-")
	if err == nil {
		err = os.Chmod(temp, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	t.Setenv("TMPDIR", temp)
	var out, info bytes.Buffer
	if code := run(append([]string{"demo", "--once", "--json"}, args...), &out, &info); code != exitOK {
		t.Fatalf("exit %d\n%s\n%s", code, out.String(), info.String())
	}
	var p proof
	if err := json.Unmarshal(out.Bytes(), &p); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	if !p.OK || p.Snapshot < 26 || p.Streamed < 1000 || p.Derived == 0 || len(p.Checks) < 10 {
		t.Errorf("%+v", p)
	}
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestBadUsageIsExitTwo(t *testing.T) {
	for _, args := range [][]string{{"demo", "extra"}, {"demo", "--no-such-flag"}, {"nonsense"}, {"version", "-o", "xml"}, {"worker", "-c", "does-not-exist.properties"}} {
		var out, info bytes.Buffer
		if code := run(args, &out, &info); code != exitBadInput {
			t.Errorf("%v: exit %d\n%s", args, code, info.String())
		}
		if info.Len() == 0 {
			t.Errorf("%v: said nothing", args)
		}
	}
}
