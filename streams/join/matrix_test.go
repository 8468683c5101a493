package join_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
)

type (
	text = serde.Text
	pair = join.Pair[string, string]
	// joiner is that of all tests.
	joiner = join.Joiner[string, string, string, string]
)

var kinds = map[string]func(func(string, pair) string) joiner{
	"inner": join.Inner[string, string, string, string],
	"left":  join.Left[string, string, string, string],
	"outer": join.Outer[string, string, string, string],
}

// glue writes a pair; "-" stands for a side that has nothing.
func glue(_ string, p pair) string {
	side := func(v string, has bool) string {
		if !has {
			return "-"
		}
		return v
	}
	return side(p.Left, p.HasLeft) + "+" + side(p.Right, p.HasRight)
}

// within reads a window such as "before=10 after=10 grace=0", in milliseconds.
func within(t *testing.T, spec string) join.Within[string, string, string] {
	t.Helper()
	d := times(t, spec)
	return join.Within[string, string, string]{Before: d["before"], After: d["after"], Grace: d["grace"], Key: text{}, Left: text{}, Right: text{}}
}

// times reads what a window is made of.
func times(t *testing.T, spec string) map[string]time.Duration {
	t.Helper()
	d := map[string]time.Duration{}
	for _, f := range strings.Fields(spec) {
		name, value, _ := strings.Cut(f, "=")
		ms, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(err)
		}
		d[name] = time.Duration(ms) * time.Millisecond
	}
	return d
}

// filtered makes a table of another row by row: without the rows that begin with x, and
// the others in capitals. Somebody wants the old rows of it.
func filtered(t *streams.Table[string, string]) *streams.Table[string, string] {
	some := t.Filter(func(_, v string) bool { return !strings.HasPrefix(v, "x") })
	streams.GroupTable(some, func(k, v string) (string, string) { return v, k }, text{}, text{}).Count(streams.With{Store: "rows"})
	return streams.MapTable(some, func(_, v string) string { return strings.ToUpper(v) }, text{})
}

// reference takes the foreign key from a row such as "c1/pen"; "/pen" has none.
func reference(_, row string) (string, bool) {
	key, _, _ := strings.Cut(row, "/")
	return key, key != ""
}

// after takes the key of a global table from a value such as "1:x"; "1:" has none.
func after(_, v string) (string, bool) {
	_, key, _ := strings.Cut(v, ":")
	return key, key != ""
}

// build makes the topology of a section: topics L and R are joined into out.
func build(t *testing.T, section string, how joiner) *streams.Topology {
	t.Helper()
	family, spec, _ := strings.Cut(section, " ")
	b := streams.NewBuilder()
	times := times(t, spec)
	left := func() *streams.Stream[string, string] { return streams.From(b, "L", text{}, text{}) }
	right := func() *streams.Stream[string, string] { return streams.From(b, "R", text{}, text{}) }
	table := func(topic string) *streams.Table[string, string] {
		return streams.TableFrom(b, topic, text{}, text{}, streams.With{Name: topic, History: times["history"]})
	}
	var out *streams.Stream[string, string]
	named := streams.With{Name: "j", Grace: times["grace"]}
	switch family {
	case "stream-table":
		out = join.StreamTable(left(), table("R"), how, text{}, named)
	case "stream-filtered":
		out = join.StreamTable(left(), filtered(table("R")), how, text{}, named)
	case "stream-global":
		out = join.Global(left(), streams.GlobalFrom(b, "R", text{}, text{}), after, how, named)
	case "tables":
		out = join.Tables(table("L"), table("R"), how, text{}, named).ToStream()
	case "foreign":
		out = join.ForeignKey(table("L"), join.On(table("R"), reference), how, text{}, named).ToStream()
	case "streams":
		out = join.Streams(left(), right(), within(t, spec), how, named)
	case "self":
		s := left()
		out = join.Streams(s, s, within(t, spec), how, named)
	default:
		t.Fatalf("no such join: %s", family)
	}
	out.To("out", text{}, text{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

// step is a line of a section.
type step struct {
	line    string
	command string
	advance time.Duration
	side    string
	rec     streams.Record[string, string]
	want    []string // by kind
}

// TestMatrix runs testdata/matrix.test.
func TestMatrix(t *testing.T) { runFile(t, "testdata/matrix.test") }

// TestVersioned runs testdata/versioned.test.
func TestVersioned(t *testing.T) { runFile(t, "testdata/versioned.test") }

func runFile(t *testing.T, name string) {
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var section string
	var columns []string
	var steps []step
	run := func() {
		for i, kind := range columns {
			t.Run(section+" "+kind, func(t *testing.T) { runSection(t, section, kind, i, steps) })
		}
		steps = nil
	}
	for _, line := range strings.Split(string(file), "\n") {
		cells := strings.Split(line, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		head, isHead := strings.CutPrefix(cells[0], "== ")
		switch {
		case isHead:
			run()
			section, columns = head, cells[1:]
		case cells[0] == "" || cells[0][0] == '#':
		default:
			steps = append(steps, readStep(t, line, cells))
		}
	}
	run()
}

func readStep(t *testing.T, line string, cells []string) (s step) {
	t.Helper()
	s.line, s.want = line, cells[1:]
	var err error
	if by, ok := strings.CutPrefix(cells[0], "advance "); ok {
		if s.advance, err = time.ParseDuration(by); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return s
	}
	f := strings.Fields(cells[0])
	if f[0] == "restart" || f[0] == "wipe" || f[0] == "drops" {
		s.command = cells[0]
		return s
	}
	if len(f) != 4 {
		t.Fatalf("%s: a record has a time, a side, a key and a value", line)
	}
	if s.rec.Time, err = strconv.ParseInt(f[0], 10, 64); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	s.side, s.rec.Key, s.rec.Value = f[1], f[2], f[3]
	s.rec.NoKey, s.rec.NoValue = f[2] == "~", f[3] == "-"
	return s
}

func runSection(t *testing.T, section, kind string, column int, steps []step) {
	d := streamstest.New(t, build(t, section, kinds[kind](glue)))
	out := streamstest.Out(d, "out", text{}, text{})
	for _, s := range steps {
		if s.advance > 0 {
			d.Advance(s.advance)
			continue
		}
		if s.command != "" {
			s.do(t, d)
			continue
		}
		streamstest.In(d, s.side, text{}, text{}).Record(s.rec)
		want := strings.Join(strings.Fields(s.want[column]), " ")
		if got := strings.Join(show(out.Read()), " "); got != want {
			t.Errorf("%s\n got %q\nwant %q", s.line, got, want)
		}
	}
}

// do does what a step says that is no record.
func (s *step) do(t *testing.T, d *streamstest.Driver) {
	t.Helper()
	switch name, n, _ := strings.Cut(s.command, " "); name {
	case "drops":
		if got := fmt.Sprint(d.Metrics().Dropped.Load()); got != n {
			t.Errorf("%s: there were %s", s.line, got)
		}
	default:
		d.Restart(name == "wipe")
	}
}

// show writes records as the matrix does.
func show(rs []streams.Record[string, string]) (out []string) {
	for _, r := range rs {
		if r.NoKey {
			r.Key = "~"
		}
		if r.NoValue {
			r.Value = "-"
		}
		out = append(out, fmt.Sprintf("%s=%s@%d", r.Key, r.Value, r.Time))
	}
	return out
}

// TestRefused builds the joins there are none of.
func TestRefused(t *testing.T) {
	b := streams.NewBuilder()
	l, r := streams.From(b, "l", text{}, text{}), streams.TableFrom(b, "r", text{}, text{})
	outer := join.Outer(glue)
	join.StreamTable(l, r, outer, text{}, streams.With{Name: "a"})
	join.Global(l, streams.GlobalFrom(b, "g", text{}, text{}), after, outer, streams.With{Name: "b"})
	join.ForeignKey(r, join.On(r, reference), outer, text{}, streams.With{Name: "c"})
	join.Streams(l, l, join.Within[string, string, string]{Before: -2, After: time.Millisecond, Grace: -1, Key: text{}, Left: text{}, Right: text{}}, outer, streams.With{Name: "d"})
	_, err := b.Build()
	for _, want := range []string{"streams.join.outer: a", "streams.join.outer: b", "streams.join.outer: c", "streams.join.window: d"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing from: %v", want, err)
		}
	}
}

// TestNames keeps the names of internal topics and stores, which upgrades depend on.
func TestNames(t *testing.T) {
	for section, want := range map[string][]string{
		"stream-table":                       {"app-R-changelog"},
		"stream-global":                      nil,
		"tables":                             {"app-L-changelog", "app-R-changelog", "app-j-changelog"},
		"foreign":                            {"app-L-changelog", "app-R-changelog", "app-j-changelog", "app-j-subscription-registration-topic", "app-j-subscription-response-topic", "app-j-subscription-store-changelog"},
		"streams before=10 after=10 grace=0": {"app-j-left-shared-join-store-changelog", "app-j-outer-other-join-store-changelog", "app-j-this-join-store-changelog"},
	} {
		if got := build(t, section, join.Left(glue)).InternalTopics("app"); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", section, got, want)
		}
	}
	if got := build(t, "self before=1 after=1 grace=0", join.Inner(glue)).InternalTopics("app"); !slices.Equal(got, []string{"app-j-this-join-store-changelog"}) {
		t.Errorf("a stream joined with itself has %v", got)
	}
}

// TestStreamsLogAtOnce looks at the changelogs of a join of streams before a commit, when
// they have every record of both sides, and after it, when they have none of them again.
func TestStreamsLogAtOnce(t *testing.T) {
	d := streamstest.New(t, build(t, "streams before=10 after=10 grace=0", join.Left(glue)))
	d.Hold()
	left, right := streamstest.In(d, "L", text{}, text{}), streamstest.In(d, "R", text{}, text{})
	check := func(when string, want map[string]int) {
		t.Helper()
		for store, n := range want {
			topic := streamstest.App + "-j-" + store + "-join-store-changelog"
			if got := len(streamstest.Out(d, topic, serde.Bytes{}, serde.Bytes{}).Read()); got != n {
				t.Errorf("%s the changelog of %s has %d records, want %d", when, store, got, n)
			}
		}
	}
	left.At(1, "k", "l1")
	left.At(1, "k", "l2")
	right.At(2, "k", "r1")
	check("before the commit", map[string]int{"this": 2, "outer-other": 1, "left-shared": 0})
	left.At(3, "j", "l3")
	check("of a record", map[string]int{"this": 1, "outer-other": 0, "left-shared": 0})
	d.Commit()
	// The note of the operator, and the record that is alone.
	check("at the commit", map[string]int{"this": 1, "outer-other": 0, "left-shared": 1})
}
