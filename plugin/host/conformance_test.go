package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
)

// TestConformance runs the suites twice: in this process, and with the same plugins in
// processes of their own.
func TestConformance(t *testing.T) {
	h := New(Options{Dirs: []string{pluginDir(t, "counter-1")}, Log: new(journal).logger()})
	for where, plugins := range map[string]connect.Plugins{"in process": held("counter", "1"), "out of process": h.Plugins(true)} {
		t.Run(where, func(t *testing.T) {
			if len(plugins.Sources) != 1 || len(plugins.Sinks) != 1 {
				t.Fatalf("%+v", plugins)
			}
			t.Run("source", func(t *testing.T) {
				connecttest.Source(t, connecttest.SourceCase{
					New:     plugins.Sources[0].New,
					Config:  func(testing.TB) connect.Config { return connect.Config{"topic": "t", "count": "20", "batch": "3"} },
					Records: 20,
					Bad:     connect.Config{"count": "many"},
				})
			})
			t.Run("sink", func(t *testing.T) { conformingSink(t, plugins.Sinks[0].New) })
		})
	}
}

// TestTransformConformance does the same with a transform.
func TestTransformConformance(t *testing.T) {
	h := New(Options{Dirs: []string{pluginDir(t, "steps-1")}, Log: new(journal).logger()})
	for where, plugins := range map[string]connect.Plugins{"in process": held("steps", "1"), "out of process": h.Plugins(true)} {
		t.Run(where, func(t *testing.T) {
			if len(plugins.Transforms) != 1 || len(plugins.Predicates) != 1 {
				t.Fatalf("%+v", plugins)
			}
			text := func(value string) connect.Record {
				return connect.Record{
					Topic: "t", Partition: 3, Timestamp: 7, KeySchema: connect.Of(connect.KindInt64), Key: connect.Int64(1),
					ValueSchema: connect.Of(connect.KindString), Value: connect.String(value), Headers: []connect.Header{{Key: "h", Value: connect.Bool(true)}},
				}
			}
			marked, plain := text("5!"), text("")
			connecttest.Transform(t, connecttest.TransformCase{
				Plugin: plugins.Transforms[0], Config: connect.Config{"trouble": "mixed"},
				Records: []connecttest.Transformed{
					{Given: text("5"), Want: &marked}, {Given: text(""), Want: &plain}, {Given: text("drop")}, {Given: text("fail"), Fails: true}, {Given: text("5"), Want: &marked},
				},
				Bad: connect.Config{"at": "-2"},
			})
		})
	}
}

func conformingSink(t *testing.T, make func() connect.SinkConnector) {
	text := func(key int64, value string) connect.Record {
		return connect.Record{KeySchema: connect.Of(connect.KindInt64), Key: connect.Int64(key), ValueSchema: connect.Of(connect.KindString), Value: connect.String(value), Timestamp: 1}
	}
	poison := connecttest.SinkRecords("t", 0, text(9, "bad"))[0]
	connecttest.Sink(t, connecttest.SinkCase{
		New: make,
		Config: func(tb testing.TB) connect.Config {
			return connect.Config{"path": filepath.Join(tb.TempDir(), "lines")}
		},
		Records: connecttest.SinkRecords("t", 0, text(1, "a"), text(2, "b"), text(3, "ü"), text(4, "")),
		Read: func(tb testing.TB, config connect.Config) []string {
			data, err := os.ReadFile(config["path"])
			if err != nil {
				tb.Fatal(err)
			}
			var values []string
			for _, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
				_, value, _ := strings.Cut(line, " ")
				values = append(values, value)
			}
			return values
		},
		Want:   []string{`1 "a"`, `2 "b"`, `3 "ü"`, `4 ""`},
		Poison: &poison,
		Bad:    connect.Config{"path": ""},
	})
}
