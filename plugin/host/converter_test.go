package host

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/converters/json"
	"github.com/tidemill/tidemill/internal/devstack"
)

// convertersHeld are a converter of these tests' own and Kafka Connect's JSON.
func convertersHeld(version string) connect.Plugins {
	list := []connect.Plugin[connect.Converter]{{
		Class: "test.Reversed", Version: version, Config: reversedDef(), New: func() connect.Converter { return &reversed{} },
	}}
	for _, p := range json.Plugins() {
		p.Class, p.Aliases, p.Version = "test."+p.Class[strings.LastIndexByte(p.Class, '.')+1:], nil, version
		list = append(list, p)
	}
	return connect.Plugins{Converters: list}
}

func reversedDef() *connect.ConfigDef {
	return connect.NewConfigDef(
		connect.ConfigKey{Name: "end", Default: "."}, connect.ConfigKey{Name: "pidfile", Optional: true}, connect.ConfigKey{Name: "away", Optional: true})
}

// reversed writes texts from their end. Those that begin with "bad" it refuses.
type reversed struct{ s connect.Settings }

func (c *reversed) Configure(config connect.Config, _ bool) (err error) {
	if c.s, err = reversedDef().Parse(config); err == nil && c.s.String("pidfile") != "" {
		err = writePid(c.s.String("pidfile"))
	}
	return err
}

func (c *reversed) Probe(context.Context) error {
	if c.s.String("away") != "" {
		return &connect.Error{Code: "test.away", Place: "away", Message: "it is away"}
	}
	return nil
}

func (c *reversed) FromConnect(_ context.Context, dst []byte, _ string, _ *connect.Schema, v connect.Value) ([]byte, error) {
	if v.IsNull() {
		return nil, nil
	}
	text := []byte(v.Str())
	if strings.HasPrefix(v.Str(), "bad") {
		return nil, &connect.Error{Code: "test.reversed", Class: connect.ClassRecord, Message: "not this one"}
	}
	slices.Reverse(text)
	return append(append(dst, text...), c.s.String("end")...), nil
}

func (c *reversed) ToConnect(_ context.Context, _ string, data []byte) (*connect.Schema, connect.Value, error) {
	if data == nil {
		return nil, connect.Value{}, nil
	}
	text, whole := strings.CutSuffix(string(data), c.s.String("end"))
	if !whole {
		return nil, connect.Value{}, &connect.Error{Code: "test.reversed", Class: connect.ClassRecord, Message: "it has no end"}
	}
	turned := []byte(text)
	slices.Reverse(turned)
	return connect.Of(connect.KindString), connect.StringBytes(turned), nil
}

func (c *reversed) Close() error { return nil }

// TestConverterConformance runs the suite with a converter in a process of its own.
func TestConverterConformance(t *testing.T) {
	found := New(Options{Dirs: []string{pluginDir(t, "converters-1")}, Log: new(journal).logger()}).Plugins(true)
	p, err := connect.FindPlugin(found.Converters, "test.JsonConverter")
	must(t, err)
	connecttest.Converter(t, connecttest.ConverterCase{
		New: p.New, Config: func(testing.TB) connect.Config { return connect.Config{} }, Unknown: "schemas.enabled",
		// A call for each byte of each sample takes its time.
		Supports: func(s *connect.Schema) bool {
			return s.Kind() == connect.KindString || s.Kind() == connect.KindFloat64 || s.Kind() == connect.KindStruct
		},
	})
}

// TestConvertersOfAWorker has a source's records written, and a sink's read, by converters
// in processes of their own.
func TestConvertersOfAWorker(t *testing.T) {
	dir := t.TempDir()
	brokers := devstack.TestKafka(t)
	r := start(t, brokers, pluginDir(t, "counter-1", "steps-1", "converters-1.0", "converters-2.0"), nil)
	r.create("out", marked(source("conv-out", "count", "20"), "value.converter", "test.Reversed", "value.converter.plugin.version", "[1,2)", "value.converter.end", "<"))
	await(t, "it has written", func() bool { return len(r.values("conv-out")) == 20 })
	want := counted(20, "1!")
	for i, v := range want {
		text := []byte(v)
		slices.Reverse(text)
		want[i] = string(text) + "<"
	}
	if got := r.values("conv-out"); !slices.Equal(got, want) {
		t.Errorf("written are %q, want %q", got, want)
	}

	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic("conv-in"), kgo.AllowAutoTopicCreation())
	must(t, err)
	defer client.Close()
	for _, v := range []string{"eno.", "owt", "eerht."} {
		must(t, client.ProduceSync(t.Context(), &kgo.Record{Key: []byte("k"), Value: []byte(v)}).FirstErr())
	}
	path := filepath.Join(dir, "lines")
	r.create("in", connect.Config{
		"connector.class": "test.LinesSink", "topics": "conv-in", "path": path, "value.converter": "test.Reversed", "errors.tolerance": "all",
		"errors.deadletterqueue.topic.name": "conv-letters", "errors.deadletterqueue.topic.replication.factor": "1",
	})
	lines := func() string {
		text, _ := os.ReadFile(path)
		return string(text)
	}
	await(t, "the last one is there", func() bool { return strings.Contains(lines(), `"three"`) })
	if want := "conv-in:0 \"k\" \"one\"\nconv-in:2 \"k\" \"three\"\n"; lines() != want {
		t.Errorf("written: %q, want %q", lines(), want)
	}
	if got := r.values("conv-letters"); !slices.Equal(got, []string{"owt"}) {
		t.Errorf("letters: %q", got)
	}
	for _, c := range []struct{ name, value, place, want string }{
		{"value.converter.plugin.version", "3", "value.converter.plugin.version", "only 1.0, 2.0"},
		{"value.converter.ende", "x", "value.converter.ende", "did you mean end"},
		{"value.converter.away", "x", "value.converter.away", "it is away"},
	} {
		v, err := r.h.Validate(t.Context(), "", source("t", "name", "c", "value.converter", "test.Reversed", c.name, c.value))
		must(t, err)
		var errs []string
		for _, setting := range v.Configs {
			for _, text := range setting.Value.Errors {
				errs = append(errs, setting.Value.Name+": "+text)
			}
		}
		if len(errs) != 1 || !strings.HasPrefix(errs[0], c.place+": ") || !strings.Contains(errs[0], c.want) {
			t.Errorf("%s=%s: %q", c.name, c.value, errs)
		}
	}
}
