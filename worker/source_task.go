package worker

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// sourceTask runs one source task: poll, transform, convert, produce; and behind it,
// as acknowledgements come back, store the offset, and then tell the source.
//
// The goroutine that calls run starts, polls and stops the plugin. A second one
// stores offsets and calls its Commit. The producer's own calls acked. What the
// three share is guarded by mu.
type sourceTask struct {
	taskSetup
	settings connect.Settings // The worker's own settings for the connector.
	plugin   connect.SourceTask
	told     connect.RecordCommitter // Nil when the plugin does not want to know.
	chain    *chain
	traces   *tracing
	faults   *faults
	topics   *topicCreator
	door     *door
	producer *kgo.Client
	log      *slog.Logger

	stopPolling context.CancelFunc
	commitNow   chan struct{} // Many records are finished: do not wait for the clock.
	moved       chan struct{} // Records are finished whose offsets are not stored.
	boundaries  bool          // The source says where its transactions end.
	txnTimeout  time.Duration // After which the brokers abort a transaction.
	storedPart  int           // Of the source transaction to go on with, when it was divided.
	parcels     parcels
	promise     func(*kgo.Record, error) // What the producer calls for each record: acked, of the task or its transactions.
	// room is how many bytes may be on their way; roomy tells of room to a waiting send.
	room      int64
	roomy     chan struct{}
	waiting   atomic.Bool
	sent      int
	unasked   int64             // Bytes sent since it was last asked how many are on their way.
	lastTopic string            // The topic last made sure of.
	now       time.Time         // When the batch being sent came, which stamps its records.
	names     map[string]string // Of topics; see nameTopic.

	mu        sync.Mutex // Guards what follows.
	submitted *submitted
	stored    map[connect.SourcePartition]connect.Offset // With exactly-once: of which the source is not told yet.
	finished  int                                        // Records finished since offsets were last taken.
	failure   error

	// reached are the offsets to be stored next; the committing goroutine's own.
	reached map[connect.SourcePartition]connect.Offset
	scratch []position
}

// toldRecord is a record whose plugin wants to be told where it was written. The
// offset is -1 until then, and when it is left out.
type toldRecord struct {
	connect.SourceRecord
	partition int32
	offset    int64
}

// run runs the task until ctx ends or something fails. life outlives ctx: it is what
// the plugin's own goroutines and the last acknowledgements live by, and ends when
// the task is abandoned.
func (t *sourceTask) run(ctx, life context.Context) error {
	ctx, t.stopPolling = context.WithCancel(ctx)
	defer t.stopPolling()
	closing := life
	life, started, end := startable(ctx, life)
	defer end()
	if err := t.open(life); err != nil {
		return err
	}
	defer t.close()
	t.door = t.rt.doors.of(t.id)
	t.door.enter(true)
	defer t.door.enter(false)
	failpoint.At("worker.source.opened")
	err := guard("start", func() error { return t.plugin.Start(life, t.env(life)) })
	if err == nil {
		err = started()
	}
	if err == nil {
		t.report(stateRunning, "")
		err = t.work(ctx, life)
	}
	// The contract of Stop holds also after a Start that failed.
	stopErr := guard("stop", func() error { return t.plugin.Stop(closing) })
	if err == nil && ctx.Err() == nil {
		err = stopErr
	}
	return err
}

// work polls and commits until ctx ends or something fails, and stores, as its last
// act, what was acknowledged in time.
func (t *sourceTask) work(ctx, life context.Context) error {
	t.parcels.life, t.promise = life, t.acked
	drained := make(chan struct{})
	committed := make(chan struct{})
	go func() {
		defer close(committed)
		t.failOn(guard("commit", func() error { return t.commitLoop(life, drained) }))
	}()
	err := guard("poll", func() error {
		if t.rt.exactlyOnce {
			return t.pollTransactions(ctx, life)
		}
		return t.pollLoop(ctx, life)
	})
	failpoint.At("worker.source.drain")
	flushing, cancel := context.WithTimeout(life, t.rt.settings.Duration("offset.flush.timeout.ms"))
	defer cancel()
	if flushErr := t.flush(flushing); flushErr != nil {
		t.log.Warn("some records were not acknowledged in time; they will be sent again", "error", flushErr)
	}
	close(drained)
	<-committed
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure != nil {
		return t.failure
	}
	return err
}

func (t *sourceTask) flush(ctx context.Context) error {
	if t.rt.exactlyOnce {
		return nil // Whatever belongs together was committed together, or not at all.
	}
	return t.producer.Flush(ctx)
}

// failOn ends the task with err, if it is one. The first failure is kept.
func (t *sourceTask) failOn(err error) {
	if err == nil {
		return
	}
	t.mu.Lock()
	if t.failure == nil {
		t.failure = err
	}
	t.mu.Unlock()
	t.stopPolling()
}

// pollLoop polls and sends until ctx ends.
func (t *sourceTask) pollLoop(ctx, life context.Context) error {
	for ctx.Err() == nil {
		polling, err := t.gate.open(ctx, t.paused(life))
		if err != nil {
			return nil
		}
		records, err := t.poll(polling)
		if err == nil && len(records) > 0 {
			err = t.send(ctx, records)
			t.converted(err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// paused lets what is on its way arrive, for a while, before the task says that it is
// paused.
func (t *sourceTask) paused(life context.Context) func(state, trace string) {
	return func(state, trace string) {
		if state == statePaused {
			ctx, cancel := context.WithTimeout(life, t.rt.settings.Duration("offset.flush.timeout.ms"))
			defer cancel()
			_ = t.producer.Flush(ctx) // What is late is merely written while paused.
		}
		t.report(state, trace)
	}
}

// poll asks the plugin for records. Errors that may pass are waited out here.
func (t *sourceTask) poll(ctx context.Context) ([]connect.SourceRecord, error) {
	began := time.Now()
	records, err := t.plugin.Poll(ctx)
	if err != nil {
		if isDone(ctx, err) {
			return nil, nil
		}
		t.metrics.fail()
		e := connect.AsError(err)
		if e.Class != connect.ClassRetriable || taskGone(e) {
			return nil, err
		}
		t.metrics.retries.Add(1)
		t.log.Warn("poll failed, trying again", "error", err)
		wait := e.After
		if wait <= 0 {
			wait = time.Second
		}
		_ = sleep(ctx, wait) // An end of ctx is seen by the loop.
		return nil, nil
	}
	if len(records) > 0 {
		t.metrics.polled.Add(int64(len(records)))
		t.metrics.pollTime.Since(began)
		t.metrics.batchSize.Add(float64(len(records)))
		t.parcels.batch = t.traces.polled(began, records)
	}
	return records, nil
}
