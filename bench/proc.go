package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// stat is what /proc/PID/stat says of a process that matters here.
type stat struct {
	parent int
	// own is the processor time of the process, children that of those of its children
	// that have ended and were waited for.
	own, children time.Duration
}

// readStat parses the text of /proc/PID/stat; see proc(5). Ticks are 1/100 s on Linux.
func readStat(text []byte) (s stat, ok bool) {
	// The second field is the program's name in brackets, which may hold anything.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return s, false
	}
	tick := func(i int) time.Duration {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		return time.Duration(n) * 10 * time.Millisecond
	}
	s.parent, _ = strconv.Atoi(fields[1])
	s.own, s.children = tick(11)+tick(12), tick(13)+tick(14)
	return s, true
}

// processorTime returns the processor time a process has used, of user and system.
func processorTime(pid int) time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	s, _ := readStat(text)
	return s.own
}

// familyTime returns the processor time of a process and all its children, those that
// live and those that have ended. A child that ends between two reads is in neither, so
// it is asked twice.
func familyTime(pid int) time.Duration { return max(readFamily(pid), readFamily(pid)) }

func readFamily(pid int) time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	s, ok := readStat(text)
	if !ok {
		return 0
	}
	sum := s.own + s.children
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // It ended meanwhile.
		}
		if child, ok := readStat(text); ok && child.parent == pid {
			sum += child.own
		}
	}
	return sum
}

// memory returns the resident memory of a process now and at its peak, in MB.
func memory(pid int) (now, peak float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		switch name {
		case "VmRSS":
			now = kb / 1024
		case "VmHWM":
			peak = kb / 1024
		}
	}
	return now, peak
}
