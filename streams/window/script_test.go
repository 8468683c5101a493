package window_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/window"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts in testdata give into them")

type (
	text = serde.Text
	num  = serde.Int64
)

// TestScripts runs the scripts in testdata. A script is made of parts, which begin with
// a line of settings:
//
//	windows tumbling 10 grace 5 onclose; list; suppress closed rows 3 stop; cached
//
// Each further line is an input, key@time=value, of which key and value may be ∅, or a
// command; the lines that begin with > behind it are what it gives:
// key[start,end]=value@time. Commands are restart, wipe, commit, drops, rows,
// fetch key from to and all from to.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.test")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		var s *script
		for line := range strings.Lines(string(b)) {
			line = strings.TrimRight(line, "\n")
			switch {
			case strings.HasPrefix(line, ">"):
				continue
			case line == "" || strings.HasPrefix(line, "#"):
			case strings.HasPrefix(line, "windows "):
				s = newScript(t, line)
			default:
				fmt.Fprintln(&got, line)
				for _, out := range s.run(line) {
					fmt.Fprintln(&got, ">", out)
				}
				continue
			}
			fmt.Fprintln(&got, line)
		}
		if *rewrite {
			if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got.String() != string(b) {
			t.Errorf("%s gives\n%s\nwant\n%s", file, got.String(), b)
		}
	}
}

// script is a topology under a driver.
type script struct {
	t     *testing.T
	d     *streamstest.Driver
	in    *streamstest.Input[string, string]
	table *streams.Table[window.Windowed[string], string]
	w     *wrote
}

// wrote notes what a table passes on.
type wrote struct{ lines []string }

// settings reads the windows of a line, and returns what else is in it.
func settings(t *testing.T, words []string) (w window.Windows, rest []string) {
	t.Helper()
	ms := func(i int) time.Duration {
		n, err := strconv.Atoi(words[i])
		if err != nil {
			t.Fatal(words, err)
		}
		return time.Duration(n) * time.Millisecond
	}
	n := 2
	switch words[0] {
	case "tumbling":
		w = window.Tumbling(ms(1))
	case "hopping":
		w, n = window.Hopping(ms(1), ms(2)), 3
	case "sliding":
		w = window.Sliding(ms(1))
	case "session":
		w = window.Session(ms(1))
	case "unlimited":
		w = window.Unlimited(time.UnixMilli(ms(1).Milliseconds()))
	default:
		t.Fatal("no such windows:", words)
	}
	for words = words[n:]; len(words) > 0; {
		switch words[0] {
		case "grace":
			w, n = w.Grace(ms(1)), 2
		case "keep":
			w, n = w.Keep(ms(1)), 2
		case "onclose":
			w, n = w.OnClose().EmitEvery(0), 1
		case "every":
			w, n = w.EmitEvery(ms(1)), 2
		default:
			return w, words
		}
		words = words[n:]
	}
	return w, nil
}

func newScript(t *testing.T, line string) *script {
	t.Helper()
	parts := strings.Split(line, ";")
	w, rest := settings(t, strings.Fields(parts[0])[1:])
	if len(rest) > 0 {
		t.Fatal("no such setting:", rest)
	}
	b := streams.NewBuilder()
	g := streams.From(b, "in", text{}, text{}).GroupByKey(text{}, text{})
	s := &script{t: t, w: &wrote{}}
	with := streams.With{Store: "rows", Uncached: true}
	if len(parts) > 3 {
		with.Uncached = false
	}
	s.table = aggregate(g, w, strings.TrimSpace(parts[1]), with)
	if len(parts) > 2 {
		s.table = suppress(t, s.table, strings.Fields(parts[2]))
	}
	// Between the operators go changes; the old row of each is noted too.
	streams.Process(streams.Changes(s.table, true), func(*streams.Context[string, string]) (func(*streams.Record[window.Windowed[string], streams.Change[string]]) error, error) {
		return s.w.note, nil
	})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(line, err)
	}
	s.d = streamstest.New(t, topology)
	s.in = streamstest.In(s.d, "in", text{}, text{})
	return s
}

// aggregate adds the operator of a name: each of them tells which records it had.
func aggregate(g *streams.Grouped[string, string], w window.Windows, op string, with streams.With) *streams.Table[window.Windowed[string], string] {
	switch op {
	case "count":
		counts := window.Count(g, w, with)
		return streams.MapTable(counts, func(_ window.Windowed[string], n int64) string { return strconv.FormatInt(n, 10) }, text{})
	case "reduce":
		return window.Reduce(g, w, func(a, b string) string { return a + b }, with)
	}
	return window.Aggregate(g, w, window.Aggregation[string, string, string]{
		Init:  func() string { return "" },
		Add:   func(_, v, agg string) string { return agg + v },
		Merge: func(_, a, b string) string { return a + b },
	}, text{}, with)
}

// suppress holds the table back as words say: suppress closed, or suppress limit n,
// and then rows n, bytes n, stop.
func suppress(t *testing.T, table *streams.Table[window.Windowed[string], string], words []string) *streams.Table[window.Windowed[string], string] {
	t.Helper()
	if len(words) == 0 {
		return table
	}
	number := func(i int) int64 {
		n, err := strconv.ParseInt(words[i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var bounds window.Bounds
	var limit int64
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "limit":
			i++
			limit = number(i)
		case "rows":
			i++
			bounds.Rows = number(i)
		case "bytes":
			i++
			bounds.Bytes = number(i)
		case "stop":
			bounds.Stop = true
		}
	}
	if words[1] == "closed" {
		return window.UntilClosed(table, bounds, streams.With{Name: "held"})
	}
	return window.UntilLimit(table, time.Duration(limit)*time.Millisecond, bounds, streams.With{Name: "held"})
}

func (w *wrote) note(r *streams.Record[window.Windowed[string], streams.Change[string]]) error {
	row := func(v string, has bool) string {
		if !has {
			return "∅"
		}
		return v
	}
	line := fmt.Sprintf("%s=%s@%d", showKey(r.Key), row(r.Value.New, r.Value.HasNew), r.Time)
	if r.Value.HasOld {
		line += " was " + r.Value.Old
	}
	w.lines = append(w.lines, line)
	return nil
}

func showKey(k window.Windowed[string]) string {
	return fmt.Sprintf("%s[%d,%d]", k.Key, k.Start, k.End)
}

// run does what a line says and returns what came of it.
func (s *script) run(line string) []string {
	s.t.Helper()
	words := strings.Fields(line)
	switch words[0] {
	case "restart", "wipe":
		s.d.Restart(words[0] == "wipe")
	case "hold":
		s.d.Hold()
	case "commit":
		s.d.Commit()
	case "advance":
		s.d.Advance(time.Duration(s.number(words[1])) * time.Millisecond)
	case "drops":
		return []string{fmt.Sprint(s.d.Metrics().Dropped.Load())}
	case "rows":
		return s.rows(func(v *window.View[string, string], visit func(streams.Record[window.Windowed[string], string]) error) error {
			return v.All(context.Background(), visit)
		})
	case "fetch":
		return s.rows(func(v *window.View[string, string], visit func(streams.Record[window.Windowed[string], string]) error) error {
			return v.Fetch(context.Background(), words[1], s.time(words[2]), s.time(words[3]), visit)
		})
	case "all":
		return s.rows(func(v *window.View[string, string], visit func(streams.Record[window.Windowed[string], string]) error) error {
			return v.FetchAll(context.Background(), s.time(words[1]), s.time(words[2]), visit)
		})
	default:
		s.pipe(line)
	}
	lines := s.w.lines
	s.w.lines = nil
	return lines
}

func (s *script) number(word string) int64 {
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// time reads a time, of which * is open.
func (s *script) time(word string) time.Time {
	if word == "*" {
		return time.Time{}
	}
	return time.UnixMilli(s.number(word))
}

func (s *script) rows(read func(*window.View[string, string], func(streams.Record[window.Windowed[string], string]) error) error) (lines []string) {
	s.t.Helper()
	v, err := window.ViewOf(s.table, s.d.Rows("rows"))
	if err != nil {
		s.t.Fatal(err)
	}
	err = read(v, func(r streams.Record[window.Windowed[string], string]) error {
		lines = append(lines, fmt.Sprintf("%s=%s@%d", showKey(r.Key), r.Value, r.Time))
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return lines
}

// pipe puts in a record: key@time=value.
func (s *script) pipe(line string) {
	key, rest, _ := strings.Cut(line, "@")
	at, value, ok := strings.Cut(rest, "=")
	if !ok {
		s.t.Fatal("no input:", line)
	}
	r := streams.Record[string, string]{Key: key, Value: value, Time: s.number(at), NoKey: key == "∅", NoValue: value == "∅"}
	if r.NoValue {
		r.Value = ""
	}
	s.in.Record(r)
}
