package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/tidemill/tidemill/connect"
)

// Glyphs in front of findings. Where a terminal is not to be trusted with them,
// words stand in.
const (
	glyphOK   = "✓"
	glyphWarn = "⚠"
	glyphFail = "✗"
	glyphNote = "·"
)

var asciiGlyphs = map[string]string{glyphOK: "[OK]", glyphWarn: "[WARN]", glyphFail: "[FAIL]", glyphNote: "[NOTE]"}

// fancy tells whether w is a terminal that takes glyphs and moving progress.
func (a *app) fancy(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || a.plain || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	return term.IsTerminal(int(f.Fd()))
}

func (a *app) glyph(w io.Writer, g string) string {
	if a.fancy(w) {
		return g
	}
	return asciiGlyphs[g]
}

// say prints one step that is done, with how long it took.
func (a *app) say(w io.Writer, what, detail string, took time.Duration) {
	fmt.Fprintf(w, " %s %-10s %-86s %6.2f s\n", a.glyph(w, glyphOK), what, detail, took.Seconds())
}

// fail prints an error as a finding: code and place, the message, the mend.
func (a *app) fail(err error) {
	if a.json {
		e := connect.AsError(err)
		writeJSON(a.err, map[string]any{"error": e.Error(), "code": e.Code, "place": e.Place, "mend": e.Mend})
		return
	}
	g := a.glyph(a.err, glyphFail)
	if all, ok := err.(connect.Errors); ok {
		for _, e := range all {
			a.finding(g, e)
		}
		return
	}
	a.finding(g, connect.AsError(err))
}

func (a *app) finding(glyph string, e *connect.Error) {
	head := strings.TrimSpace(e.Code + "   " + e.Place)
	if e.Code == "internal" {
		fmt.Fprintf(a.err, "%s %v\n", glyph, e.Cause)
		return
	}
	fmt.Fprintf(a.err, "%s %s\n", glyph, head)
	message := e.Message
	if e.Cause != nil {
		message = strings.TrimPrefix(message+": "+e.Cause.Error(), ": ")
	}
	if message != "" {
		fmt.Fprintf(a.err, "    %s\n", message)
	}
	if e.Mend != "" {
		fmt.Fprintf(a.err, "    → %s\n", e.Mend)
	}
}

// writeJSON prints one value on a line.
func writeJSON(w io.Writer, v any) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, "writing the result:", err)
	}
}
