package worker

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// A requirement on a plugin's version is written as Maven does, which is what Kafka
// Connect's connector.plugin.version takes (KIP-891): "1.2" or "[1.2]" is just that one,
// "[1.2,2.0)" a range, "[1.2,)" one without an end, "(,1.0],[1.2,)" several; "latest", or
// nothing, is any. Of those that fit the newest is taken.

// interval is one range of versions. An empty end is open.
type interval struct {
	low, high     string
	lowIn, highIn bool
}

// requirement are the ranges of which one must hold; none is no requirement.
type requirement []interval

// parseRequirement reads a requirement.
func parseRequirement(text string) (requirement, error) {
	text = strings.TrimSpace(text)
	if text == "" || text == "latest" {
		return nil, nil
	}
	if !strings.ContainsAny(text[:1], "[(") {
		return requirement{{text, text, true, true}}, nil
	}
	var r requirement
	for rest := text; rest != ""; {
		end := strings.IndexAny(rest, "])")
		if end < 0 || !strings.ContainsAny(rest[:1], "[(") {
			return nil, fmt.Errorf("%q is no version and no range of versions; write 1.2 or [1.2,2.0)", text)
		}
		low, high, isRange := strings.Cut(rest[1:end], ",")
		i := interval{strings.TrimSpace(low), strings.TrimSpace(high), rest[0] == '[', rest[end] == ']'}
		if !isRange {
			i.high = i.low
		}
		empty := !isRange && (i.low == "" || !i.lowIn || !i.highIn)
		turned := i.low != "" && i.high != "" && compareVersions(i.low, i.high) > 0
		if empty || turned || strings.ContainsAny(i.low+i.high, "[(,") {
			return nil, fmt.Errorf("%q holds no version; write 1.2 or [1.2,2.0)", text)
		}
		r = append(r, i)
		rest = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(rest[end+1:]), ","))
	}
	return r, nil
}

// allows tells whether a version fits. One that is not told fits no requirement.
func (r requirement) allows(version string) bool {
	if len(r) == 0 {
		return true
	}
	for _, i := range r {
		low, high := 1, -1
		if i.low != "" {
			low = compareVersions(version, i.low)
		}
		if i.high != "" {
			high = compareVersions(version, i.high)
		}
		if version != "" && (low > 0 || low == 0 && i.lowIn) && (high < 0 || high == 0 && i.highIn) {
			return true
		}
	}
	return false
}

// qualifiers are the words that stand before a release, or are one, or follow it, in order.
var qualifiers = map[string]int{
	"alpha": -5, "a": -5, "beta": -4, "b": -4, "milestone": -3, "m": -3, "rc": -2, "cr": -2, "snapshot": -1,
	"": 0, "final": 0, "ga": 0, "release": 0, "sp": 1,
}

// compareVersions orders versions as Maven does: numbers by value, words before numbers,
// and among words the known ones in their order before others in the alphabet's.
func compareVersions(a, b string) int {
	x, y := versionParts(a), versionParts(b)
	for i := range max(len(x), len(y)) {
		var p, q string
		if i < len(x) {
			p = x[i]
		}
		if i < len(y) {
			q = y[i]
		}
		if c := compareParts(p, q); c != 0 {
			return c
		}
	}
	return 0
}

func compareParts(p, q string) int {
	n, isNumber := versionNumber(p)
	m, isOther := versionNumber(q)
	switch {
	case isNumber && isOther:
		return cmp.Compare(n, m)
	case isNumber && q == "":
		return cmp.Compare(n, 0)
	case isOther && p == "":
		return cmp.Compare(0, m)
	case isNumber:
		return 1
	case isOther:
		return -1
	}
	rank := func(word string) int {
		if r, known := qualifiers[word]; known {
			return r
		}
		return 2
	}
	if c := cmp.Compare(rank(p), rank(q)); c != 0 || rank(p) < 2 {
		return c
	}
	return cmp.Compare(p, q)
}

func versionNumber(part string) (uint64, bool) {
	n, err := strconv.ParseUint(part, 10, 64)
	return n, err == nil
}

// versionParts cuts a version at points, dashes and where digits end or begin.
func versionParts(version string) (parts []string) {
	var part strings.Builder
	digits := false
	end := func() {
		if part.Len() > 0 {
			parts = append(parts, part.String())
			part.Reset()
		}
	}
	for _, c := range strings.ToLower(version) {
		isDigit := unicode.IsDigit(c)
		switch {
		case c == '.' || c == '-' || c == '_' || c == '+':
			end()
			continue
		case part.Len() > 0 && isDigit != digits:
			end()
		}
		digits = isDigit
		part.WriteRune(c)
	}
	end()
	return parts
}
