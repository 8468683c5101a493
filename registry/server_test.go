package registry_test

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/riferrei/srclient"

	"github.com/tidemill/tidemill/registry"
)

var rewrite = flag.Bool("rewrite", false, "renew the expected answers in testdata")

func start(t *testing.T, opts registry.Options) *httptest.Server {
	t.Helper()
	s, err := registry.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		web.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return web
}

// call sends "METHOD path body" and returns the answer as "< status body".
func call(t *testing.T, base, request string) string {
	t.Helper()
	method, rest, _ := strings.Cut(request, " ")
	path, body, _ := strings.Cut(rest, " ")
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/vnd.schemaregistry.v1+json" {
		t.Errorf("%s: content type %q", request, got)
	}
	return fmt.Sprintf("< %d %s", resp.StatusCode, strings.TrimSpace(text.String()))
}

// TestTranscripts plays each script of testdata against a registry of its own
// and compares the answers, which start with "<".
func TestTranscripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.test")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			want, err := os.ReadFile(script)
			if err != nil {
				t.Fatal(err)
			}
			web := start(t, registry.Options{})
			var got strings.Builder
			for lines := bufio.NewScanner(bytes.NewReader(want)); lines.Scan(); {
				line := lines.Text()
				if strings.HasPrefix(line, "<") {
					continue
				}
				got.WriteString(line + "\n")
				if line != "" && !strings.HasPrefix(line, "#") {
					got.WriteString(call(t, web.URL, line) + "\n")
				}
			}
			if *rewrite {
				if err := os.WriteFile(script, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			compareLines(t, got.String(), string(want))
		})
	}
}

func compareLines(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("from line %d on\ngot  %q\nwant %q", i+1, g[min(i, len(g)):], w[min(i, len(w)):])
		}
	}
}

// TestForeignClient uses the registry through a client that is not ours.
func TestForeignClient(t *testing.T) {
	client := srclient.NewSchemaRegistryClient(start(t, registry.Options{}).URL)
	client.CachingEnabled(false)
	const v1 = `{"type":"record","name":"R","fields":[{"name":"id","type":"int"}]}`
	const v2 = `{"type":"record","name":"R","fields":[{"name":"id","type":"int"},{"name":"s","type":"string","default":""}]}`
	const bad = `{"type":"record","name":"R","fields":[{"name":"id","type":"int"},{"name":"s","type":"int"}]}`
	first, err := client.CreateSchema("t-value", v1, srclient.Avro)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := client.IsSchemaCompatible("t-value", v2, "latest", srclient.Avro); err != nil || !ok {
		t.Fatalf("compatible: %v, %v", ok, err)
	}
	second, err := client.CreateSchema("t-value", v2, srclient.Avro)
	if err != nil || second.ID() == first.ID() {
		t.Fatalf("ids %d and %d, %v", first.ID(), second.ID(), err)
	}
	if _, err := client.CreateSchema("t-value", bad, srclient.Avro); err == nil || !strings.Contains(err.Error(), "field 's'") {
		t.Fatalf("an incompatible schema: %v", err)
	}
	latest, err := client.GetLatestSchema("t-value")
	if err != nil || latest.Version() != 2 || latest.Schema() != v2 {
		t.Fatalf("latest %+v, %v", latest, err)
	}
	if found, err := client.LookupSchema("t-value", v1, srclient.Avro); err != nil || found.ID() != first.ID() || found.Version() != 1 {
		t.Fatalf("lookup %+v, %v", found, err)
	}
	if level, err := client.ChangeSubjectCompatibilityLevel("t-value", srclient.FullTransitive); err != nil || *level != srclient.FullTransitive {
		t.Fatalf("level %v, %v", level, err)
	}
	if level, err := client.GetCompatibilityLevel("other", true); err != nil || *level != srclient.Backward {
		t.Fatalf("level %v, %v", level, err)
	}
	for _, permanent := range []bool{false, true} {
		if err := client.DeleteSubject("t-value", permanent); err != nil {
			t.Fatal(err)
		}
	}
	if subjects, err := client.GetSubjects(); err != nil || len(subjects) != 0 {
		t.Fatalf("subjects %v, %v", subjects, err)
	}
}

// TestConcurrentRegistration wants one id for each schema and no version
// twice, whoever comes first.
func TestConcurrentRegistration(t *testing.T) {
	web := start(t, registry.Options{Compatibility: "none"})
	const clients, schemas = 8, 5
	answers := make([][]string, clients)
	var group sync.WaitGroup
	for c := range clients {
		group.Go(func() {
			for n := range schemas {
				text := fmt.Sprintf(`{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"S%d\"]}`, n)
				for _, subject := range []string{"a", "b"} {
					answers[c] = append(answers[c], call(t, web.URL, `POST /subjects/`+subject+`/versions {"schema":"`+text+`"}`))
				}
			}
		})
	}
	group.Wait()
	for c := range clients {
		for i := range answers[c] {
			if answers[c][i] != answers[0][i-i%2] {
				t.Errorf("client %d got %s, want %s", c, answers[c][i], answers[0][i-i%2])
			}
		}
	}
	if got := call(t, web.URL, "GET /subjects/b/versions"); got != "< 200 [1,2,3,4,5]" {
		t.Error(got)
	}
}

// TestLargeBody wants a request over the limit refused.
func TestLargeBody(t *testing.T) {
	web := start(t, registry.Options{MaxBody: 100})
	got := call(t, web.URL, `POST /subjects/t/versions {"schema":"`+strings.Repeat(" ", 100)+`"}`)
	if want := `< 413 {"error_code":413,"message":"The request is larger than 100 bytes"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestFileStore closes and opens the file, tears its last line off as a crash
// would, and damages an earlier one.
func TestFileStore(t *testing.T) {
	name := filepath.Join(t.TempDir(), "schemas.log")
	open := func() (*registry.Server, error) {
		store, err := registry.OpenFile(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		return registry.New(registry.Options{Store: store})
	}
	play := func(requests ...string) (got []string) {
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		web := httptest.NewServer(s.Handler())
		defer web.Close()
		for _, r := range requests {
			got = append(got, call(t, web.URL, r))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return got
	}
	play(`POST /subjects/a/versions {"schema":"\"int\""}`, `PUT /config/a {"compatibility":"FULL"}`, `PUT /mode/b {"mode":"READONLY"}`,
		`POST /subjects/a/versions {"schema":"{\"type\":\"int\",\"doc\":\"two\"}"}`, `DELETE /subjects/a/versions/1`)
	questions := []string{"GET /subjects/a/versions", "GET /subjects/a/versions?deleted=true", "GET /config/a", "GET /mode/b", "GET /schemas/ids/2"}
	want := []string{"< 200 [2]", "< 200 [1,2]", `< 200 {"compatibilityLevel":"FULL"}`, `< 200 {"mode":"READONLY"}`,
		`< 200 {"schema":"{\"type\":\"int\",\"doc\":\"two\"}"}`}
	compareLines(t, strings.Join(play(questions...), "\n"), strings.Join(want, "\n"))

	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// The torn line was the deletion.
	if err := os.WriteFile(name, text[:len(text)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	if got := play("GET /subjects/a/versions", `POST /subjects/c/versions {"schema":"\"long\""}`); got[0] != "< 200 [1,2]" || got[1] != `< 200 {"id":3}` {
		t.Fatal(got)
	}
	if got := play("GET /subjects"); got[0] != `< 200 ["a","c"]` {
		t.Fatal(got)
	}
	text[20] ^= 1
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "registry.file.corrupt") {
		t.Fatalf("a damaged file: %v", err)
	}
}
