package chaos

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// watchProcesses looks, four times a second, at what the worker uses and at what the
// processes write to their logs.
func (m *Monitor) watchProcesses(ctx context.Context) error {
	logs := []*logWatch{{file: m.w.broker.log, name: m.w.broker.name}}
	for _, k := range m.w.workers {
		logs = append(logs, &logWatch{file: k.log, name: k.name})
	}
	over := false
	for ctx.Err() == nil {
		used, _ := m.w.Usage(ctx) // Of those that run.
		m.mu.Lock()
		m.usage.RSS = max(m.usage.RSS, used.RSS)
		m.usage.Goroutines = max(m.usage.Goroutines, used.Goroutines)
		m.usage.Files = max(m.usage.Files, used.Files)
		m.mu.Unlock()
		over = m.weigh(used.RSS, over)
		if more := m.w.aboard.Swap(nil); more != nil {
			logs = append(logs, *more...)
		}
		for _, l := range logs {
			l.look(m.w.secret, m.w.o.Journal)
		}
		pause(ctx, sampleEvery)
	}
	return nil
}

// weigh tells when the worker begins to take more memory than it may, and returns whether
// it does.
func (m *Monitor) weigh(rss int64, over bool) bool {
	const mb = 1 << 20
	much := m.o.Memory > 0 && rss > m.o.Memory
	if much && !over {
		m.w.o.Journal.Found(AnomalyMemory, "the worker takes %d MB of memory, more than %d MB", rss/mb, m.o.Memory/mb)
	}
	return much
}

// Usage tells what the workers use now, all of them together but for the memory, which is
// that of the one that takes the most. Goroutines are 0 while none answers.
// The error tells that one does not run.
func (w *World) Usage(ctx context.Context) (all Usage, err error) {
	for _, k := range w.workers {
		used, ended := w.usage(ctx, k)
		err = errors.Join(err, ended)
		all.RSS = max(all.RSS, used.RSS)
		all.Files += used.Files
		all.Goroutines += used.Goroutines
	}
	return all, err
}

func (w *World) usage(ctx context.Context, k *worker) (Usage, error) {
	pid := k.pid()
	if pid == 0 {
		return Usage{}, fmt.Errorf("%s does not run", k.name)
	}
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	statm, err := os.ReadFile(filepath.Join(proc, "statm"))
	if err != nil {
		return Usage{}, err
	}
	files, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return Usage{}, err
	}
	u := Usage{Files: len(files)}
	if fields := strings.Fields(string(statm)); len(fields) > 1 {
		pages, _ := strconv.ParseInt(fields[1], 10, 64) // The kernel writes numbers.
		u.RSS = pages * int64(os.Getpagesize())
	}
	var metrics string
	if w.ask(ctx, k, callTime, request{"GET", "/metrics", nil}, &metrics) == nil {
		u.Goroutines = gauge(metrics, "go_goroutines")
	}
	return u, nil
}

// gauge finds a metric without labels.
func gauge(metrics, name string) int {
	for line := range strings.Lines(metrics) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return int(v)
		}
	}
	return 0
}

// logWatch reads what is added to a log.
type logWatch struct {
	file, name string
	at         int64
}

// crashMarks begin what Go writes when a program must not go on.
var crashMarks = []string{"panic: ", "fatal error: ", "WARNING: DATA RACE", "unexpected fault address"}

func (l *logWatch) look(secret string, j *Journal) {
	f, err := os.Open(l.file)
	if err != nil {
		return // Nothing was written yet.
	}
	defer f.Close()
	if _, err := f.Seek(l.at, io.SeekStart); err != nil {
		return
	}
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return // The rest of the line is still to come.
		}
		l.at += int64(len(line))
		if bytes.Contains(line, []byte(secret)) {
			j.Found(AnomalySecret, "the log of %s holds the database's password, at byte %d", l.name, l.at)
		}
		for _, mark := range crashMarks {
			if bytes.HasPrefix(line, []byte(mark)) {
				j.Found(AnomalyPanic, "%s: %s", l.name, bytes.TrimSpace(line))
			}
		}
	}
}
