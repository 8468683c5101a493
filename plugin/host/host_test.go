package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin"
	"github.com/tidemill/tidemill/plugin/internal/line"
	"github.com/tidemill/tidemill/sources/datagen"
)

// TestMain lets the test binary be a plugin: put into a directory under the name
// "<name>-<version>", it holds the plugins of that name in that version.
func TestMain(m *testing.M) {
	if dir := os.Getenv(workerVariable); dir != "" {
		beWorker(dir)
	}
	if os.Getenv(line.Handshake().MagicCookieKey) == "" {
		os.Exit(m.Run())
	}
	name, version, _ := strings.Cut(filepath.Base(os.Args[0]), "-")
	if name == "silent" {
		os.Exit(3)
	}
	plugin.Serve(held(name, version))
}

// workerVariable is the variable by which the test binary is told to be a worker, for the
// plugins of a directory.
const workerVariable = "TIDEMILL_TEST_PLUGIN_WORKER"

// beWorker starts a task, says so by the task's pidfile, and waits to be killed.
func beWorker(dir string) {
	found := New(Options{Dirs: []string{dir}}).Plugins(true)
	task := found.Sources[0].New().NewTask()
	err := task.Start(context.Background(), connect.SourceTaskEnv{
		Config: connect.Config{"topic": "t", "pidfile": filepath.Join(dir, "pid")}, Log: slog.New(slog.DiscardHandler),
		StoredOffset: func(context.Context, connect.SourcePartition) ([]byte, error) { return nil, nil },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

// held are the plugins of a file.
func held(name, version string) connect.Plugins {
	if name == "odd" {
		return connect.Plugins{HeaderConverters: []connect.Plugin[connect.HeaderConverter]{{Class: "test.Odd"}}}
	}
	if name == "converters" {
		return convertersHeld(version)
	}
	if name == "steps" {
		return stepsHeld(version)
	}
	if name == "datagen" {
		return connect.Plugins{Sources: []connect.Plugin[connect.SourceConnector]{datagen.Plugin()}}
	}
	return connect.Plugins{
		Sources: []connect.Plugin[connect.SourceConnector]{{
			Class: "test.CounterSource", Version: version, Doc: "Counts.", Config: counterDef(), New: func() connect.SourceConnector { return &counter{version: version} },
		}},
		Sinks: []connect.Plugin[connect.SinkConnector]{{
			Class: "test.LinesSink", Version: version, Config: linesDef(), New: func() connect.SinkConnector { return &lines{} },
		}},
	}
}

func counterDef() *connect.ConfigDef {
	return connect.NewConfigDef(
		connect.ConfigKey{Name: "topic", Required: true, Doc: "The topic."},
		connect.ConfigKey{Name: "count", Type: connect.TypeInt, Default: "-1", Check: connect.Between(-1, 1<<30)},
		connect.ConfigKey{Name: "batch", Type: connect.TypeInt, Default: "3"},
		connect.ConfigKey{Name: "pace.ms", Type: connect.TypeDuration, Default: "0"},
		connect.ConfigKey{Name: "secret", Type: connect.TypePassword, Optional: true},
		connect.ConfigKey{Name: "trouble", Optional: true},
		connect.ConfigKey{Name: "boundary", Type: connect.TypeInt, Default: "0"},
		connect.ConfigKey{Name: "pidfile", Optional: true},
	)
}

// counter is a source that counts from 1; its offsets are its own type.
type counter struct {
	version string
	env     connect.ConnectorEnv
}

func (c *counter) Start(_ context.Context, env connect.ConnectorEnv) error {
	c.env = env
	_, err := counterDef().OpenTo(func(string) bool { return true }).Parse(env.Config)
	switch env.Config["trouble"] {
	case "fail connector":
		env.Fail(&connect.Error{Code: "test.lost", Message: "it is gone"})
	case "reconfigure":
		env.Reconfigure()
	}
	return err
}

func (c *counter) TaskConfigs(context.Context, int) ([]connect.Config, error) {
	return []connect.Config{c.env.Config}, nil
}

func (c *counter) Stop(context.Context) error { return nil }

func (c *counter) NewTask() connect.SourceTask { return &counterTask{version: c.version} }

func (c *counter) ExactlyOnce(connect.Config) bool              { return true }
func (c *counter) DefinesBoundaries(config connect.Config) bool { return config["boundary"] != "" }

func (c *counter) Validate(_ context.Context, config connect.Config, values connect.ConfigValues) {
	if config["topic"] == "forbidden" {
		values.AddError("topic", "not this one")
	}
}

func (c *counter) AlterOffsets(_ context.Context, _ connect.Config, offsets map[connect.SourcePartition][]byte) (bool, error) {
	for _, o := range offsets {
		if o != nil && !bytes.Contains(o, []byte(`"n"`)) {
			return false, &connect.Error{Code: "test.offset", Class: connect.ClassConfig, Place: string(o), Message: "no n"}
		}
	}
	return true, nil
}

func (c *counter) Remedy(_ context.Context, _ connect.Config, name string, offsets map[connect.SourcePartition][]byte) (map[connect.SourcePartition][]byte, string, error) {
	if name != "again" {
		return nil, "", &connect.Error{Code: "remedy.unknown", Class: connect.ClassConfig, Place: name, Message: "there is only: again"}
	}
	for p := range offsets {
		offsets[p] = nil
	}
	return offsets, "from the start", nil
}

func (c *counter) Retire(_ context.Context, _ connect.Config, drop bool) (string, error) {
	return fmt.Sprint("nothing is left, drop ", drop), nil
}

// writePid says which process this is, in a file that is there whole or not at all.
func writePid(path string) error {
	part := fmt.Sprint(path, ".", os.Getpid())
	if err := os.WriteFile(part, []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// position is an offset of a type of the plugin's own, which Commit must get back.
type position struct{ n int64 }

func (p position) AppendJSON(dst []byte) []byte { return fmt.Appendf(dst, `{"n":%d}`, p.n) }

type counterTask struct {
	version            string
	env                connect.SourceTaskEnv
	s                  connect.Settings
	next, count, batch int64
	committed          int64
	partition          connect.SourcePartition
	key                *connect.Schema
}

func (t *counterTask) Start(ctx context.Context, env connect.SourceTaskEnv) (err error) {
	t.env, t.next = env, 1
	if t.s, err = counterDef().OpenTo(func(string) bool { return true }).Parse(env.Config); err != nil {
		return err
	}
	if path := t.s.String("pidfile"); path != "" {
		if err := writePid(path); err != nil {
			return err
		}
	}
	t.count, t.batch = t.s.Int64("count"), t.s.Int64("batch")
	if t.partition, err = connect.NewSourcePartition(map[string]any{"counter": 1}); err != nil {
		return err
	}
	t.key = connect.SchemaDef{Kind: connect.KindStruct, Name: "key", Fields: []connect.Field{{Name: "n", Schema: connect.Of(connect.KindInt64)}}}.MustBuild()
	stored, err := env.StoredOffset(ctx, t.partition)
	if err != nil || stored == nil {
		return err
	}
	var o struct{ N int64 }
	if err := json.Unmarshal(stored, &o); err != nil {
		return err
	}
	t.next = o.N + 1
	env.Log.Debug("goes on", "at", t.next)
	return nil
}

func (t *counterTask) Poll(ctx context.Context) ([]connect.SourceRecord, error) {
	switch t.s.String("trouble") {
	case "panic":
		panic("the plugin's own fault")
	case "background panic":
		go func() { panic("in the background") }()
	case "retriable":
		return nil, connect.Retry(errors.New("not now"), 3*time.Millisecond)
	case "environment":
		return []connect.SourceRecord{t.record(strings.Join(append(os.Environ(), "\n"), "\n"))}, nil
	}
	if wait := t.s.Duration("pace.ms"); wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, nil
		}
	}
	if t.count >= 0 && t.next > t.count {
		select {
		case <-ctx.Done():
		case signal := <-t.env.Signals:
			t.env.Show("signal", []byte(`{"taken":`+string(signal)+`}`))
			return []connect.SourceRecord{t.record(string(signal))}, nil
		case <-time.After(20 * time.Millisecond):
		}
		return nil, nil
	}
	var records []connect.SourceRecord
	for range t.batch {
		if t.count >= 0 && t.next > t.count {
			break
		}
		records = append(records, t.record(""))
		t.next++
	}
	t.env.Metrics.Add("rows_total", int64(len(records)))
	t.env.Metrics.Set("next", float64(t.next))
	return records, nil
}

func (t *counterTask) record(text string) connect.SourceRecord {
	if text == "" {
		text = fmt.Sprintf("%d@%s", t.next, t.version)
	}
	r := connect.SourceRecord{
		Record: connect.Record{
			Topic: t.s.String("topic"), Partition: connect.AnyPartition, Timestamp: connect.NoTimestamp,
			KeySchema: t.key, Key: connect.StructValue(t.key.StructOf([]connect.Value{connect.Int64(t.next)})),
			ValueSchema: connect.Of(connect.KindString), Value: connect.String(text),
		},
		SourcePartition: t.partition, SourceOffset: position{t.next},
	}
	if every := t.s.Int64("boundary"); every > 0 && t.next%every == 0 {
		r.Boundary = connect.BoundaryCommit
	}
	return r
}

func (t *counterTask) Commit(_ context.Context, offsets map[connect.SourcePartition]connect.Offset) error {
	p, ok := offsets[t.partition].(position)
	if !ok || p.n < t.committed {
		return fmt.Errorf("committed %v after %d", offsets, t.committed)
	}
	t.committed = p.n
	t.env.Metrics.Set("committed", float64(p.n))
	return nil
}

func (t *counterTask) Stop(context.Context) error { return nil }

func linesDef() *connect.ConfigDef {
	return connect.NewConfigDef(connect.ConfigKey{Name: "path", Required: true}, connect.ConfigKey{Name: "trouble", Optional: true})
}

// lines is a sink that writes each record as a line of a file, once: it knows what is
// there. Values that begin with "bad" it cannot write.
type lines struct{ config connect.Config }

func (c *lines) Start(_ context.Context, env connect.ConnectorEnv) error {
	c.config = env.Config
	_, err := linesDef().OpenTo(func(string) bool { return true }).Parse(env.Config)
	return err
}

func (c *lines) TaskConfigs(context.Context, int) ([]connect.Config, error) {
	return []connect.Config{c.config}, nil
}
func (c *lines) Stop(context.Context) error { return nil }
func (c *lines) NewTask() connect.SinkTask  { return &linesTask{} }

type linesTask struct {
	env  connect.SinkTaskEnv
	file *os.File
	have map[string]bool
	open []connect.TopicPartition
	held []string
}

func (t *linesTask) Start(_ context.Context, env connect.SinkTaskEnv) (err error) {
	t.env, t.have = env, map[string]bool{}
	if env.Config["path"] == "" {
		return connect.ConfigError("path", "there is none")
	}
	if err := writePid(env.Config["path"] + ".pid"); err != nil {
		return err
	}
	old, err := os.ReadFile(env.Config["path"])
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, line := range strings.Split(string(old), "\n") {
		t.have[line] = true
	}
	t.file, err = os.OpenFile(env.Config["path"], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return err
}

func (t *linesTask) Open(_ context.Context, partitions []connect.TopicPartition) error {
	t.open = append(t.open, partitions...)
	return nil
}

func (t *linesTask) Close(_ context.Context, partitions []connect.TopicPartition) error {
	t.open = slices.DeleteFunc(t.open, func(tp connect.TopicPartition) bool { return slices.Contains(partitions, tp) })
	return nil
}

func (t *linesTask) Put(ctx context.Context, records []connect.SinkRecord) error {
	if ctx.Err() != nil {
		return connect.Retry(ctx.Err(), 0)
	}
	if t.env.Config["trouble"] == "ignore" {
		return nil
	}
	for i := range records {
		r := &records[i]
		tp := connect.TopicPartition{Topic: r.OriginalTopic, Partition: r.OriginalPartition}
		if !slices.Contains(t.open, tp) || len(t.env.Consumer.Assignment()) == 0 {
			return &connect.Error{Code: "test.closed", Message: tp.String()}
		}
		switch t.env.Config["trouble"] {
		case "panic":
			panic("sink")
		case "steer":
			t.env.Consumer.Pause(tp)
			t.env.Consumer.Seek(map[connect.TopicPartition]int64{tp: 3})
			t.env.Consumer.RequestCommit()
		}
		text := r.Value.String()
		if strings.HasPrefix(text, `"bad`) {
			cause := &connect.Error{Code: "test.bad", Class: connect.ClassRecord, Message: "cannot be written"}
			if t.env.Errant == nil {
				return cause
			}
			wait, err := t.env.Errant.Report(ctx, r, cause)
			if err != nil {
				return err
			}
			if err := wait(ctx); err != nil {
				return err
			}
			continue
		}
		t.held = append(t.held, fmt.Sprintf("%s:%d %s %s", r.OriginalTopic, r.Offset, r.Key, text))
	}
	return nil
}

func (t *linesTask) PreCommit(_ context.Context, offsets map[connect.TopicPartition]int64) (map[connect.TopicPartition]int64, error) {
	for _, line := range t.held {
		if !t.have[line] {
			t.have[line] = true
			if _, err := fmt.Fprintln(t.file, line); err != nil {
				return nil, err
			}
		}
	}
	t.held = nil
	return offsets, nil
}

func (t *linesTask) Stop(context.Context) error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// put makes the test binary a plugin of a directory.
func put(tb testing.TB, dir, name string) {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	to := filepath.Join(dir, name)
	if os.Link(self, to) == nil {
		return
	}
	from, err := os.Open(self)
	if err != nil {
		tb.Fatal(err)
	}
	defer from.Close()
	// Under another name first: a look meanwhile must not find half of it.
	file, err := os.OpenFile(filepath.Join(dir, ".part"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = io.Copy(file, from)
	}
	if err = errors.Join(err, file.Close(), os.Rename(file.Name(), to)); err != nil {
		tb.Fatal(err)
	}
}

// pluginDir is a directory with the test binary under the given names.
func pluginDir(tb testing.TB, names ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	for _, name := range names {
		put(tb, dir, name)
	}
	return dir
}

// journal is a log to look into.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
