package sql

import (
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Error is a fault of a statement: what is wrong, where in the text, and how to
// mend it. Code is stable. Line and Column count from 1, columns in characters;
// both are 0 when the fault has no place in the text.
type Error struct {
	Code    string
	Message string
	Hint    string
	Line    int
	Column  int
	// Source is the text of the line and Width the number of characters the
	// caret underlines.
	Source string
	Width  int
}

// Error gives the fault on one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d:%d: ", e.Line, e.Column)
	}
	b.WriteString(e.Message)
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Detail gives the fault with its line, a caret under the place, and the mend.
func (e *Error) Detail() string {
	var b strings.Builder
	b.WriteString(e.Code)
	if e.Line > 0 {
		fmt.Fprintf(&b, "   %d:%d\n", e.Line, e.Column)
		number := fmt.Sprintf("%5d", e.Line)
		fmt.Fprintf(&b, "%s | %s\n", number, e.Source)
		fmt.Fprintf(&b, "%s | %s%s", strings.Repeat(" ", len(number)), indent(e.Source, e.Column-1), strings.Repeat("^", max(1, e.Width)))
	}
	b.WriteString("\n    " + e.Message)
	if e.Hint != "" {
		b.WriteString("\n    → " + e.Hint)
	}
	return b.String()
}

// indent returns white space as wide as the first n characters of line; tabs
// stay tabs so that the caret stands under its word.
func indent(line string, n int) string {
	var b strings.Builder
	for _, r := range line {
		if n--; n < 0 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String() + strings.Repeat(" ", max(0, n))
}

// fault makes an Error about the place at in src.
func fault(src string, at span, code, message, hint string) *Error {
	e := &Error{Code: code, Message: message, Hint: hint}
	e.locate(src, at.pos, at.end)
	return e
}

// locate fills in line, column and source for the place src[pos:end].
func (e *Error) locate(src string, pos, end int) {
	pos = min(max(pos, 0), len(src))
	end = min(max(end, pos), len(src))
	begin := strings.LastIndexByte(src[:pos], '\n') + 1
	e.Line = strings.Count(src[:pos], "\n") + 1
	e.Column = len([]rune(src[begin:pos])) + 1
	e.Source = src[begin:]
	if i := strings.IndexByte(e.Source, '\n'); i >= 0 {
		e.Source = e.Source[:i]
	}
	e.Source = strings.TrimRight(e.Source, "\r")
	end = min(end, begin+len(e.Source))
	e.Width = max(1, len([]rune(src[pos:max(pos, end)])))
}

// didYouMean phrases a near candidate as a hint, or returns "". Very short names
// are near everything and get none.
func didYouMean(name string, candidates []string) string {
	if len(name) < 3 {
		return ""
	}
	if c := connect.Nearest(name, candidates); c != "" && c != name {
		return "did you mean " + c + "?"
	}
	return ""
}

// Connect gives the fault as the error every part of Tidemill shows: it keeps
// code, place, cause and mend.
func (e *Error) Connect() *connect.Error {
	place := ""
	if e.Line > 0 {
		place = fmt.Sprintf("%d:%d", e.Line, e.Column)
	}
	return &connect.Error{Code: e.Code, Class: connect.ClassConfig, Place: place, Message: e.Message, Mend: e.Hint}
}
