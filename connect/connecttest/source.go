package connecttest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidemill/tidemill/connect"
)

// SourceCase describes a source to the suite.
type SourceCase struct {
	// New makes a connector that has not started.
	New func() connect.SourceConnector
	// Config prepares a source of its own, such as a fresh database, and returns the
	// configuration for it. It is called once for each check.
	Config func(tb testing.TB) connect.Config
	// Feed makes the source have something to say, after the first task has started
	// and once for each check; nil when it has enough by itself.
	Feed func(tb testing.TB, config connect.Config)
	// Records is how many records the source is sure to give, 2 at least.
	Records int
	// Bad are settings that, put over Config's, make the start of connector or task
	// fail; nil leaves that check out.
	Bad connect.Config
	// Identity returns what is the same when a record is given again; nil means its
	// topic, key and value. Leave out what moves with the clock.
	Identity func(r *connect.SourceRecord) string
	// Resumable tells from which records' offsets the rest can be told exactly as
	// before; nil means all. A snapshot that starts anew gives other records.
	Resumable func(r *connect.SourceRecord) bool
}

// sourceChecks are the checks of the suite, by what they promise.
var sourceChecks = []struct {
	name string
	run  func(tb testing.TB, c SourceCase)
}{
	{"records fit their schemas", checkSourceShape},
	{"the same source tells the same", checkSourceRepeats},
	{"resumes from any stored offset", checkSourceResumes},
	{"poll ends with its context", checkSourceContext},
	{"stop after a failed start", checkSourceBadStart},
	{"stop at once", checkSourceStopAtOnce},
	{"commit is accepted", checkSourceCommit},
}

// Source checks that a source keeps the contract of connect.SourceTask: its records
// fit their schemas, offsets lead back to where they were taken without a gap and
// never go back, Poll honours its context, Stop leaves nothing running.
func Source(t *testing.T, c SourceCase) {
	t.Helper()
	if c.Identity == nil {
		c.Identity = recordText
	}
	for _, check := range sourceChecks {
		t.Run(check.name, func(t *testing.T) { leakless(t, func(tb testing.TB) { check.run(tb, c) }) })
	}
}

// leakless runs a check and then, when everything the check prepared has been
// cleaned up, looks for goroutines it has left behind.
func leakless(tb testing.TB, run func(tb testing.TB)) {
	before := goleak.IgnoreCurrent()
	tb.Cleanup(func() {
		err := goleak.Find(before)
		// On a busy machine a goroutine that is about to end may take its time.
		for deadline := time.Now().Add(promptly); err != nil && !tb.Failed() && time.Now().Before(deadline); {
			err = goleak.Find(before)
		}
		if err != nil && !tb.Failed() {
			tb.Errorf("Stop has left goroutines running: %v", err)
		}
	})
	run(tb)
}

// recordText is what a record says: topic, key and value.
func recordText(r *connect.SourceRecord) string {
	text := append([]byte(r.Topic), ' ')
	text = connect.AppendJSON(text, r.KeySchema, r.Key)
	text = connect.AppendJSON(append(text, ' '), r.ValueSchema, r.Value)
	return string(text)
}

// take starts a source without stored offsets, feeds it, and returns its first
// records and the run.
func (c SourceCase) take(tb testing.TB, config connect.Config) (*SourceRun, []connect.SourceRecord) {
	tb.Helper()
	run := StartSource(tb, c.New(), config, &Offsets{})
	if c.Feed != nil {
		c.Feed(tb, config)
	}
	return run, run.Take(c.Records)
}

func checkSourceShape(tb testing.TB, c SourceCase) {
	run, records := c.take(tb, c.Config(tb))
	for i := range records {
		checkRecordShape(tb, i, &records[i])
	}
	// What was handed over belongs to the worker, also when the task goes on.
	texts := make([]string, len(records))
	for i := range records {
		texts[i] = recordText(&records[i])
	}
	for range 3 {
		run.Poll(50 * time.Millisecond)
	}
	run.Stop()
	for i := range records {
		if now := recordText(&records[i]); now != texts[i] {
			tb.Errorf("record %d changed after it was handed over:\nwas %s\nis  %s", i, texts[i], now)
		}
	}
}

func checkRecordShape(tb testing.TB, i int, r *connect.SourceRecord) {
	tb.Helper()
	for _, part := range []struct {
		name string
		s    *connect.Schema
		v    connect.Value
	}{{"key", r.KeySchema, r.Key}, {"value", r.ValueSchema, r.Value}} {
		if part.s != nil {
			if err := part.s.Check(part.v); err != nil {
				tb.Errorf("record %d of topic %s: its %s does not fit: %v", i, r.Topic, part.name, err)
			}
		}
	}
	for _, h := range r.Headers {
		if h.Schema != nil {
			if err := h.Schema.Check(h.Value); err != nil {
				tb.Errorf("record %d of topic %s: header %s does not fit: %v", i, r.Topic, h.Key, err)
			}
		}
	}
	if r.SourceOffset == nil {
		tb.Errorf("record %d of topic %s has no source offset", i, r.Topic)
	} else if text := r.SourceOffset.AppendJSON(nil); len(text) < 2 || text[0] != '{' {
		tb.Errorf("record %d of topic %s: its offset is no JSON object: %s", i, r.Topic, text)
	}
}

// checkSourceRepeats reads the same source twice from the beginning, where its
// first record allows that.
func checkSourceRepeats(tb testing.TB, c SourceCase) {
	config := c.Config(tb)
	run, first := c.take(tb, config)
	run.Stop()
	if c.Resumable != nil && !c.Resumable(&first[0]) {
		return
	}
	again := StartSource(tb, c.New(), config, &Offsets{})
	defer again.Stop()
	c.expect(tb, again, c.parts(first), nil)
}

// parts divides records by source partition, for whose offsets alone an order is
// promised.
func (c SourceCase) parts(records []connect.SourceRecord) map[connect.SourcePartition][]string {
	parts := map[connect.SourcePartition][]string{}
	for i := range records {
		p := records[i].SourcePartition
		parts[p] = append(parts[p], c.Identity(&records[i]))
	}
	return parts
}

// checkSourceResumes restarts the source at the offset of several of its records.
func checkSourceResumes(tb testing.TB, c SourceCase) {
	config := c.Config(tb)
	run, records := c.take(tb, config)
	run.Stop()
	earlier := map[connect.SourcePartition]int{}
	tried := 0
	for i := range len(records) - 1 {
		if c.Resumable != nil && !c.Resumable(&records[i]) {
			continue
		}
		if tried++; len(records) > 12 && i > 3 && i < len(records)-4 && i%(len(records)/6) != 0 {
			continue // A sample is enough where there are many: each restart takes time.
		}
		for p, from := range c.resumeAt(tb, config, records, i) {
			if from < earlier[p] {
				tb.Errorf("partition %s: the offset of record %d leads back to %d, an earlier one to %d: offsets go back", p.JSON(), i, from, earlier[p])
			}
			earlier[p] = from
		}
	}
	if tried == 0 {
		tb.Errorf("no record among %d can be resumed from", len(records))
	}
}

// resumeAt restarts behind record i and returns, for each partition, with which
// of its records the source went on.
func (c SourceCase) resumeAt(tb testing.TB, config connect.Config, records []connect.SourceRecord, i int) map[connect.SourcePartition]int {
	tb.Helper()
	var offsets Offsets
	told := map[connect.SourcePartition]int{}
	for _, r := range records[:i+1] {
		offsets.Put(r.SourcePartition, r.SourceOffset.AppendJSON(nil))
		told[r.SourcePartition]++
	}
	run := StartSource(tb, c.New(), config, &offsets)
	defer run.Stop()
	from := c.expect(tb, run, c.parts(records), told)
	exact, _ := run.connector.(connect.ExactlyOnceSource)
	for p, j := range from {
		if exact != nil && exact.ExactlyOnce(config) && !exact.DefinesBoundaries(config) && j < told[p] {
			tb.Errorf("resumed behind record %d, a source that says it is exact gave %d records again", i, told[p]-j)
		}
	}
	return from
}

// expect polls until the run has told, in every partition, what is left of it after
// the told records, perhaps beginning earlier. It returns where it began.
func (c SourceCase) expect(tb testing.TB, run *SourceRun, parts map[connect.SourcePartition][]string, told map[connect.SourcePartition]int) map[connect.SourcePartition]int {
	tb.Helper()
	got := map[connect.SourcePartition][]string{}
	from := map[connect.SourcePartition]int{}
	for deadline := time.Now().Add(patience); ; {
		for p, want := range parts {
			if j, ok := began(want, got[p], told[p]); ok {
				from[p] = j
			}
		}
		if len(from) == len(parts) {
			return from
		}
		if time.Now().After(deadline) {
			tb.Fatalf("resumed at %s, the source does not go on as before:%s", run.positions(), differences(parts, got, told))
		}
		for _, r := range run.Poll(time.Second) {
			if r.Topic != "" {
				got[r.SourcePartition] = append(got[r.SourcePartition], c.Identity(&r))
			}
		}
	}
}

// began tells whether got begins with all of want from some place on that leaves
// no gap after the told records, and which is the latest such place.
func began(want, got []string, told int) (int, bool) {
	for j := told; j >= 0; j-- {
		if rest := want[j:]; len(got) >= len(rest) && slices.Equal(got[:len(rest)], rest) {
			return j, true
		}
	}
	return 0, false
}

// positions writes out what the run was to resume from.
func (r *SourceRun) positions() string {
	var b strings.Builder
	for p, o := range r.offsets.All() {
		fmt.Fprintf(&b, " %s=%s", p.JSON(), o)
	}
	return strings.TrimSpace(b.String())
}

func differences(parts, got map[connect.SourcePartition][]string, told map[connect.SourcePartition]int) string {
	var b strings.Builder
	for p, want := range parts {
		if _, ok := began(want, got[p], told[p]); !ok {
			fmt.Fprintf(&b, "\npartition %s\ngot\n  %s\nwant, or more before it\n  %s", p.JSON(), strings.Join(got[p], "\n  "), strings.Join(want[told[p]:], "\n  "))
		}
	}
	return b.String()
}

// checkSourceContext polls with contexts that are done, or soon will be.
func checkSourceContext(tb testing.TB, c SourceCase) {
	run, _ := c.take(tb, c.Config(tb))
	done, cancel := context.WithCancel(context.Background())
	cancel()
	soon, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	for _, ctx := range []context.Context{done, soon} {
		for range 2 {
			began := time.Now()
			if _, err := run.Task.Poll(ctx); err != nil {
				tb.Errorf("poll with a context that ends: error %v; want none", err)
			}
			if took := time.Since(began); took > promptly {
				tb.Errorf("poll returned %v after its context was done", took)
			}
		}
	}
	run.Stop()
}

// checkSourceBadStart makes a start fail and stops what has not started.
func checkSourceBadStart(tb testing.TB, c SourceCase) {
	if c.Bad == nil {
		return
	}
	config := maps.Clone(c.Config(tb))
	maps.Copy(config, c.Bad)
	connector := c.New()
	ctx, end := context.WithCancel(context.Background())
	defer end()
	failed := startBadly(ctx, tb, connector, config, func(taskConfig connect.Config) error {
		task := connector.NewTask()
		defer stop(tb, "task that did not start", task.Stop)
		return task.Start(ctx, sourceEnv(tb, taskConfig, &Offsets{}, &Figures{}))
	})
	checkCoded(tb, failed)
}

// startBadly starts a connector and, where that works, its tasks; it stops the
// connector and returns the first error.
func startBadly(ctx context.Context, tb testing.TB, c connect.Connector, config connect.Config, task func(connect.Config) error) error {
	defer stop(tb, "connector that did not start", c.Stop)
	env := connect.ConnectorEnv{Name: "conformance", Config: config, Log: logger(tb), Reconfigure: func() {}, Fail: func(error) {}}
	if err := c.Start(ctx, env); err != nil {
		return err
	}
	configs, err := c.TaskConfigs(ctx, 1)
	if err != nil || len(configs) == 0 {
		return err
	}
	return task(configs[0])
}

// checkCoded checks that a failed start says what a user needs.
func checkCoded(tb testing.TB, err error) {
	tb.Helper()
	if err == nil {
		tb.Error("the start with bad settings did not fail")
		return
	}
	if e := connect.AsError(err); e.Code == "internal" {
		tb.Errorf("the start failed with an error without a code: %v", err)
	}
}

// checkSourceStopAtOnce stops a task that was never polled.
func checkSourceStopAtOnce(tb testing.TB, c SourceCase) {
	StartSource(tb, c.New(), c.Config(tb), &Offsets{}).Stop()
}

// checkSourceCommit takes and commits in turns, and goes on from what was committed.
func checkSourceCommit(tb testing.TB, c SourceCase) {
	config := c.Config(tb)
	var offsets Offsets
	run := StartSource(tb, c.New(), config, &offsets)
	if c.Feed != nil {
		c.Feed(tb, config)
	}
	half := c.Records / 2
	first := run.Take(half)
	run.Commit()
	records := append(slices.Clone(first), run.Take(c.Records-half)...)
	run.Stop()
	if c.Resumable != nil && !c.Resumable(&first[half-1]) {
		return
	}
	told := map[connect.SourcePartition]int{}
	for i := range first {
		told[first[i].SourcePartition]++
	}
	again := StartSource(tb, c.New(), config, &offsets)
	defer again.Stop()
	c.expect(tb, again, c.parts(records), told)
}
