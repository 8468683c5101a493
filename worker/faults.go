package worker

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// stage says where on a record's way something went wrong, in Connect's words.
type stage string

const (
	stageTransform stage = "TRANSFORMATION"
	stageKey       stage = "KEY_CONVERTER"
	stageValue     stage = "VALUE_CONVERTER"
	stageHeader    stage = "HEADER_CONVERTER"
	stageProduce   stage = "KAFKA_PRODUCE"
	stagePut       stage = "TASK_PUT"
)

// site is a stage and the plugin at work there.
type site struct {
	stage stage
	class string
}

// fault is an error at a site.
type fault struct {
	site site
	err  error
}

// Error implements error.
func (f *fault) Error() string {
	return fmt.Sprintf("stage %s (%s): %s", f.site.stage, f.site.class, f.err)
}

// Unwrap returns the cause.
func (f *fault) Unwrap() error { return f.err }

// faults decides what becomes of a record that cannot be dealt with, by the
// connector's errors.* settings.
type faults struct {
	id           TaskID
	source       bool
	tolerate     bool          // errors.tolerance=all
	retryTimeout time.Duration // Negative: for ever.
	delayMax     time.Duration
	logErrors    bool
	logMessages  bool
	letters      *deadLetters // Nil without a dead letter queue.
	metrics      *taskMetrics
	log          *slog.Logger
}

func newFaults(id TaskID, s connect.Settings, m *taskMetrics, log *slog.Logger) *faults {
	return &faults{
		id: id, metrics: m, log: log, source: m.source,
		tolerate:     s.String("errors.tolerance") == "all",
		retryTimeout: s.Duration("errors.retry.timeout"),
		delayMax:     s.Duration("errors.retry.delay.max.ms"),
		logErrors:    s.Bool("errors.log.enable"),
		logMessages:  s.Bool("errors.log.include.messages"),
	}
}

// retry is called with the error of a first attempt. It tries again while the error
// may pass and errors.retry.timeout is not over, and returns nil after a success.
func (f *faults) retry(ctx context.Context, at site, err error, again func() error) *fault {
	f.metrics.fail()
	began := time.Now()
	for attempt := 0; connect.AsError(err).Class == connect.ClassRetriable && !isBroken(err); attempt++ {
		wait := f.backoff(attempt, connect.AsError(err).After)
		if f.retryTimeout >= 0 && time.Since(began)+wait > f.retryTimeout {
			break
		}
		f.metrics.retries.Add(1)
		if sleep(ctx, wait) != nil {
			break
		}
		if err = again(); err == nil {
			return nil
		}
		f.metrics.fail()
	}
	return &fault{site: at, err: err}
}

// backoff doubles from 300 ms; above errors.retry.delay.max.ms it is any time below.
func (f *faults) backoff(attempt int, asked time.Duration) time.Duration {
	if asked > 0 {
		return min(asked, f.delayMax)
	}
	wait := 300 * time.Millisecond << min(attempt, 20)
	if wait > f.delayMax {
		return rand.N(f.delayMax + 1)
	}
	return wait
}

// sleep waits, or returns the error of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// ends tells whether a fault ends the task, so that no record behind it has its turn.
func (f *faults) ends(bad *fault) bool {
	passing := connect.AsError(bad.err).Class == connect.ClassRetriable
	return isBroken(bad.err) || !f.tolerate || f.source && passing
}

// skip reports a fault and returns nil when the record is to be left out. r is the
// record as it was consumed, nil for sources; from names what it is in messages.
//
// A source never leaves out a record for a reason that may pass, such as a registry
// that is down: its records would be lost, since no letter keeps them.
func (f *faults) skip(ctx context.Context, bad *fault, r *connect.SinkRecord, from string) error {
	f.metrics.failures.Add(1)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if f.logErrors {
		f.logFault(bad, from)
	}
	if isBroken(bad.err) {
		return &staged{bad.site.stage, bad.err} // The record may well be right.
	}
	if f.ends(bad) {
		return f.exceeded(bad, from)
	}
	if f.letters != nil && r != nil {
		wait, err := f.letters.send(ctx, r, bad)
		if err == nil {
			err = wait(ctx)
		}
		if err != nil {
			return err
		}
	}
	f.metrics.skipped.Add(1)
	return nil
}
