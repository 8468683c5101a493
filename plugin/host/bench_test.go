package host

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/sources/datagen"
)

// BenchmarkSource polls rows of the datagen source, as changes with their envelopes, here
// and in a process of its own. cpu-ns/record is what both processes use; the child's part
// is counted when it has ended.
func BenchmarkSource(b *testing.B) {
	h := New(Options{Dirs: []string{pluginDir(b, "datagen-1")}})
	for _, c := range []struct {
		name string
		make func() connect.SourceConnector
	}{{"in process", datagen.Plugin().New}, {"out of process", h.Plugins(true).Sources[0].New}} {
		b.Run(c.name, func(b *testing.B) {
			run := connecttest.StartSource(b, c.make(), connect.Config{"topic": "t", "rate": "1e9"}, &connecttest.Offsets{})
			before := spent(b)
			b.ResetTimer()
			for n := 0; n < b.N; {
				records, err := run.Task.Poll(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				n += len(records)
			}
			b.StopTimer()
			run.Stop()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(spent(b)-before)/float64(b.N), "cpu-ns/record")
		})
	}
}

// BenchmarkSink puts batches of 500 changes to a sink that does nothing with them.
func BenchmarkSink(b *testing.B) {
	schema, value := connecttest.ChangeSample()
	records := make([]connect.Record, 500)
	for i := range records {
		records[i] = connect.Record{ValueSchema: schema, Value: value, Timestamp: 1}
	}
	batch := connecttest.SinkRecords("t", 0, records...)
	h := New(Options{Dirs: []string{pluginDir(b, "counter-1")}})
	for _, c := range []struct {
		name string
		make func() connect.SinkConnector
	}{{"in process", held("counter", "1").Sinks[0].New}, {"out of process", h.Plugins(true).Sinks[0].New}} {
		b.Run(c.name, func(b *testing.B) {
			config := connect.Config{"path": filepath.Join(b.TempDir(), "lines"), "trouble": "ignore"}
			run := connecttest.StartSink(b, c.make(), config, false)
			run.Put()
			before := spent(b)
			b.ResetTimer()
			for n := 0; n < b.N; n += len(batch) {
				run.Put(batch...)
			}
			b.StopTimer()
			run.Stop()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(spent(b)-before)/float64(b.N), "cpu-ns/record")
		})
	}
}

// spent is the time of the processor that this process and its former children have used.
func spent(b *testing.B) time.Duration {
	b.Helper()
	var all time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		all += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return all
}

// BenchmarkTransform gives changes to a transform that keeps them as they are, or changes
// them, one by one and in batches.
func BenchmarkTransform(b *testing.B) {
	schema, value := connecttest.ChangeSample()
	h := New(Options{Dirs: []string{pluginDir(b, "steps-1")}})
	for _, size := range []int{1, 256} {
		for _, changes := range []string{"pass", "change"} {
			b.Run(fmt.Sprintf("%s, batches of %d", changes, size), func(b *testing.B) {
				records, batch := make([]connect.Record, size), make([]*connect.Record, size)
				for i := range records {
					batch[i] = &records[i]
				}
				far := h.Plugins(true).Transforms[0].New().(*transform)
				settings, err := markDef().Parse(connect.Config{"trouble": changes})
				must(b, err)
				must(b, far.Configure(settings))
				before := spent(b)
				b.ResetTimer()
				for n := 0; n < b.N; n += size {
					for i := range records {
						records[i] = connect.Record{Topic: "t", ValueSchema: schema, Value: value, Timestamp: 1}
					}
					if yes, bad, err := far.ApplyAll(b.Context(), batch); err != nil || bad != nil || !yes[0] {
						b.Fatal(yes, bad, err)
					}
				}
				b.StopTimer()
				must(b, far.Close())
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
				b.ReportMetric(float64(spent(b)-before)/float64(b.N), "cpu-ns/record")
			})
		}
	}
}
