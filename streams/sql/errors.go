package sql

import (
	"fmt"
	"strings"
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

// fault makes an Error about src[pos:end].
func fault(src string, pos, end int, code, message, hint string) *Error {
	e := &Error{Code: code, Message: message, Hint: hint}
	e.locate(src, pos, end)
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

// nearest returns the candidate that name was most likely meant to be, or "".
func nearest(name string, candidates []string) string {
	best, bestDist := "", max(1, (len(name)+1)/3)+1
	for _, c := range candidates {
		if d := editDistance(strings.ToUpper(name), strings.ToUpper(c), bestDist); d < bestDist && c != name {
			best, bestDist = c, d
		}
	}
	return best
}

// editDistance is the optimal string alignment distance (Damerau, without
// repeated edits of one substring); limit cuts the work short.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}

// didYouMean phrases a near candidate as a hint, or returns "".
func didYouMean(name string, candidates []string) string {
	if c := nearest(name, candidates); c != "" {
		return "did you mean " + c + "?"
	}
	return ""
}
