//go:build takeover

package takeover_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 4 * time.Minute

func wait(t *testing.T, what string, done func() bool, describe func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came to this: %s; %s", what, describe())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// required returns a variable that the script sets.
func required(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set; make test-takeover runs this test", name)
	}
	return value
}

// running is a worker's process, Kafka Connect's or ours.
type running struct {
	t      *testing.T
	name   string
	url    string
	cmd    *exec.Cmd
	output string // The file with what it says.
	done   chan struct{}
}

// launch starts a process and returns when its worker is healthy.
func launch(t *testing.T, name, url, dir, program string, args ...string) *running {
	t.Helper()
	w := &running{t: t, name: name, url: url, done: make(chan struct{}), output: filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+fmt.Sprint(time.Now().UnixNano())+".log")}
	out, err := os.Create(w.output)
	if err != nil {
		t.Fatal(err)
	}
	w.cmd = exec.Command(program, args...)
	w.cmd.Dir, w.cmd.Stdout, w.cmd.Stderr = dir, out, out
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(w.done)
		_ = w.cmd.Wait() // How it ended shows in what it says.
		_ = out.Close()
	}()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		<-w.done
	})
	wait(t, name+" is healthy", func() bool {
		select {
		case <-w.done:
			t.Fatalf("%s has ended: %s", name, w.tail())
		default:
		}
		status, _ := w.ask("GET", "/health", "")
		return status == http.StatusOK
	}, w.tail)
	return w
}

// startJava starts Kafka Connect as its own script does, with less of a heap and without
// the compiler that pays off only in longer runs.
func startJava(t *testing.T, url, dir, file string) *running {
	t.Helper()
	return launch(t, "Kafka Connect", url, dir, "java", "-Xms256m", "-Xmx768m", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true",
		"-cp", required(t, "TIDEMILL_TEST_CONNECT"), "org.apache.kafka.connect.cli.ConnectDistributed", file)
}

// startOurs starts our worker with the same file.
func startOurs(t *testing.T, url, dir, file string) *running {
	t.Helper()
	return launch(t, "tidemill", url, dir, required(t, "TIDEMILL_TEST_BINARY"), "worker", "-c", file)
}

// stop ends the worker in order.
func (w *running) stop() {
	w.t.Helper()
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.done:
	case <-time.After(patience):
		w.t.Fatalf("%s does not stop: %s", w.name, w.tail())
	}
}

// said returns everything the process has said.
func (w *running) said() string {
	text, err := os.ReadFile(w.output)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func (w *running) tail() string {
	text := w.said()
	return text[max(0, len(text)-6000):]
}

var client = &http.Client{Timeout: 100 * time.Second}

func (w *running) ask(method, path, body string) (int, []byte) {
	req, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return resp.StatusCode, text
}

// must asks until the answer is one of success. Kafka Connect answers 409 while its group is
// divided anew.
func (w *running) must(method, path, body string) []byte {
	w.t.Helper()
	var status int
	var text []byte
	wait(w.t, method+" "+path+" succeeds", func() bool {
		status, text = w.ask(method, path, body)
		if status != http.StatusConflict && status >= 400 && status < 500 && method != "GET" {
			w.t.Fatalf("%s: %s %s: %d %s", w.name, method, path, status, text)
		}
		return status >= 200 && status < 300
	}, func() string { return fmt.Sprintf("%d %s\n%s", status, text, w.tail()) })
	return text
}

func (w *running) put(name string, config map[string]string) {
	w.t.Helper()
	body, err := json.Marshal(config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.must("PUT", "/connectors/"+name+"/config", string(body))
}

// status is what REST says of a connector.
type status struct {
	Connector struct{ State, Trace string }
	Tasks     []struct {
		ID           int
		State, Trace string
	}
	Type string
}

// short is the states in one word: that of the connector, and those of its tasks.
func (s status) short() string {
	parts := []string{s.Connector.State}
	for _, task := range s.Tasks {
		parts = append(parts, task.State)
	}
	return strings.Join(parts, "+")
}

func (w *running) status(name string) (s status) {
	_, text := w.ask("GET", "/connectors/"+name+"/status", "")
	_ = json.Unmarshal(text, &s) // The zero value is the state of nothing.
	return s
}

// waitFor waits until a connector and its tasks are in the states.
func (w *running) waitFor(name, states string) {
	w.t.Helper()
	wait(w.t, w.name+": "+name+" is "+states, func() bool { return w.status(name).short() == states },
		func() string { return fmt.Sprintf("%+v\n%s", w.status(name), w.tail()) })
}

// config returns a connector's configuration, without its secret: only Kafka Connect shows it.
func (w *running) config(name string) map[string]string {
	w.t.Helper()
	var config map[string]string
	if err := json.Unmarshal(w.must("GET", "/connectors/"+name+"/config", ""), &config); err != nil {
		w.t.Fatal(err)
	}
	delete(config, "database.password")
	return config
}

// offsets returns what REST says of a connector's offsets, in one form.
func (w *running) offsets(name string) string {
	w.t.Helper()
	return canonical(w.t, w.must("GET", "/connectors/"+name+"/offsets", ""))
}

// canonical writes JSON with its keys sorted.
func canonical(t *testing.T, text []byte) string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

var broughtByConnect = regexp.MustCompile(`^(connect-api|connect-json|kafka-clients|lz4-java|snappy-java|zstd-jni|slf4j-api|jakarta\.ws\.rs-api|javax\.ws\.rs-api)-[0-9]`)

// pluginFolder makes a folder of Debezium's jars, without what Kafka Connect brings itself.
func pluginFolder(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "plugins")
	inner := filepath.Join(path, "debezium-connector-postgres")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, jar := range filepath.SplitList(required(t, "TIDEMILL_TEST_DEBEZIUM")) {
		if name := filepath.Base(jar); !broughtByConnect.MatchString(name) {
			if err := os.Symlink(jar, filepath.Join(inner, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return path
}
