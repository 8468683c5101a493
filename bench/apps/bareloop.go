package apps

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The topologies that are none: what the client alone can do, which no application
// over it can beat.
const (
	BareLoop     = "bare-loop"
	BareConsumer = "bare-consumer"
)

// bare reads the records of a topic from its beginning, writes each on as it is if there
// is an output, and says how long it took.
func (a *application) bare(ctx context.Context) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(a.brokers, ",")...), kgo.ConsumeTopics(a.topics()...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.MaxBufferedBytes(64<<20), kgo.MaxBufferedRecords(1<<18),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	began, used := time.Now(), ownTime()
	var failed atomic.Pointer[error]
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.Store(&err)
		}
	}
	for n := 0; n < a.records; {
		fetches := client.PollRecords(ctx, 10_000)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if n++; a.output != "" {
				client.Produce(ctx, &kgo.Record{Topic: a.output, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}, promise)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	fmt.Printf("%s%d %d\n", LoopMark, time.Since(began), ownTime()-used)
	return nil
}

// ownTime is the processor time this process has used.
func ownTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
