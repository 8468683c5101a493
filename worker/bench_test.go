package worker

import (
	"context"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
)

// flood is a source that has its records ready, so that what is measured is the
// worker.
type flood struct {
	connect.SourceConnector
	n    int64
	done chan struct{}
}

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
		t.batch[i].SourceOffset = floodOffset(t.next)
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
