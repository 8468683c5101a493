package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
)

// flood is a source that has its records ready, so that what is measured is the
// worker.
type flood struct {
	n    int64
	rows int64 // Of a source transaction; 0 for a source that does not define any.
	done chan struct{}
	// began is when its task started.
	began time.Time
}

func (f *flood) ExactlyOnce(connect.Config) bool       { return true }
func (f *flood) DefinesBoundaries(connect.Config) bool { return f.rows > 0 }

func (f *flood) Start(context.Context, connect.ConnectorEnv) error { return nil }
func (f *flood) Stop(context.Context) error                        { return nil }
func (f *flood) NewTask() connect.SourceTask                       { return &floodTask{f: f} }
func (f *flood) TaskConfigs(context.Context, int) ([]connect.Config, error) {
	return []connect.Config{{}}, nil
}

type floodTask struct {
	f         *flood
	partition connect.SourcePartition
	batch     []connect.SourceRecord
	next      int64
}

// floodOffset is an offset that costs nothing to make.
type floodOffset int64

func (o floodOffset) AppendJSON(dst []byte) []byte {
	return append(connect.AppendJSON(append(dst, `{"n":`...), nil, connect.Int64(int64(o))), '}')
}

func (t *floodTask) Start(context.Context, connect.SourceTaskEnv) error {
	t.f.began = time.Now()
	t.partition, _ = connect.NewSourcePartition(map[string]any{"server": "flood"})
	value, key := connect.String(strings.Repeat("v", 220)), connect.String("key")
	for range 1000 {
		t.batch = append(t.batch, connect.SourceRecord{
			Record:          connect.Record{Topic: "flood", Partition: connect.AnyPartition, Key: key, Value: value, Timestamp: connect.NoTimestamp},
			SourcePartition: t.partition,
		})
	}
	return nil
}

func (t *floodTask) Poll(ctx context.Context) ([]connect.SourceRecord, error) {
	if t.next >= t.f.n {
		<-ctx.Done()
		return nil, nil
	}
	for i := range t.batch {
		t.next++
		t.batch[i].SourceOffset, t.batch[i].Boundary = floodOffset(t.next), connect.BoundaryNone
		if t.f.rows > 0 && t.next%t.f.rows == 0 {
			t.batch[i].Boundary = connect.BoundaryCommit
		}
	}
	return t.batch, nil
}

func (t *floodTask) Commit(_ context.Context, offsets map[connect.SourcePartition]connect.Offset) error {
	if o, ok := offsets[t.partition].(floodOffset); ok && int64(o) >= t.f.n {
		close(t.f.done)
	}
	return nil
}

func (t *floodTask) Stop(context.Context) error { return nil }

// BenchmarkSource counts one operation for each record, from Poll to Commit.
func BenchmarkSource(b *testing.B) {
	for name, over := range map[string]connect.Config{"at-least-once": nil, "exactly-once": exact} {
		b.Run(name, func(b *testing.B) {
			l := newLab(b)
			f := &flood{n: int64(b.N), done: make(chan struct{})}
			w := l.start(over, func(o *Options) {
				o.Plugins.Sources = []connect.Plugin[connect.SourceConnector]{{Class: "Flood", New: func() connect.SourceConnector { return f }}}
			})
			b.ReportAllocs()
			b.ResetTimer()
			w.create("flood", connect.Config{"connector.class": "Flood"})
			<-f.done
			b.StopTimer()
		})
	}
}

// BenchmarkExactlyOnce compares exactly-once with at-least-once for source
// transactions of several sizes, by turns in the same run. An operation is all of it:
// use -benchtime=1x.
func BenchmarkExactlyOnce(b *testing.B) {
	const rounds, records = 5, 300_000
	for _, c := range []struct {
		rows   int64
		strict string
	}{{1, ""}, {10, ""}, {100, ""}, {1000, ""}, {100, "connector"}, {1000, "connector"}} {
		b.Run(fmt.Sprintf("rows=%d%s", c.rows, c.strict), func(b *testing.B) {
			for b.Loop() {
				var least, exactly []float64
				for range rounds {
					least = append(least, pour(b, records, c.rows, nil, ""))
					exactly = append(exactly, pour(b, records, c.rows, exact, c.strict))
				}
				slices.Sort(least)
				slices.Sort(exactly)
				b.ReportMetric(least[rounds/2], "alo-records/s")
				b.ReportMetric(exactly[rounds/2], "eos-records/s")
				b.ReportMetric(exactly[rounds/2]/least[rounds/2], "ratio")
			}
		})
	}
}

// pour lets records through a worker, in source transactions of that many rows, and
// returns how many went through in a second.
func pour(b *testing.B, n, rows int64, over connect.Config, boundary string) float64 {
	broker, err := devstack.StartKafka(devstack.KafkaOptions{})
	must(b, err)
	defer broker.Stop()
	l := labWith(b, broker.Brokers())
	f := &flood{n: n, rows: rows, done: make(chan struct{})}
	w := l.start(over, func(o *Options) {
		o.Plugins.Sources = []connect.Plugin[connect.SourceConnector]{{Class: "Flood", New: func() connect.SourceConnector { return f }}}
	})
	defer w.stop()
	config := connect.Config{"connector.class": "Flood"}
	if boundary != "" {
		config["transaction.boundary"] = boundary
	}
	w.create("flood", config)
	<-f.done
	return float64(n) / time.Since(f.began).Seconds()
}
