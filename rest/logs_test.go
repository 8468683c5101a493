package rest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest"
	"github.com/tidemill/tidemill/worker"
)

// loggedBy is a worker that knows the connector c, and the log of that connector.
func loggedBy(t *testing.T, redactor *config.Redactor) (h *standIn, address string, log *slog.Logger) {
	t.Helper()
	h = newStandIn()
	h.all["c"], h.states["c"] = connect.Config{"name": "c"}, worker.Started
	logs := rest.NewLogs()
	s, _ := start(t, connect.Config{"listeners": "http://127.0.0.1:0"}, rest.Options{Herder: h, Logs: logs, Redactor: redactor})
	address = fmt.Sprintf("http://%s/", s.Addrs()[0])
	log = rest.NewLoggers(slog.LevelDebug).Logger("w", redactor.Handler(logs.Handler(slog.DiscardHandler)))
	return h, address, log.With("connector", "c")
}

type logLines struct{ Lines []rest.LogLine }

// messages are what the lines say, with the tasks and workers.
func (l logLines) messages() string {
	var b strings.Builder
	for _, line := range l.Lines {
		fmt.Fprintf(&b, "%s", line.Message)
		if line.Task != nil {
			fmt.Fprintf(&b, "/%d", *line.Task)
		}
		if line.Worker != "" {
			b.WriteString("@")
		}
		b.WriteString(" ")
	}
	return strings.TrimSpace(b.String())
}

func askLines(t *testing.T, url string) (found logLines, resp *http.Response, text string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, &found)
	}
	if err != nil {
		t.Fatalf("%v %s", err, body)
	}
	return found, resp, string(body)
}

// The lines of a connector are shown whichever worker has written them, without secrets,
// also those that become known later.
func TestLogsOfAConnector(t *testing.T) {
	redactor := config.NewRedactor()
	redactor.Add("hunter2")
	here, one, log := loggedBy(t, redactor)
	_, other, far := loggedBy(t, redactor)
	gone, stop := start(t, connect.Config{"listeners": "http://127.0.0.1:0"}, rest.Options{})
	stop()
	log.Info("begins", "password", "swordfish", "why", "hunter2 and tortoise")
	far.With("task", 1).Warn("slow", "n", 7, "error", connect.ConfigError("a", "tortoise"))
	log.With("task", 0).WithGroup("g").Error("fails", "x", true)
	log.Debug("details")
	redactor.Add("tortoise")
	here.attending = []string{other, fmt.Sprintf("http://%s/", gone.Addrs()[0])}

	found, resp, text := askLines(t, one+"connectors/c/logs")
	if got := found.messages(); got != "begins slow/1@ fails/0 details" {
		t.Errorf("the lines are %q", got)
	}
	for _, secret := range []string{"hunter2", "swordfish", "tortoise"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is shown: %s", secret, text)
		}
	}
	if warning := resp.Header.Get("Warning"); !strings.Contains(warning, here.attending[1]) {
		t.Errorf("it warns of %q", warning)
	}
	if l := found.Lines[1]; l.Level != "WARN" || l.Fields["n"] != 7.0 || l.Logger != "w" || l.Time.IsZero() || l.Worker == "" {
		t.Errorf("a line is %+v", l)
	}
	if l := found.Lines[2]; l.Fields["g.x"] != true {
		t.Errorf("a line with a group is %+v", l)
	}
	here.attending = here.attending[:1]
	for query, want := range map[string]string{
		"?n=2": "fails/0 details", "?level=warn": "slow/1@ fails/0", "?task=1": "slow/1@", "?level=ERROR&task=1": "", "?n=0": "", "?forward=false": "begins fails/0 details",
	} {
		if found, _, _ := askLines(t, one+"connectors/c/logs"+query); found.messages() != want {
			t.Errorf("%s: %q, want %q", query, found.messages(), want)
		}
	}
	for query, status := range map[string]int{"c/logs?n=x": 400, "c/logs?level=loud": 400, "c/logs?task=-1": 400, "nobody/logs": 404} {
		if _, resp, text := askLines(t, one+"connectors/"+query); resp.StatusCode != status {
			t.Errorf("%s: %d %s", query, resp.StatusCode, text)
		}
	}
}

// What comes is handed on as it comes, from all workers, until the connector is there no
// more or the client goes.
func TestLogsAreFollowed(t *testing.T) {
	redactor := config.NewRedactor()
	here, one, log := loggedBy(t, redactor)
	_, other, far := loggedBy(t, redactor)
	here.attending = []string{other}
	log.Info("before")
	far.Info("there")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, one+"connectors/c/logs?follow=true&level=info", nil)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if media := resp.Header.Get("Content-Type"); media != "application/x-ndjson" {
		t.Errorf("it is %s", media)
	}
	lines := bufio.NewScanner(resp.Body)
	next := func() string {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("it ends")
		}
		var l rest.LogLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err, lines.Text())
		}
		return logLines{[]rest.LogLine{l}}.messages()
	}
	for _, want := range []string{"before", "there@"} {
		if got := next(); got != want {
			t.Errorf("%s came, not %s", got, want)
		}
	}
	redactor.Add("tortoise")
	log.Debug("nobody wants it")
	log.Info("the tortoise")
	if got := next(); got != "the ********" {
		t.Errorf("%s came", got)
	}
	far.With("task", 3).Info("far")
	if got := next(); got != "far/3@" {
		t.Errorf("%s came", got)
	}
	// Gone with the connector.
	here.mu.Lock()
	delete(here.all, "c")
	here.mu.Unlock()
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("%q came, %v", lines.Text(), lines.Err())
	}
}

// However much is logged, and by however many connectors, what is kept is bounded.
func TestLogsAreBounded(t *testing.T) {
	_, base, log := loggedBy(t, config.NewRedactor())
	long := strings.Repeat("x", 10<<10)
	for i := range 3000 {
		log.Info(fmt.Sprint(i))
	}
	found, _, _ := askLines(t, base+"connectors/c/logs?n=5000")
	if n := len(found.Lines); n < 500 || n > 1000 || found.Lines[n-1].Message != "2999" {
		t.Errorf("%d lines are kept", n)
	}
	logs := rest.NewLogs()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for c := range 1000 {
		of := slog.New(logs.Handler(slog.DiscardHandler)).With("connector", fmt.Sprint(c))
		for range 20 {
			of.Info(long, "a", long, "b", long)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 40<<20 {
		t.Errorf("the lines of 1000 connectors take %d bytes", grown)
	}
	runtime.KeepAlive(logs)
}
