package streamstest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/window"
)

// versioned is a topology over a table with a history of a hundred milliseconds: the
// changes it passes on, how many rows there are of each kind, and a count that has a
// history itself.
func versioned(t *testing.T) (*streamstest.Driver, *streams.Table[string, string], *streams.Table[string, int64], *streams.Table[string, int64]) {
	t.Helper()
	b := streams.NewBuilder()
	history := streams.With{History: 100 * time.Millisecond}
	table := streams.TableFrom(b, "in", serde.Text{}, serde.Text{}, history, streams.With{Store: "rows"})
	table.ToStream().To("changes", serde.Text{}, serde.Text{})
	kinds := streams.GroupTable(table, func(_, v string) (string, string) { return v[:1], v }, serde.Text{}, serde.Text{}, streams.With{Name: "by-kind"}).
		Count(streams.With{Store: "kinds"})
	counts := table.ToStream().GroupByKey(serde.Text{}, serde.Text{}).Count(history, streams.With{Store: "counts"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return streamstest.New(t, topology), table, kinds, counts
}

// past writes what a key had between two times.
func past[V any](t *testing.T, v *streams.View[string, V], key string, from, to time.Time) string {
	t.Helper()
	var out []string
	err := v.Versions(context.Background(), key, from, to, func(r streams.Record[string, V], until time.Time) error {
		end := "…"
		if !until.IsZero() {
			end = fmt.Sprint(until.UnixMilli())
		}
		out = append(out, fmt.Sprintf("%v@%d-%s", r.Value, r.Time, end))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

// TestVersionedTable puts rows out of order, too late and deleted into a table with a
// history, and reads it as of any time, also after the loss of its stores.
func TestVersionedTable(t *testing.T) {
	d, table, kinds, counts := versioned(t)
	in := streamstest.In(d, "in", serde.Text{}, serde.Text{})
	for _, r := range []streams.Record[string, string]{
		{Key: "k", Value: "a1", Time: 10}, {Key: "k", Value: "b2", Time: 50}, {Key: "k", Value: "a3", Time: 30},
		{Key: "k", NoValue: true, Time: 70}, {Key: "k", Value: "b4", Time: 60}, {Key: "j", Value: "a5", Time: 115},
		{Key: "k", Value: "c6", Time: 14}, {Key: "k", Value: "c7", Time: 20}, {Key: "j", Value: "a8", Time: 115},
		{NoKey: true, Value: "a9", Time: 900},
	} {
		in.Record(r)
	}
	at := time.UnixMilli
	check := func(what string) {
		t.Helper()
		rows := table.View(d.Rows("rows"))
		for _, c := range []struct {
			from, to time.Time
			want     string
		}{
			// The history begins at 15.
			{time.Time{}, time.Time{}, "a1@10-20 c7@20-30 a3@30-50 b2@50-60 b4@60-70"},
			{at(30), at(50), "a3@30-50 b2@50-60"},
			{at(30), at(49), "a3@30-50"},
			{at(70), at(115), ""},
			{at(1), at(14), ""},
			{at(1), at(15), "a1@10-20"},
			{at(60), at(50), ""},
		} {
			if got := past(t, rows, "k", c.from, c.to); got != c.want {
				t.Errorf("%s: from %v to %v: %s, want %s", what, c.from.UnixMilli(), c.to.UnixMilli(), got, c.want)
			}
		}
		for ms, want := range map[int64]string{14: "", 15: "a1", 29: "c7", 69: "b4", 70: "", 500: ""} {
			rec, found, err := rows.LookupAsOf(context.Background(), "k", at(ms))
			if err != nil || found != (want != "") || rec.Value != want {
				t.Errorf("%s: at %d: %v %v %v, want %s", what, ms, rec, found, err, want)
			}
		}
		if rec, found, err := rows.LookupAsOf(context.Background(), "k", time.Time{}); err != nil || found {
			t.Errorf("%s: of no time: %v %v", what, rec, err)
		}
		if got := fmt.Sprint(streamstest.Table(d, table), streamstest.Table(d, kinds)); got != "map[j:a8] map[a:1]" {
			t.Errorf("%s: the rows and kinds there are: %s", what, got)
		}
		if got := past(t, counts.View(d.Rows("counts")), "k", at(20), at(100)); got != "1@10-50 3@50-60 5@60-…" {
			t.Errorf("%s: the counts were %s", what, got)
		}
	}
	check("at first")
	if n := d.Metrics().Dropped.Load(); n != 3 { // One too late, one without key, one delete that is not counted.
		t.Errorf("%d dropped, want 3", n)
	}
	var changes []string
	for _, r := range streamstest.Out(d, "changes", serde.Text{}, serde.Text{}).Read() {
		changes = append(changes, fmt.Sprintf("%s=%s@%d", r.Key, r.Value, r.Time))
	}
	if got := strings.Join(changes, " "); got != "k=a1@10 k=b2@50 k=a3@30 k=@70 k=b4@60 j=a5@115 k=c7@20 j=a8@115" {
		t.Errorf("the changes are %s", got)
	}
	d.Restart(false)
	check("after a restart")
	d.Restart(true)
	check("after the loss of the stores")
	in.At(14, "k", "late")
	check("after one that came too late")
}

// TestVersionedChangelog looks at the changelog of a table with a history: every version,
// in the order in which they came, and none that was not kept.
func TestVersionedChangelog(t *testing.T) {
	d, _, _, _ := versioned(t)
	in := streamstest.In(d, "in", serde.Text{}, serde.Text{})
	d.Hold()
	in.At(50, "k", "a1")
	in.At(20, "k", "a2")
	in.Record(streams.Record[string, string]{Key: "k", NoValue: true, Time: 50})
	in.At(200, "j", "a3")
	in.At(99, "k", "late")
	d.Restart(false) // Nothing was committed, and nothing is written.
	d.Commit()
	var log []string
	for _, r := range streamstest.Out(d, streamstest.App+"-rows-changelog", serde.Text{}, serde.Text{}).Read() {
		log = append(log, fmt.Sprintf("%s=%s@%d", r.Key, r.Value, r.Time))
		if r.NoValue != (r.Value == "") {
			t.Error("a row that was deleted is not null")
		}
	}
	if got := strings.Join(log, " "); got != "k=a1@50 k=a2@20 k=@50 j=a3@200" {
		t.Errorf("the changelog has %s", got)
	}
}

// TestVersionsOfProcessor keeps versions in a store of an operator written by hand.
func TestVersionsOfProcessor(t *testing.T) {
	b := streams.NewBuilder()
	streams.Process(streams.From(b, "in", serde.Text{}, serde.Text{}), func(c *streams.Context[string, string]) (func(*streams.Record[string, string]) error, error) {
		prices, err := c.Versions("prices")
		if _, plain := c.Store("prices"); plain == nil {
			t.Error("a store with a history opens as one without")
		}
		return func(r *streams.Record[string, string]) error {
			if _, _, err := prices.Put([]byte(r.Key), r.Time, []byte(r.Value), !r.NoValue); err != nil {
				return err
			}
			row, _, _, err := prices.AsOf(nil, []byte(r.Key), 15)
			if err != nil {
				return err
			}
			return c.Forward(&streams.Record[string, string]{Key: r.Key, Value: string(row), Time: r.Time})
		}, err
	}, streams.With{Stores: []state.Spec{{Name: "prices", History: time.Minute}}}).To("out", serde.Text{}, serde.Text{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	d := streamstest.New(t, topology)
	in, out := streamstest.In(d, "in", serde.Text{}, serde.Text{}), streamstest.Out(d, "out", serde.Text{}, serde.Text{})
	in.At(20, "k", "b")
	in.At(10, "k", "a")
	d.Restart(true)
	in.At(30, "k", "c")
	var got []string
	for _, r := range out.Read() {
		got = append(got, r.Value)
	}
	if fmt.Sprintf("%q", got) != `["" "a" "a"]` {
		t.Errorf("as of 15 there were %q", got)
	}
}

// TestHistoryRefused builds the histories there are none of.
func TestHistoryRefused(t *testing.T) {
	b := streams.NewBuilder()
	history := streams.With{History: time.Hour}
	table := streams.TableFrom(b, "a", serde.Text{}, serde.Text{}, history, streams.With{Name: "a"})
	streams.TableFrom(b, "b", serde.Text{}, serde.Text{}, streams.With{Name: "b", History: -1})
	streams.GlobalFrom(b, "c", serde.Text{}, serde.Text{}, history, streams.With{Name: "c"})
	window.Count(streams.From(b, "d", serde.Text{}, serde.Text{}).GroupByKey(serde.Text{}, serde.Text{}), window.Tumbling(time.Second), history, streams.With{Name: "w"})
	window.UntilLimit(table.Filter(func(string, string) bool { return true }, streams.With{Name: "e"}), time.Second, window.Bounds{})
	_, err := b.Build()
	for _, want := range []string{"streams.history: b", "streams.history: c", "streams.history: w", "streams.suppress.history: e"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing from: %v", want, err)
		}
	}
}
