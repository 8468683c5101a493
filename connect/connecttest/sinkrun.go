package connecttest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// SinkRun runs the first task of a sink as a worker would. Its methods fail the
// test where the task breaks its contract.
type SinkRun struct {
	Task     connect.SinkTask
	Metrics  *Figures
	Errant   *Errant
	Consumer *Consumer

	tb         testing.TB
	connector  connect.SinkConnector
	end        context.CancelFunc
	open       []connect.TopicPartition
	next       map[connect.TopicPartition]int64 // Behind everything put.
	committed  map[connect.TopicPartition]int64
	stopped    bool
	notStarted bool
}

// StartSink starts the connector, asks it for one task and starts that. With
// tolerant set the task has a reporter for errant records, found as Errant. The run
// is stopped at the end of the test at the latest.
func StartSink(tb testing.TB, c connect.SinkConnector, config connect.Config, tolerant bool) *SinkRun {
	tb.Helper()
	ctx, end := context.WithCancel(context.Background())
	r := &SinkRun{
		tb: tb, connector: c, end: end, Metrics: &Figures{}, Errant: &Errant{},
		next: map[connect.TopicPartition]int64{}, committed: map[connect.TopicPartition]int64{},
	}
	r.Consumer = &Consumer{run: r}
	tb.Cleanup(r.Stop)
	taskConfig := startConnector(ctx, tb, c, config)
	r.Task = c.NewTask()
	r.notStarted = true
	if err := r.Task.Start(ctx, r.env(taskConfig, tolerant)); err != nil {
		tb.Fatalf("the task does not start: %v", err)
	}
	r.notStarted = false
	return r
}

func (r *SinkRun) env(config connect.Config, tolerant bool) connect.SinkTaskEnv {
	env := connect.SinkTaskEnv{
		Connector: "conformance", Config: config, Consumer: r.Consumer, Log: logger(r.tb), Metrics: r.Metrics,
	}
	if tolerant {
		env.Errant = r.Errant
	}
	return env
}

// Put opens partitions met for the first time and puts the records, again and again
// while the error is retriable. It fails the test on any other error.
func (r *SinkRun) Put(records ...connect.SinkRecord) {
	r.tb.Helper()
	if err := r.TryPut(records...); err != nil {
		r.tb.Fatalf("put: %v", err)
	}
}

// TryPut is Put for records that may be refused: it returns the error.
func (r *SinkRun) TryPut(records ...connect.SinkRecord) error {
	r.tb.Helper()
	r.openFor(records)
	deadline := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		err := r.Task.Put(ctx, records)
		cancel()
		if err == nil {
			break
		}
		e := connect.AsError(err)
		if e.Class != connect.ClassRetriable || time.Now().After(deadline) {
			return err
		}
		r.tb.Logf("put, to be tried again: %v", err)
		wait := time.NewTimer(max(e.After, 10*time.Millisecond))
		<-wait.C
	}
	for i := range records {
		tp := connect.TopicPartition{Topic: records[i].OriginalTopic, Partition: records[i].OriginalPartition}
		r.next[tp] = records[i].Offset + 1
	}
	return nil
}

func (r *SinkRun) openFor(records []connect.SinkRecord) {
	var fresh []connect.TopicPartition
	for i := range records {
		tp := connect.TopicPartition{Topic: records[i].OriginalTopic, Partition: records[i].OriginalPartition}
		if !slices.Contains(r.open, tp) && !slices.Contains(fresh, tp) {
			fresh = append(fresh, tp)
		}
	}
	if len(fresh) == 0 {
		return
	}
	r.open = append(r.open, fresh...)
	if o, ok := r.Task.(connect.PartitionOpener); ok {
		if err := o.Open(context.Background(), fresh); err != nil {
			r.tb.Fatalf("open: %v", err)
		}
	}
}

// Commit asks the task which offsets may be committed, notes them and returns them.
func (r *SinkRun) Commit() map[connect.TopicPartition]int64 {
	r.tb.Helper()
	offer := map[connect.TopicPartition]int64{}
	for tp, next := range r.next {
		offer[tp] = next
	}
	answer := offer
	if p, ok := r.Task.(connect.PreCommitter); ok {
		var err error
		if answer, err = p.PreCommit(context.Background(), offer); err != nil {
			r.tb.Fatalf("pre-commit: %v", err)
		}
	}
	for tp, o := range answer {
		if next, put := r.next[tp]; !put || o > next {
			r.tb.Errorf("pre-commit answers for offset %d of %s; records were put up to %d", o, tp, next)
		}
		if o < r.committed[tp] {
			r.tb.Errorf("pre-commit goes back from %d to %d on %s", r.committed[tp], o, tp)
		}
		r.committed[tp] = o
	}
	return answer
}

// Close takes all partitions away from the task, as a rebalance does.
func (r *SinkRun) Close() {
	r.tb.Helper()
	lost := r.open
	r.open = nil
	clear(r.next)
	clear(r.committed)
	if o, ok := r.Task.(connect.PartitionOpener); ok && len(lost) > 0 {
		if err := o.Close(context.Background(), lost); err != nil {
			r.tb.Errorf("close: %v", err)
		}
	}
}

// Stop closes the partitions and stops task and connector. Calling it again does
// nothing.
func (r *SinkRun) Stop() {
	if r.stopped {
		return
	}
	r.stopped = true
	if r.Task != nil {
		if !r.notStarted {
			r.Close()
		}
		stop(r.tb, "task", r.Task.Stop)
	}
	stop(r.tb, "connector", r.connector.Stop)
	r.end()
}

// Errant collects the records a sink reports.
type Errant struct {
	Records []connect.SinkRecord
	Causes  []error
}

// Report implements connect.ErrantRecordReporter.
func (e *Errant) Report(_ context.Context, r *connect.SinkRecord, cause error) (func(context.Context) error, error) {
	if cause == nil {
		return nil, errors.New("connecttest: a record was reported without a cause")
	}
	e.Records = append(e.Records, *r)
	e.Causes = append(e.Causes, cause)
	return func(context.Context) error { return nil }, nil
}

// Consumer is what a sink task steers, and keeps what it asked for.
type Consumer struct {
	run *SinkRun

	Paused  []connect.TopicPartition
	Sought  map[connect.TopicPartition]int64
	Commits int // How often a commit was requested.
}

// Assignment implements connect.ConsumerControl.
func (c *Consumer) Assignment() []connect.TopicPartition { return slices.Clone(c.run.open) }

// Pause implements connect.ConsumerControl.
func (c *Consumer) Pause(partitions ...connect.TopicPartition) {
	c.Paused = append(c.Paused, partitions...)
}

// Resume implements connect.ConsumerControl.
func (c *Consumer) Resume(partitions ...connect.TopicPartition) {
	c.Paused = slices.DeleteFunc(c.Paused, func(tp connect.TopicPartition) bool { return slices.Contains(partitions, tp) })
}

// Seek implements connect.ConsumerControl.
func (c *Consumer) Seek(offsets map[connect.TopicPartition]int64) {
	if c.Sought == nil {
		c.Sought = map[connect.TopicPartition]int64{}
	}
	for tp, o := range offsets {
		c.Sought[tp] = o
	}
}

// RequestCommit implements connect.ConsumerControl.
func (c *Consumer) RequestCommit() { c.Commits++ }
