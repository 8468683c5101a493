package failpoint_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/failpoint"
)

// TestOrdinaryBuildHasNone makes sure that what is shipped has no failpoints, whatever
// the environment says: the compiler takes calls of empty functions out.
func TestOrdinaryBuildHasNone(t *testing.T) {
	if failpoint.Enabled {
		t.Fatal("tests are run without the build tag failpoint")
	}
	out, err := exec.Command("go", "build", "-gcflags=-m", "-o", os.DevNull, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"can inline At", "can inline Fail"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the compiler does not say %q:\n%s", want, out)
		}
	}
}

// build builds the program with the tag.
func build(t *testing.T) (dir, program string) {
	dir = t.TempDir()
	program = filepath.Join(dir, "program")
	if out, err := exec.Command("go", "build", "-tags=failpoint", "-o", program, "./testdata/program").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir, program
}

// TestFileIsReadAnew changes what happens while the program runs: the passes are counted
// from the new file on.
func TestFileIsReadAnew(t *testing.T) {
	dir, program := build(t)
	file := filepath.Join(dir, "points")
	cmd := exec.Command(program, "asks")
	cmd.Env = append(os.Environ(), "TIDEMILL_FAILPOINT=@"+file, "TIDEMILL_FAILPOINT_DIR=")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	for i, step := range []struct{ points, says string }{{"", "1 "}, {"worker.offsets.write=error;worker.acked=kill@2", "failed 2 "}, {"worker.acked=count@2;worker.offsets.write=error@2", "3 "}} {
		if step.points != "" {
			if err := os.WriteFile(file+".new", []byte(step.points), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.WriteString(in, "go on\n"); err != nil {
			t.Fatal(err)
		}
		if !said.Scan() || said.Text() != step.says {
			t.Errorf("after %q, at pass %d: %q, want %q", step.points, i+1, said.Text(), step.says)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestActions looks at what the program does.
func TestActions(t *testing.T) {
	dir, program := build(t)
	run := func(points, notes string) (string, error) {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), "TIDEMILL_FAILPOINT="+points, "TIDEMILL_FAILPOINT_DIR="+notes)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, c := range []struct{ points, out, fault string }{
		{"", "1 2 3 end\n", ""},
		{"worker.acked=kill@3", "1 2 ", "signal: killed"},
		{"worker.acked=kill@4", "1 2 3 end\n", ""},
		{"worker.offsets.write=error@2", "1 failed 2 3 end\n", ""},
		{"worker.acked=stop:1ms; worker.offsets.write=error", "failed 1 2 3 end\n", ""},
		{"worker.acked=count@2", "1 2 3 end\n", ""},
		{"worker.offsets.write=error;worker.offsets.write=stop:1ms;worker.acked=kill@3", "failed 1 2 ", "signal: killed"},
		{"worker.nothing=kill", "", "exit status 2"},
		{"worker.acked=kill@0", "", "exit status 2"},
		{"worker.acked=stop:long", "", "exit status 2"},
		{"worker.acked=explode", "", "exit status 2"},
	} {
		out, err := run(c.points, "")
		fault := ""
		if err != nil {
			fault = err.Error()
		}
		if fault != c.fault || c.fault != "exit status 2" && out != c.out {
			t.Errorf("%q: %q and %q, want %q and %q", c.points, out, fault, c.out, c.fault)
		}
	}
	file := filepath.Join(dir, "points")
	if out, err := run("@"+file, ""); err != nil || out != "1 2 3 end\n" {
		t.Errorf("without the file that is named: %q, %v", out, err)
	}
	if err := os.WriteFile(file, []byte("worker.acked=kill\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run("@"+file, ""); err == nil {
		t.Errorf("the file that is named does nothing: %q", out)
	}
	if out, err := run("worker.acked=kill@2", dir); err == nil {
		t.Errorf("the first process of a series lives: %q", out)
	}
	if _, err := os.Stat(filepath.Join(dir, "worker.acked=kill")); err != nil {
		t.Error("nothing notes that the point has acted:", err)
	}
	if out, err := run("worker.acked=kill@2", dir); err != nil || out != "1 2 3 end\n" {
		t.Errorf("the second process of a series does not live: %q, %v", out, err)
	}
}
