package pgwire_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/devstack"
)

// TestDocs runs what docs/sql.md shows of psql: each command must say what stands below it.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/sql.md")
	if err != nil {
		t.Fatal(err)
	}
	dir, _, err := devstack.FindPostgres(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	host, port := serve(t, options(t, openEngine(t), nil))
	shown := 0
	blocks := strings.Split(string(page), "```")
	for i := 1; i < len(blocks); i += 2 {
		kind, text, _ := strings.Cut(blocks[i], "\n")
		if kind != "console" {
			continue
		}
		for one := range strings.SplitSeq("\n"+text, "\n$ ") {
			line, want, _ := strings.Cut(one, "\n")
			if line == "" || strings.HasPrefix(line, "curl ") {
				continue // What is asked over HTTP goes on; package rest has tests of it.
			}
			if !strings.Contains(line, "-h 127.0.0.1 -p 5433") {
				t.Fatalf("%s asks somewhere else", line)
			}
			line = strings.Replace(line, "-h 127.0.0.1 -p 5433", "-h "+host+" -p "+port, 1)
			eventually(t, trimmed(want), func() string {
				cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
				cmd.Env = append(os.Environ(), "PATH="+dir+string(filepath.ListSeparator)+os.Getenv("PATH"), "LC_ALL=C.UTF-8", "PGUSER=ann")
				out, _ := cmd.CombinedOutput() // What it says is compared, also when it fails.
				return trimmed(string(out))
			})
			shown++
		}
	}
	if shown < 3 {
		t.Errorf("docs/sql.md shows %d commands: has the way of writing them changed?", shown)
	}
}

// trimmed takes white space off the end of each line, and of the text.
func trimmed(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}
