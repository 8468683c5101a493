package window_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/streams/window"
)

// longer reads keys as others than their bytes say.
type longer struct{ serde.Text }

func (longer) Decode(b []byte) (string, error) { return "a " + string(b), nil }

// TestFetchFromEverywhere fetches the windows of every key from each of two engines that
// share the partitions, and then from the one that is left.
func TestFetchFromEverywhere(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	brokers := devstack.TestKafka(t)
	client, err := topics.Open(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Create(ctx, topics.Spec{Name: "in", Partitions: 4}); err != nil {
		t.Fatal(err)
	}
	b := streams.NewBuilder()
	in := streams.From(b, "in", serde.Text{}, serde.Text{}).GroupByKey(serde.Text{}, serde.Text{})
	table := window.Count(in, window.Tumbling(10*time.Second).Grace(time.Hour), streams.With{Store: "counts"})
	// Of these the bytes of the stored key do not tell the partition.
	named := streams.From(b, "in", longer{}, serde.Text{}).GroupByKey(serde.Text{}, serde.Text{})
	elsewhere := window.Count(named, window.Tumbling(10*time.Second).Grace(time.Hour), streams.With{Store: "elsewhere"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{}
	// Recent, or brokers would take what is old from the changelog.
	base := time.Now().Add(-time.Minute).Truncate(time.Minute)
	for k := range 20 {
		for w := range 3 {
			key := fmt.Sprint("key", k)
			at := base.Add(time.Duration(w) * 10 * time.Second)
			want[fmt.Sprint(key, "@", at.Unix())] = 1
			if err := client.Produce(ctx, &kgo.Record{Topic: "in", Key: []byte(key), Value: []byte("v"), Timestamp: at}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var engines []*streams.Engine
	var stops []func()
	for range 2 {
		e, err := streams.OpenEngine(streams.Config{Brokers: brokers, Dir: t.TempDir(), Remote: &query.Remote{}})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Add(streams.App{ID: "win", Topology: topology, CommitInterval: 20 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- e.Run(running) }()
		engines = append(engines, e)
		stops = append(stops, func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	wait := func(what string, fits func() bool) {
		t.Helper()
		for tick := time.NewTicker(20 * time.Millisecond); !fits(); {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("waited for %s in vain", what)
			}
		}
	}
	tasks := func(e *streams.Engine) int64 {
		m, err := e.Metrics("win")
		if err != nil {
			t.Fatal(err)
		}
		return m.Tasks.Load()
	}
	wait("the tasks to be shared", func() bool { return tasks(engines[0]) == 2 && tasks(engines[1]) == 2 })
	for i, e := range engines {
		wait(fmt.Sprintf("engine %d to have every window", i), func() bool {
			return maps.Equal(fetched(ctx, t, e, table, ""), want) && maps.Equal(fetched(ctx, t, e, elsewhere, "a "), want)
		})
	}
	stops[0]()
	wait("the engine that is left to have every window", func() bool { return maps.Equal(fetched(ctx, t, engines[1], table, ""), want) })
	stops[1]()
}

// retried tells whether an answer did not come in time, while tasks moved.
func retried(t *testing.T, err error) bool {
	t.Helper()
	if err != nil && connect.AsError(err).Class != connect.ClassRetriable {
		t.Fatal(err)
	}
	return err != nil
}

// fetched fetches the windows of all keys, one key after another, and all at once, which
// has to come to the same. The keys are those of the model with something before them.
func fetched(ctx context.Context, t *testing.T, e *streams.Engine, table *streams.Table[window.Windowed[string], int64], before string) map[string]int64 {
	t.Helper()
	rows, err := e.Rows(ctx, "win", table.StoreName())
	if err != nil {
		t.Fatal(err)
	}
	view, err := window.ViewOf(table, rows)
	if err != nil {
		t.Fatal(err)
	}
	got, all := map[string]int64{}, 0
	take := func(r streams.Record[window.Windowed[string], int64]) error {
		got[fmt.Sprint(strings.TrimPrefix(r.Key.Key, before), "@", r.Key.Start/1000)] = r.Value
		return nil
	}
	for k := range 20 {
		if err := view.Fetch(ctx, fmt.Sprint(before, "key", k), time.Time{}, time.Time{}, take); retried(t, err) {
			return nil
		}
	}
	err = view.FetchAll(ctx, time.Time{}, time.Time{}, func(streams.Record[window.Windowed[string], int64]) error {
		all++
		return nil
	})
	if retried(t, err) {
		return nil
	}
	if len(got) == 60 && all < 60 {
		t.Errorf("one by one there are %d windows, all at once %d", len(got), all)
	}
	return got
}
