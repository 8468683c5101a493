package connecttest

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// SinkCase describes a sink to the suite.
type SinkCase struct {
	// New makes a connector that has not started.
	New func() connect.SinkConnector
	// Config prepares a target of its own and returns the configuration for it. It is
	// called once for each check.
	Config func(tb testing.TB) connect.Config
	// Records are what is put, in order. See [SinkRecords].
	Records []connect.SinkRecord
	// Read returns what the target holds, in an order that does not depend on when
	// it was written. It is called after PreCommit.
	Read func(tb testing.TB, config connect.Config) []string
	// Want is what Read returns once the records were put.
	Want []string
	// Appends says that putting records again adds them again. Other sinks are
	// repeatable: the target then holds the same.
	Appends bool
	// Poison is a record that cannot be written while others can; nil for none.
	Poison *connect.SinkRecord
	// Bad are settings that, put over Config's, make the start of connector or task
	// fail; nil leaves that check out.
	Bad connect.Config
}

// sinkChecks are the checks of the suite, by what they promise.
var sinkChecks = []struct {
	name string
	run  func(tb testing.TB, c SinkCase)
}{
	{"one batch", checkSinkBatch},
	{"one by one", checkSinkSingly},
	{"empty puts", checkSinkEmpty},
	{"put again", checkSinkAgain},
	{"put again after a crash", checkSinkCrash},
	{"a rebalance", checkSinkRebalance},
	{"tombstones", checkSinkTombstone},
	{"a record that cannot be written", checkSinkPoison},
	{"put ends with its context", checkSinkContext},
	{"stop after a failed start", checkSinkBadStart},
}

// Sink checks that a sink keeps the contract of connect.SinkTask: what was put and
// pre-committed is in the target, records put again do no harm, empty puts and
// tombstones are understood, a poison record is reported while the others are
// written, Put honours its context, Stop leaves nothing running.
func Sink(t *testing.T, c SinkCase) {
	t.Helper()
	for _, check := range sinkChecks {
		t.Run(check.name, func(t *testing.T) { leakless(t, func(tb testing.TB) { check.run(tb, c) }) })
	}
}

// SinkRecords puts records on one partition of a topic, with offsets from the
// given one on.
func SinkRecords(topic string, first int64, records ...connect.Record) []connect.SinkRecord {
	out := make([]connect.SinkRecord, len(records))
	for i, r := range records {
		r.Topic, r.Partition = topic, 0
		out[i] = connect.SinkRecord{Record: r, Offset: first + int64(i), OriginalTopic: topic}
	}
	return out
}

// holds compares what the target holds with what was expected.
func (c SinkCase) holds(tb testing.TB, config connect.Config, want []string) {
	tb.Helper()
	if got := c.Read(tb, config); !slices.Equal(got, want) {
		tb.Errorf("the target holds\n%q\nwant\n%q", got, want)
	}
}

func checkSinkBatch(tb testing.TB, c SinkCase) {
	config := c.Config(tb)
	run := StartSink(tb, c.New(), config, false)
	run.Put(c.Records...)
	offsets := run.Commit()
	c.holds(tb, config, c.Want)
	for tp, next := range run.next {
		if offsets[tp] != next {
			tb.Errorf("after a pre-commit without trouble %s may be committed up to %d; want %d", tp, offsets[tp], next)
		}
	}
	run.Stop()
	c.holds(tb, config, c.Want)
}

func checkSinkSingly(tb testing.TB, c SinkCase) {
	config := c.Config(tb)
	run := StartSink(tb, c.New(), config, false)
	for i := range c.Records {
		run.Put(c.Records[i])
		if i%2 == 1 {
			run.Commit()
		}
	}
	run.Commit()
	run.Stop()
	c.holds(tb, config, c.Want)
}

// checkSinkEmpty puts nothing, before, between and after: a worker does so to let
// time pass.
func checkSinkEmpty(tb testing.TB, c SinkCase) {
	config := c.Config(tb)
	run := StartSink(tb, c.New(), config, false)
	run.Put()
	run.Commit()
	run.Put(c.Records...)
	run.Put()
	run.Commit()
	run.Put()
	run.Commit()
	run.Stop()
	c.holds(tb, config, c.Want)
}

// checkSinkAgain puts everything twice to one task.
func checkSinkAgain(tb testing.TB, c SinkCase) {
	config := c.Config(tb)
	run := StartSink(tb, c.New(), config, false)
	run.Put(c.Records...)
	run.Put(c.Records...)
	run.Commit()
	run.Stop()
	if !c.Appends {
		c.holds(tb, config, c.Want)
	}
}

// checkSinkCrash leaves out the pre-commit, so that a second task is given the same
// records.
func checkSinkCrash(tb testing.TB, c SinkCase) {
	config := c.Config(tb)
	run := StartSink(tb, c.New(), config, false)
	run.Put(c.Records...)
	run.Stop()
	again := StartSink(tb, c.New(), config, false)
	again.Put(c.Records...)
	again.Commit()
	again.Stop()
	if !c.Appends {
		c.holds(tb, config, c.Want)
	}
}

// checkSinkRebalance takes the partitions away in the middle and gives them back,
// with the offsets that had been committed.
func checkSinkRebalance(tb testing.TB, c SinkCase) {
	config := c.Config(tb)
	run := StartSink(tb, c.New(), config, false)
	half := len(c.Records) / 2
	run.Put(c.Records[:half]...)
	run.Commit()
	run.Close()
	run.Put()
	run.Put(c.Records[half:]...)
	run.Commit()
	run.Stop()
	c.holds(tb, config, c.Want)
}

// checkSinkTombstone puts null values for a known key, and none at all.
func checkSinkTombstone(tb testing.TB, c SinkCase) {
	run := StartSink(tb, c.New(), c.Config(tb), true)
	first := c.Records[0]
	tombstone := first
	tombstone.ValueSchema, tombstone.Value = nil, connect.Value{}
	run.Put(tombstone) // Of a key never seen.
	first.Offset++
	run.Put(first)
	tombstone.Offset += 2
	run.Put(tombstone)
	run.Commit()
	run.Stop()
}

// checkSinkPoison puts a bad record between good ones, with and without someone to
// report it to.
func checkSinkPoison(tb testing.TB, c SinkCase) {
	if c.Poison == nil {
		return
	}
	records := slices.Insert(slices.Clone(c.Records), 1, *c.Poison)
	for i := range records {
		records[i].Offset = int64(i)
	}
	config := c.Config(tb)
	run := StartSink(tb, c.New(), config, true)
	run.Put(records...)
	run.Commit()
	run.Stop()
	c.holds(tb, config, c.Want)
	if n := len(run.Errant.Records); n != 1 {
		tb.Errorf("%d records were reported; want the bad one: %v", n, run.Errant.Causes)
	} else if at := run.Errant.Records[0].Offset; at != 1 {
		tb.Errorf("the record at offset %d was reported; want the one at 1", at)
	}
	strict := StartSink(tb, c.New(), c.Config(tb), false)
	err := strict.TryPut(records...)
	if err == nil {
		tb.Error("a bad record was put without an error, and there was nobody to report it to")
	} else if e := connect.AsError(err); e.Code == "internal" || e.Class == connect.ClassRetriable {
		tb.Errorf("a bad record gave the error %v (class %d); want one with a code that is not to be retried", err, e.Class)
	}
	strict.Stop()
}

func checkSinkContext(tb testing.TB, c SinkCase) {
	config := c.Config(tb)
	run := StartSink(tb, c.New(), config, false)
	run.openFor(c.Records)
	done, cancel := context.WithCancel(context.Background())
	cancel()
	began := time.Now()
	err := run.Task.Put(done, c.Records) // It may succeed, or say that it could not.
	if took := time.Since(began); took > promptly {
		tb.Errorf("put returned %v after its context was done", took)
	}
	if err != nil && c.Appends {
		run.Stop()
		return // How much was appended before the end is open.
	}
	if err != nil {
		run.Put(c.Records...)
	}
	for i := range c.Records {
		r := &c.Records[i]
		run.next[connect.TopicPartition{Topic: r.OriginalTopic, Partition: r.OriginalPartition}] = r.Offset + 1
	}
	run.Commit()
	run.Stop()
	c.holds(tb, config, c.Want)
}

func checkSinkBadStart(tb testing.TB, c SinkCase) {
	if c.Bad == nil {
		return
	}
	config := maps.Clone(c.Config(tb))
	maps.Copy(config, c.Bad)
	connector := c.New()
	ctx, end := context.WithCancel(context.Background())
	defer end()
	run := &SinkRun{tb: tb, Metrics: &Figures{}, Errant: &Errant{}}
	run.Consumer = &Consumer{run: run}
	failed := startBadly(ctx, tb, connector, config, func(taskConfig connect.Config) error {
		task := connector.NewTask()
		defer stop(tb, "task that did not start", task.Stop)
		return task.Start(ctx, run.env(taskConfig, false))
	})
	checkCoded(tb, failed)
}
