package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// logsBody is the answer of GET /connectors/{name}/logs.
type logsBody struct {
	Name  string    `json:"name"`
	Lines []LogLine `json:"lines"`
}

// logQuery chooses lines.
type logQuery struct {
	newest int
	level  slog.Level
	task   *int
	follow bool
}

// newestLines is how many lines are shown when nobody says it.
const newestLines = 200

func readLogQuery(values url.Values) (q logQuery, err error) {
	bad := func(name, what string) error {
		return fail(http.StatusBadRequest, "The parameter "+name+" is "+what+", not "+values.Get(name))
	}
	q = logQuery{newest: newestLines, level: levels["ALL"], follow: truth(values.Get("follow"))}
	if text := values.Get("n"); text != "" {
		if q.newest, err = strconv.Atoi(text); err != nil || q.newest < 0 {
			return q, bad("n", "a number of lines")
		}
		q.newest = min(q.newest, logLines)
	}
	if text := values.Get("level"); text != "" {
		level, known := levels[strings.ToUpper(text)]
		if !known {
			return q, bad("level", "TRACE, DEBUG, INFO, WARN or ERROR")
		}
		q.level = level
	}
	if text := values.Get("task"); text != "" {
		task, err := strconv.Atoi(text)
		if err != nil || task < 0 {
			return q, bad("task", "the number of a task")
		}
		q.task = &task
	}
	return q, nil
}

// showLogs answers with the newest lines of a connector and its tasks, wherever they run,
// and with follow with those that come, for as long as the client likes.
func (s *Server) showLogs(w http.ResponseWriter, r *http.Request) {
	q, err := readLogQuery(r.URL.Query())
	if err == nil {
		_, err = s.o.Herder.Connector(r.PathValue("name"))
	}
	if err != nil {
		s.writeError(w, r, err)
		return
	}
	if q.follow {
		s.followLogs(w, r, q)
		return
	}
	lines, warning := s.gatherLogs(r, q)
	s.write(w, answer{status: http.StatusOK, body: logsBody{Name: r.PathValue("name"), Lines: lines}, warning: warning})
}

// gatherLogs returns the newest lines of all workers, in the order of time.
func (s *Server) gatherLogs(r *http.Request, q logQuery) (lines []LogLine, warning string) {
	name := r.PathValue("name")
	lines, _, _, _ = s.o.Logs.since(name, 0, q)
	if isAsked(r) {
		for _, address := range s.o.Herder.Hosts(name) {
			theirs, err := s.askLogs(r, address)
			if err != nil {
				warning = "the lines of " + address + " are missing: " + s.redact(err.Error())
			}
			lines = append(lines, theirs...)
		}
	}
	slices.SortStableFunc(lines, func(a, b LogLine) int { return a.Time.Compare(b.Time) })
	return s.shownLines(lines[max(0, len(lines)-q.newest):]), warning
}

// shownLines takes secrets out that were not known when the lines were written.
func (s *Server) shownLines(lines []LogLine) []LogLine {
	all := make([]LogLine, 0, len(lines))
	for _, l := range lines {
		l.Message = s.redact(l.Message)
		fields := make(map[string]any, len(l.Fields))
		for name, v := range l.Fields {
			if text, ok := v.(string); ok {
				v = s.redact(text)
			}
			fields[name] = v
		}
		l.Fields = fields
		all = append(all, l)
	}
	return all
}

// askLogs asks another worker for its lines.
func (s *Server) askLogs(r *http.Request, address string) ([]LogLine, error) {
	ctx, cancel := context.WithTimeout(r.Context(), detailsTime)
	defer cancel()
	resp, err := s.forward(r.WithContext(ctx), address, "false", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var theirs logsBody
	if err := json.NewDecoder(io.LimitReader(resp.Body, detailsLimit)).Decode(&theirs); err != nil || resp.StatusCode != http.StatusOK {
		return nil, errors.Join(errors.New(resp.Status), err)
	}
	for i := range theirs.Lines {
		theirs.Lines[i].Worker = hostOf(address)
	}
	return theirs.Lines, nil
}

// hostOf is the host and port in a worker's address.
func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Host
	}
	return address
}

// linesType is the media type of JSON, one value on a line.
const linesType = "application/x-ndjson"

// againAfter is how long a follower waits before it looks whether other workers run the
// connector now, or one that was lost is back.
const againAfter = time.Second

// followLogs writes lines as they come, until the client goes, the connector is deleted or
// the server stops.
func (s *Server) followLogs(w http.ResponseWriter, r *http.Request, q logQuery) {
	ctx, cancel := context.WithCancel(r.Context())
	defer context.AfterFunc(s.streams, cancel)()
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	r = r.WithContext(ctx)
	name := r.PathValue("name")
	lines, next, _, _ := s.o.Logs.since(name, 0, q)
	lines = s.shownLines(lines[max(0, len(lines)-q.newest):])
	w.Header().Set("Content-Type", linesType)
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	out := bufio.NewWriter(timedWriter{w, control})
	theirs := make(chan LogLine)
	following, known := map[string]bool{}, map[string]bool{}
	ended := make(chan string)
	again := time.NewTicker(againAfter)
	defer again.Stop()
	for {
		for _, line := range lines {
			text, _ := appendJSON(line) // It was made of what JSON has.
			_, _ = out.Write(append(text, '\n'))
		}
		if out.Flush() != nil || control.Flush() != nil {
			return
		}
		if isAsked(r) {
			for _, address := range s.o.Herder.Hosts(name) {
				if following[address] {
					continue
				}
				on := logSource{address, q.newest}
				if known[address] {
					on.newest = 0 // What was before is known, as far as it was there.
				}
				following[address], known[address] = true, true
				others.Go(func() { s.followThere(r, on, theirs, ended) })
			}
		}
		var missed int64
		var more <-chan struct{}
		if lines, next, missed, more = s.o.Logs.since(name, next, q); missed > 0 {
			lines = append([]LogLine{missedLines(missed)}, lines...)
		}
		if lines = s.shownLines(lines); len(lines) > 0 {
			continue
		}
		select {
		case <-more:
		case line := <-theirs:
			lines = []LogLine{line}
		case address := <-ended:
			delete(following, address)
			<-again.C // Not sooner: it may not be there.
		case <-again.C:
			if _, err := s.o.Herder.Connector(name); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// missedLines stands for lines that have gone before they were read.
func missedLines(n int64) LogLine {
	return LogLine{Time: time.Now().UTC(), Level: "WARN", Message: fmt.Sprintf("%d lines came faster than they were read, and are missing here", n)}
}

// logSource is another worker, and how many lines are wanted of what was before.
type logSource struct {
	address string
	newest  int
}

// followThere hands on what comes at another worker, until it ends.
func (s *Server) followThere(r *http.Request, from logSource, to chan<- LogLine, ended chan<- string) {
	defer func() {
		select {
		case ended <- from.address:
		case <-r.Context().Done():
		}
	}()
	on := r.Clone(r.Context())
	query := on.URL.Query()
	query.Set("n", strconv.Itoa(from.newest))
	on.URL.RawQuery = query.Encode()
	resp, err := s.forward(on, from.address, "false", nil)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var line LogLine
		if dec.Decode(&line) != nil {
			return
		}
		line.Worker = hostOf(from.address)
		select {
		case to <- line:
		case <-r.Context().Done():
			return
		}
	}
}
