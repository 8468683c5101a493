package rest_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemill/tidemill/config"
	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest"
)

var rewrite = flag.Bool("rewrite", false, "write the answers in the transcripts anew")

// shownHeaders are the headers of an answer that a transcript shows.
var shownHeaders = []string{"Allow", "Content-Security-Policy", "Content-Type", "Location", "Retry-After", "Warning", "Www-Authenticate", "X-Extra"}

// exchange is a request and its answer, as a transcript writes them:
//
//	### what it is about
//	PUT /connectors/a/config
//	Content-Type: application/json
//
//	{"k":"v"}
//	<<<
//	404
//	Content-Type: application/json
//
//	{"error_code":404,"message":"…"}
//
// A header Reads names the places of the answer that the client reads, of which the
// transcript shows what stands there in place of the whole (clients_test.go).
type exchange struct {
	title, method, path string
	header              http.Header
	body, answer        string
}

func parseTranscript(t *testing.T, text string) []exchange {
	t.Helper()
	var all []exchange
	for _, part := range strings.Split("\n"+text, "\n### ")[1:] {
		request, answer, _ := strings.Cut(part+"\n", "\n<<<\n")
		title, rest, _ := strings.Cut(request, "\n")
		head, body, _ := strings.Cut(rest+"\n", "\n\n")
		lines := strings.Split(strings.TrimSpace(head), "\n")
		e := exchange{title: title, header: http.Header{}, body: strings.TrimSuffix(body, "\n"), answer: strings.TrimSpace(answer)}
		var found bool
		if e.method, e.path, found = strings.Cut(lines[0], " "); !found {
			t.Fatalf("%s: %q is no request", title, lines[0])
		}
		for _, line := range lines[1:] {
			name, value, _ := strings.Cut(line, ": ")
			e.header.Set(name, value)
		}
		all = append(all, e)
	}
	return all
}

// changing are the parts of answers that differ from run to run: the numbers of
// queries, the name of the Kafka cluster.
var changing = regexp.MustCompile(`(transient_[A-Z]+_|"kafka_cluster_id":")[^" ]+`)

// await repeats a request until its answer contains the text that the transcript's
// header Await names.
func (e exchange) await(t *testing.T, base string) string {
	t.Helper()
	want := e.header.Get("Await")
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		got, whole := e.do(t, base)
		if strings.Contains(whole, want) || time.Now().After(deadline) {
			return got
		}
	}
}

// do returns the answer as the transcript shows it, and its body.
func (e exchange) do(t *testing.T, base string) (shown, whole string) {
	t.Helper()
	r, err := http.NewRequest(e.method, base+e.path, strings.NewReader(e.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = e.header.Clone()
	r.Header.Del("Await")
	r.Header.Del("Reads")
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	e.agree(t, resp.StatusCode, resp.Header.Get("Content-Type"), string(body))
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", resp.StatusCode)
	for _, name := range shownHeaders {
		for _, value := range resp.Header.Values(name) {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	whole = string(changing.ReplaceAll(body, []byte("${1}N")))
	text := whole
	if places := e.header.Get("Reads"); places != "" {
		text = read(whole, places)
	}
	fmt.Fprintf(&b, "\n%s", text)
	return strings.TrimSpace(b.String()), whole
}

func (e exchange) text(answer string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n%s %s\n", e.title, e.method, e.path)
	for _, name := range slices.Sorted(maps.Keys(e.header)) {
		fmt.Fprintf(&b, "%s: %s\n", name, e.header.Get(name))
	}
	fmt.Fprintf(&b, "\n")
	if e.body != "" {
		fmt.Fprintf(&b, "%s\n", e.body)
	}
	fmt.Fprintf(&b, "<<<\n%s\n\n", answer)
	return b.String()
}

// play runs a transcript against a server and compares the answers, exactly.
func play(t *testing.T, path, base string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, e := range parseTranscript(t, string(data)) {
		got := e.await(t, base)
		if diff := cmp.Diff(e.answer, got); diff != "" && !*rewrite {
			t.Errorf("%s: %s (-want +got):\n%s", filepath.Base(path), e.title, diff)
		}
		out.WriteString(e.text(got))
	}
	if *rewrite {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// serve starts a server over a herder on a free loopback port.
func serve(t *testing.T, raw connect.Config, change func(*rest.Options)) string {
	t.Helper()
	settings, err := rest.ConfigDef().Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	o := rest.Options{Settings: settings, Herder: newStandIn(), Redactor: config.NewRedactor()}
	if change != nil {
		change(&o)
	}
	s, err := rest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

func TestTranscripts(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") })
	ui := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ui "+r.URL.Path) })
	failed := newStandIn()
	failed.failed = []string{"a-0", "b"}
	failed.all = map[string]connect.Config{"a": {"connector.class": "FileSource"}, "b": {"connector.class": "FileSource"}}
	starting := newStandIn()
	starting.fails = &connect.Error{Code: "worker.starting", Class: connect.ClassRetriable, Message: "Worker is still starting up."}
	starting.health.Status, starting.health.Message = "starting", "Worker is still starting up."
	for name, c := range map[string]struct {
		raw    connect.Config
		change func(*rest.Options)
	}{
		"connectors": {},
		"lifecycle":  {},
		"offsets":    {},
		"attend":     {},
		"letters":    {},
		"peek":       {change: func(o *rest.Options) { o.Redactor.Add("hunter2") }},
		"failed":     {change: func(o *rest.Options) { o.Herder = failed; o.Redactor.Add("hunter2") }},
		"plugins":    {},
		"secrets":    {},
		"shapes":     {change: func(o *rest.Options) { o.Metrics = metrics }},
		"loggers":    {},
		"page":       {change: func(o *rest.Options) { o.UI = nil }},
		"ui":         {change: func(o *rest.Options) { o.UI = ui }},
		"starting":   {change: func(o *rest.Options) { o.Herder = starting }},
		"strict":     {raw: connect.Config{"rest.compat.errors": "strict", "rest.mask.secrets": "false", "rest.max.body.bytes": "1024"}},
		"auth":       {raw: connect.Config{"rest.basic.auth.users": "ann:one,bob:t:wo", "access.control.allow.origin": "https://ui.example", "response.http.headers.config": "set X-Extra: 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, filepath.Join("testdata", name+".http"), serve(t, c.raw, c.change))
		})
	}
}
