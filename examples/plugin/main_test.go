package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/plugin/host"
)

// name is what the test calls its own binary where that is to be the program.
const name = "counter-1.0.0"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == name {
		main()
	}
	os.Exit(m.Run())
}

// TestConformance is all the test that most plugins need.
func TestConformance(t *testing.T) {
	conforms(t, counterPlugin().New)
	multiplies(t, timesPlugin())
}

// TestProgram has a worker's side find the program: it says what it holds, and passes the
// same suite in processes of its own.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, name)
	install(t, dir, program)
	said, err := exec.Command(program).CombinedOutput()
	if err != nil || !strings.Contains(string(said), "example.CounterSource  1.0.0") {
		t.Errorf("started by hand: %v: %s", err, said)
	}
	found := host.New(host.Options{Dirs: []string{dir}}).Plugins(true)
	if len(found.Sources) != 1 || found.Sources[0].Class != "example.CounterSource" || len(found.Transforms) != 1 {
		t.Fatalf("found: %+v", found)
	}
	conforms(t, found.Sources[0].New)
	multiplies(t, found.Transforms[0])
}

// install puts the test's binary where the program should be.
func install(t *testing.T, dir, program string) {
	t.Helper()
	self, err := os.Open(os.Args[0])
	if err == nil {
		defer self.Close()
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(file, self); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

func conforms(t *testing.T, make func() connect.SourceConnector) {
	connecttest.Source(t, connecttest.SourceCase{
		New:     make,
		Config:  func(testing.TB) connect.Config { return connect.Config{"topic": "numbers", "interval.ms": "1"} },
		Records: 6,
		Bad:     connect.Config{"interval.ms": "soon"},
	})
}

func multiplies(t *testing.T, times connect.Plugin[connect.Transform]) {
	number := func(n int64) connect.Record {
		return connect.Record{Topic: "numbers", ValueSchema: connect.Of(connect.KindInt64), Value: connect.Int64(n)}
	}
	thirty, tombstone := number(30), connect.Record{Topic: "numbers"}
	connecttest.Transform(t, connecttest.TransformCase{
		Plugin: times, Config: connect.Config{"factor": "10"},
		Records: []connecttest.Transformed{
			{Given: number(3), Want: &thirty}, {Given: number(0)}, {Given: tombstone, Want: &tombstone},
			{Given: connect.Record{Topic: "numbers", Value: connect.String("3")}, Fails: true},
		},
		Bad: connect.Config{"factor": "0"},
	})
}
