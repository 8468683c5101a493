package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedCommandsExist parses every tidemill command that the README,
// docs/security.md and the commands' own examples show: command, flags and number of arguments.
func TestDocumentedCommandsExist(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	security, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(readme) + "\n" + string(security)
	root := (&app{out: io.Discard, err: io.Discard}).commands()
	for _, c := range root.Commands() {
		text += "\n" + c.Example
		for _, sub := range c.Commands() {
			text += "\n" + sub.Example
		}
	}
	lines := regexp.MustCompile(`(?m)^\s*(?:bin/)?tidemill ([a-z][^#|\n]*)`).FindAllStringSubmatch(text, -1)
	if len(lines) < 8 {
		t.Fatalf("only %d commands found", len(lines))
	}
	for _, m := range lines {
		command, _, _ := strings.Cut(m[1], " <") // What goes in is the shell's affair.
		words := strings.Fields(command)
		root := (&app{out: io.Discard, err: io.Discard}).commands()
		cmd, rest, err := root.Find(words)
		if err != nil || cmd == root {
			t.Errorf("%s: there is no such command", m[1])
			continue
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("%s: %v", m[1], err)
			continue
		}
		if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
}
