package sql

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts really give into the scripts")

// step is one step of a script: a command with arguments, its input, and the
// output it must give.
type step struct {
	command string
	args    []string
	input   string
	output  string
	line    int
}

// runScripts runs every script that matches pattern. A script is a sequence of
// steps: a line with the command, the input, a line of four dashes, the output,
// and an empty line. Comments begin with # between steps. make is called once for
// each script and returns what runs a step.
func runScripts(t *testing.T, pattern string, make func(t *testing.T) func(s step) string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no script matches %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".test"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			run := make(t)
			steps := readScript(t, string(raw))
			for i, s := range steps {
				got := strings.TrimRight(run(s), "\n")
				if !*rewrite && got != s.output {
					t.Errorf("%s:%d: %s %s\n%s\n---- got\n%s\n---- want\n%s", file, s.line, s.command, strings.Join(s.args, " "), s.input, got, s.output)
				}
				steps[i].output = got
			}
			if *rewrite {
				writeScript(t, file, string(raw), steps)
			}
		})
	}
}

// readScript cuts a script into steps.
func readScript(t *testing.T, raw string) []step {
	t.Helper()
	var steps []step
	lines := strings.Split(raw, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		s := step{command: words[0], args: words[1:], line: i + 1}
		var input, output []string
		for i++; i < len(lines) && lines[i] != "----"; i++ {
			input = append(input, lines[i])
		}
		if i >= len(lines) {
			t.Fatalf("line %d: the step has no ----", s.line)
		}
		for i++; i < len(lines) && lines[i] != ""; i++ {
			output = append(output, lines[i])
		}
		s.input, s.output = strings.Join(input, "\n"), strings.Join(output, "\n")
		steps = append(steps, s)
	}
	return steps
}

// writeScript puts the outputs of steps into the script, keeping its comments.
func writeScript(t *testing.T, file, raw string, steps []step) {
	t.Helper()
	lines := strings.Split(raw, "\n")
	var b strings.Builder
	at := 0
	for _, s := range steps {
		for ; lines[at] != "----" || at < s.line-1; at++ {
			b.WriteString(lines[at] + "\n")
		}
		b.WriteString("----\n")
		if s.output != "" {
			b.WriteString(s.output + "\n")
		}
		for at++; at < len(lines) && lines[at] != ""; at++ {
		}
	}
	for ; at < len(lines)-1; at++ {
		b.WriteString(lines[at] + "\n")
	}
	text := strings.TrimRight(b.String(), "\n") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
