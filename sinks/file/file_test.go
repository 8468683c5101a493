package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

func row(id int32, price string) connect.Record {
	d, _ := connect.ParseDecimal(nil, price)
	s := connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{
		{Name: "id", Schema: connect.Of(connect.KindInt32)}, {Name: "price", Schema: connect.DecimalSchema(6, d.Scale)},
	}}.MustBuild()
	return connect.Record{
		KeySchema: connect.Of(connect.KindInt32), Key: connect.Int32(id), Timestamp: 5,
		ValueSchema: s, Value: connect.StructValue(s.StructOf([]connect.Value{connect.Int32(id), connect.Bytes(d.Unscaled)})),
	}
}

func readLines(tb testing.TB, path string) []string {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func TestConformance(t *testing.T) {
	text := connect.Record{ValueSchema: connect.Of(connect.KindString), Value: connect.String(`as "it" is`)}
	for _, c := range []struct {
		format string
		want   []string
	}{
		{"value", []string{`{"id":1,"price":9.50}`, `{"id":2,"price":-0.01}`, `as "it" is`, `null`}},
		{"json", []string{
			`{"topic":"t","partition":0,"offset":7,"timestamp":5,"key":1,"value":{"id":1,"price":9.50}}`,
			`{"topic":"t","partition":0,"offset":8,"timestamp":5,"key":2,"value":{"id":2,"price":-0.01}}`,
			`{"topic":"t","partition":0,"offset":9,"timestamp":0,"key":null,"value":"as \"it\" is"}`,
			`{"topic":"t","partition":0,"offset":10,"timestamp":null,"key":1,"value":null,"headers":[{"h":1},{"h":"x"}]}`,
		}},
	} {
		t.Run(c.format, func(t *testing.T) {
			dir := t.TempDir()
			tombstone := connect.Record{Key: connect.Int32(1), Timestamp: connect.NoTimestamp, Headers: []connect.Header{
				{Key: "h", Value: connect.Int32(1)}, {Key: "h", Value: connect.String("x")},
			}}
			connecttest.Sink(t, connecttest.SinkCase{
				New: Plugin(Options{Dirs: []string{dir}}).New,
				Config: func(tb testing.TB) connect.Config {
					f, err := os.CreateTemp(dir, "*.jsonl")
					if err != nil {
						tb.Fatal(err)
					}
					f.Close()
					return connect.Config{"file": f.Name(), "format": c.format, "topics": "t"}
				},
				Records: connecttest.SinkRecords("t", 7, row(1, "9.50"), row(2, "-0.01"), text, tombstone),
				Read:    func(tb testing.TB, config connect.Config) []string { return readLines(tb, config["file"]) },
				Want:    c.want, Appends: true,
				Bad: connect.Config{"file": filepath.Join(dir, "absent", "x")},
			})
		})
	}
}

func TestStandardOutput(t *testing.T) {
	for _, name := range []string{"", "-"} {
		var out bytes.Buffer
		run := connecttest.StartSink(t, Plugin(Options{Stdout: &out}).New(), connect.Config{"file": name}, false)
		run.Put(connecttest.SinkRecords("t", 0, row(1, "1.0"))...)
		run.Commit()
		run.Stop()
		if out.String() != `{"id":1,"price":1.0}`+"\n" {
			t.Errorf("file %q: %q", name, out.String())
		}
	}
}

// TestDirectoriesAreKept tries the ways out of an allowed directory.
func TestDirectoriesAreKept(t *testing.T) {
	allowed, outside := t.TempDir(), t.TempDir()
	for link, target := range map[string]string{"link": outside, "linked.txt": filepath.Join(outside, "x")} {
		if err := os.Symlink(target, filepath.Join(allowed, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ name, code string }{
		{filepath.Join(outside, "x"), "file.denied"},
		{filepath.Join(allowed, "..", filepath.Base(outside), "x"), "file.denied"},
		{allowed, "file.denied"},
		{"/dev/stdout", "file.denied"},
		{allowed + "extra", "file.denied"},
		{filepath.Join(allowed, "link", "x"), "file.open"},
		{filepath.Join(allowed, "linked.txt"), "file.open"},
		{filepath.Join(allowed, "absent", "x"), "file.open"},
	} {
		p := Plugin(Options{Dirs: []string{allowed}})
		config := connect.Config{"file": c.name}
		values := p.Config.Validate(config)
		p.New().(connect.Validator).Validate(t.Context(), config, values)
		if errs := values["file"].Errors; len(errs) != 1 || !strings.Contains(errs[0], c.code) {
			t.Errorf("validate %s: %q; want %s", c.name, errs, c.code)
		}
		task := &task{options: Options{Dirs: []string{allowed}}}
		err := task.Start(t.Context(), connect.SinkTaskEnv{Config: config})
		if e := connect.AsError(err); err == nil || e.Code != c.code || e.Class != connect.ClassConfig {
			t.Errorf("start with %s: %v; want %s", c.name, err, c.code)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("something was written outside: %v", left)
	}
}

// limited is a writer with room for so many bytes.
type limited struct {
	bytes.Buffer
	room int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.room)
	l.room -= n
	l.Buffer.Write(p[:n])
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

func TestTornLineIsEnded(t *testing.T) {
	out := &limited{room: 10}
	task := &task{out: out}
	records := connecttest.SinkRecords("t", 0, row(1, "1.0"))
	err := task.Put(t.Context(), records)
	if e := connect.AsError(err); err == nil || e.Code != "file.write" || e.Class != connect.ClassRetriable {
		t.Fatalf("a write that breaks off: %v", err)
	}
	out.room = 1000
	if err := task.Put(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	if want := "{\"id\":1,\"p\n{\"id\":1,\"price\":1.0}\n"; out.String() != want {
		t.Errorf("%q; want %q", out.String(), want)
	}
}

func TestSample(t *testing.T) {
	text, err := os.ReadFile("sample.json")
	if err != nil {
		t.Fatal(err)
	}
	var sample struct {
		Name   string
		Config connect.Config
	}
	if err := json.Unmarshal(text, &sample); err != nil {
		t.Fatal(err)
	}
	p, err := connect.FindPlugin([]connect.Plugin[connect.SinkConnector]{Plugin(Options{})}, sample.Config["connector.class"])
	if err != nil {
		t.Fatal(err)
	}
	for _, framework := range []string{"connector.class", "tasks.max", "topics"} {
		delete(sample.Config, framework)
	}
	values := p.Config.Validate(sample.Config)
	p.New().(connect.Validator).Validate(t.Context(), sample.Config, values)
	for name, v := range values {
		if len(v.Errors) > 0 {
			t.Errorf("%s: %v", name, v.Errors)
		}
	}
}
