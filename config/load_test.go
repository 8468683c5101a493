package config_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemill/tidemill/config"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden compares text with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStockPropertiesLoadUnchanged(t *testing.T) {
	l, err := config.Load(config.Sources{File: "testdata/connect-distributed.properties"})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(l.Config)) {
		fmt.Fprintf(&b, "%s=%s\n", key, l.Config[key])
	}
	golden(t, "connect-distributed.golden", b.String())
}

func TestPrecedenceAndOrigins(t *testing.T) {
	file := write(t, "worker.yaml", `
group:
  id: from-file
listeners: [ "http://:8083", "https://:8443" ]
errors.tolerance: all
version: 1.10
offset: {flush: {interval.ms: 1000}}
`)
	l, err := config.Load(config.Sources{
		File: file,
		Environ: []string{
			"CONNECT_GROUP_ID=from-env", "TIDEMILL_GROUP_ID=from-our-env", "CONNECT_ERRORS_TOLERANCE=none",
			"CONNECT_PRODUCER_CLIENT__ID___X=odd", "TIDEMILL_TEST_BROKERS=no", "PATH=/bin", "CONNECT_=",
		},
		NotSettings: []string{"TIDEMILL_TEST_"},
		Flags:       map[string]string{"errors.tolerance": "flagged"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, key := range slices.Sorted(maps.Keys(l.Config)) {
		origin := strings.TrimPrefix(l.Origins[key].String(), "file "+filepath.Dir(file)+"/")
		got = append(got, key+"="+l.Config[key]+" ← "+origin)
	}
	want := []string{
		"errors.tolerance=flagged ← flag errors.tolerance",
		"group.id=from-our-env ← env TIDEMILL_GROUP_ID",
		"listeners=http://:8083,https://:8443 ← worker.yaml:4",
		"offset.flush.interval.ms=1000 ← worker.yaml:7",
		"producer.client-id_x=odd ← env CONNECT_PRODUCER_CLIENT__ID___X",
		"version=1.10 ← worker.yaml:6",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWorkerFaults(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a.json", "{\n\"a\": 1,\n\"a\": 2}", `config.duplicate: a.json:3: the key "a" stands twice`},
		{"a.json", "{\"a\": {\"b\": 1}, \"a.b\": 2}", "a.b is set twice"},
		{"a.json", "{\"a\": null}", "config.shape: a.json:1: a: there is no value"},
		{"a.json", "[1]", "settings must be an object, this is an array"},
		{"a.json", "{\"a\": [1, [2]]}", "a list may hold plain values only"},
		{"a.json", "{\"a\": 1} x", "there is more after the end"},
		{"a.json", "{\"a\": ", "ends too early"},
		{"a.json", "{\"a\": \xff}", "not valid UTF-8"},
		{"a.json", strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "nested too deeply"},
		{"a.yaml", "a: 1\n---\nb: 2", "config.shape: a.yaml:3: worker settings must be one document"},
		{"a.yaml", "a: &x {b: 1}\n<<: *x", "merge keys are not understood"},
		{"a.yaml", "a: [", "this is not YAML"},
		{"a.yaml", "a:\n", "there is no value"},
		{"a.properties", "a=\\u12", "this is not a .properties file"},
	} {
		path := write(t, c.name, c.text)
		_, err := config.Load(config.Sources{File: path})
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", ""), c.want) {
			t.Errorf("%s %q: %v, want %s", c.name, c.text, err, c.want)
		}
	}
	if _, err := config.Load(config.Sources{File: "testdata/absent.properties"}); err == nil || !strings.HasPrefix(err.Error(), "config.file: testdata/absent.properties: ") {
		t.Error(err)
	}
}

// An alias that doubles with each line must not become a document of a million nodes.
func TestYAMLAliasesAreBounded(t *testing.T) {
	text := "a0: &a0 [x, x]\n"
	for i := 1; i < 40; i++ {
		text += fmt.Sprintf("a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	_, err := config.Load(config.Sources{File: write(t, "bomb.yaml", text)})
	if err == nil || !strings.Contains(err.Error(), "too") {
		t.Error(err)
	}
}
