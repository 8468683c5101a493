package javatime

import (
	"fmt"
	"strings"
	"time"
)

// LoadZone finds a time zone by its name ("Europe/Zurich") or as an offset
// ("+01:00", "-0830", "GMT+2", "Z").
func LoadZone(name string) (*time.Location, error) {
	if z, err := time.LoadLocation(name); err == nil && name != "Local" && name != "" {
		return z, nil
	}
	if seconds, after, ok := readOffset(trimGMT(name)); ok && after == "" {
		return time.FixedZone(name, seconds), nil
	}
	return nil, fmt.Errorf("there is no time zone '%s'", name)
}

func trimGMT(s string) string {
	return strings.TrimPrefix(strings.TrimPrefix(s, "GMT"), "UTC")
}

// readOffset reads Z, +h, +hh, +hhmm or +hh:mm, in seconds east of Greenwich.
func readOffset(s string) (seconds int, after string, ok bool) {
	if strings.HasPrefix(s, "Z") {
		return 0, s[1:], true
	}
	if s == "" || s[0] != '+' && s[0] != '-' {
		return 0, s, false
	}
	hours, n := digits(s[1:])
	after = s[1+n:]
	minutes, n := digits(strings.TrimPrefix(after, ":"))
	if n == 2 {
		after = strings.TrimPrefix(after, ":")[2:]
	} else {
		minutes = 0
	}
	seconds = hours*3600 + minutes*60
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, after, len(after) < len(s)-1 && hours < 24 && minutes < 60
}

// digits reads up to two digits and returns how many there were.
func digits(s string) (v, n int) {
	for n < min(2, len(s)) && s[n] >= '0' && s[n] <= '9' {
		v = v*10 + int(s[n]-'0')
		n++
	}
	return v, n
}

// readZone reads an offset, with or without GMT or UTC before it, or the name of a
// time zone.
func readZone(s string) (zone *time.Location, after string, ok bool) {
	if seconds, after, ok := readOffset(trimGMT(s)); ok {
		if seconds == 0 {
			return time.UTC, after, true
		}
		return time.FixedZone("", seconds), after, true
	}
	n := 0
	for n < len(s) && zoneChar(s[n]) {
		n++
	}
	if zone, err := LoadZone(s[:n]); err == nil {
		return zone, s[n:], true
	}
	if after := trimGMT(s); len(after) < len(s) {
		return time.UTC, after, true
	}
	return nil, s, false
}

func zoneChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("/_-+", c) >= 0
}
