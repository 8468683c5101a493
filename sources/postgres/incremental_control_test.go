package postgres

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/connect/connecttest"
	"github.com/tidemill/tidemill/internal/devstack"
)

// TestBlockingSnapshot takes one in a storm: the stream stands still for it, and no row
// goes back to an older version, nor comes twice.
func TestBlockingSnapshot(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	const rows = 1000
	stormTable(d, "a", rows)
	c := newSignalled()
	var offsets connecttest.Offsets
	run := d.startSignalled(c, &offsets, "snapshot.mode", "no_data", "max.batch.size", "100")
	d.streaming()
	stop := storm(t, d, "a", 3, rows)
	defer stop()
	v := newVersions(t, "a")
	for range 2 {
		c.send("execute-snapshot", `{"type":"blocking","data-collections":["public.a"]}`)
		want, marks := v.ops["r"]+1, map[string]int{}
		for deadline := time.Now().Add(patience); marks["last"] == 0; {
			if time.Now().After(deadline) {
				t.Fatal("the snapshot does not end")
			}
			for _, r := range run.Take(1) {
				v.take(&r, false)
				if !r.Value.IsNull() {
					marks[source(&r, "snapshot").Str()]++
				}
			}
		}
		if v.ops["r"] < want || marks["first"] != 1 || marks["last"] != 1 {
			t.Error(marks)
		}
	}
	stop()
	drainUntil(t, d, run, v)
	v.compare(d, jsonID)
	run.Commit()
	run.Stop()
	// It is not the initial snapshot: a restart takes none.
	again := d.startSignalled(c, &offsets)
	d.streaming()
	d.exec(`INSERT INTO a VALUES (-5, 1, 'x')`)
	if r := again.Take(2)[1]; op(&r) != "c" && op(&r) != "d" && op(&r) != "" {
		t.Error(brief(&r))
	}
}

// TestBlockingSnapshotWithinAnIncrementalOne has one in the middle of the other, on a
// server that flushes messages by itself.
func TestBlockingSnapshotWithinAnIncrementalOne(t *testing.T) {
	t.Parallel()
	d := openTestDB(t, devstack.TestPostgresVersion(t, 17))
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, 'x' FROM generate_series(1, 2000) g; CREATE TABLE b (id int PRIMARY KEY); INSERT INTO b VALUES (1), (2)`)
	c := newSignalled()
	run := d.startSignalled(c, &connecttest.Offsets{}, "snapshot.mode", "no_data", "incremental.snapshot.chunk.size", "5", "max.batch.size", "10", "max.queue.size", "10")
	d.streaming()
	c.send("execute-snapshot", `{"data-collections":["public.a"]}`)
	run.Take(10)
	c.send("execute-snapshot", `{"type":"blocking","data-collections":["public.b"]}`)
	last := ""
	for _, r := range run.Take(1992) {
		last = r.Topic
	}
	if last != "shop.public.a" {
		t.Error("the blocking snapshot waited for the end of the incremental one")
	}
}

func TestBlockingSnapshotWithStatementAndFailure(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'x'), (2, 'y')`)
	c := newSignalled()
	run := d.startSignalled(c, &connecttest.Offsets{}, "snapshot.mode", "no_data")
	d.streaming()
	c.send("execute-snapshot", `{"type":"blocking","data-collections":["public.a"],"additional-conditions":[{"data-collection":"public.a","filter":"SELECT * FROM a WHERE id = 2"}]}`)
	expectBrief(t, run.Take(1), `a r {"id":2} null {"id":2,"v":"y"}`)
	c.send("execute-snapshot", `{"type":"blocking","data-collections":["public.a"],"additional-conditions":[{"data-collection":"public.a","filter":"SELECT nonsense FROM nowhere"}]}`)
	d.exec(`INSERT INTO a VALUES (3, 'z')`)
	expectBrief(t, run.Take(1), `a c {"id":3} null {"id":3,"v":"z"}`)
	c.send("execute-snapshot", `{"type":"blocking","data-collections":["public.nothing"]}`)
	c.send("execute-snapshot", `{"data-collections":["public.a"],"additional-conditions":[{"data-collection":"public.a","filter":"id = 3"}]}`)
	expectBrief(t, run.Take(1), `a r {"id":3} null {"id":3,"v":"z"}`)
}

// TestPauseResumeStop holds a snapshot, restarts while it is held, goes on, and stops.
func TestPauseResumeStop(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a SELECT g, 'x' FROM generate_series(1, 3000) g`)
	c := newSignalled()
	var offsets connecttest.Offsets
	settings := []string{"snapshot.mode", "no_data", "incremental.snapshot.chunk.size", "5", "max.batch.size", "10", "max.queue.size", "10"}
	run := d.startSignalled(c, &offsets, settings...)
	d.streaming()
	c.send("execute-snapshot", `{"data-collections":["public.a"]}`)
	rows := len(run.Take(30))
	c.send("pause-snapshot", `{}`)
	quiet := 0
	for quiet < 5 {
		got := 0
		for _, r := range run.Poll(200 * time.Millisecond) {
			if r.Topic != "" {
				got++
			}
			offsets.Put(r.SourcePartition, r.SourceOffset.AppendJSON(nil))
		}
		rows += got
		if quiet++; got > 0 {
			quiet = 0
		}
	}
	if rows >= 3000 {
		t.Fatal("the snapshot was not paused")
	}
	d.exec(`INSERT INTO a VALUES (-1, 'streamed')`)
	for {
		r := run.Take(1)[0] // Rows taken before, and then the change.
		if op(&r) == "c" {
			break
		}
		rows++
	}
	run.Commit()
	run.Stop()
	run = d.startSignalled(c, &offsets, settings...)
	d.streaming()
	if got := run.Poll(500 * time.Millisecond); len(got) > 0 && got[0].Topic != "" {
		t.Error("the snapshot went on after a restart although it is paused")
	}
	c.send("resume-snapshot", `{}`)
	rows += len(run.Take(100))
	c.send("stop-snapshot", `{"data-collections":["public.a"]}`)
	eventually(t, "the snapshot stops", func() bool { run.Poll(50 * time.Millisecond); return !c.reading() })
	c.send("execute-snapshot", `{"data-collections":["public.a"],"additional-conditions":[{"data-collection":"public.a","filter":"id > 2990"}]}`)
	seen := map[int64]bool{}
	for deadline := time.Now().Add(patience); !seen[3000]; {
		if time.Now().After(deadline) {
			t.Fatal("no new snapshot after the one that was stopped")
		}
		for _, r := range run.Take(1) {
			seen[after(&r, "id").Int()] = true
		}
	}
}

// TestSignalsByFileAndKafka sends signals both ways, and what is no signal.
func TestSignalsByFileAndKafka(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO a VALUES (1); INSERT INTO b VALUES (2)`)
	file := filepath.Join(t.TempDir(), "signals")
	c := newSignalled()
	stored := make(chan string, 10)
	c.consume = func(ctx context.Context, settings connect.Config, topic, group string, each func(key, value []byte) error) error {
		for _, key := range []string{"other", "shop"} {
			text := `{"id":"k","type":"execute-snapshot","data":"{\"data-collections\":[\"public.b\"]}"}`
			if err := each([]byte(key), []byte(text)); err != nil {
				return err
			}
			stored <- key + " " + topic + " " + group + " " + settings["bootstrap.servers"] + settings["x"]
		}
		<-ctx.Done()
		return nil
	}
	run := d.startSignalled(c, &connecttest.Offsets{}, "snapshot.mode", "no_data", "signal.enabled.channels", "source,file,kafka", "signal.file", file,
		"signal.poll.interval.ms", "20", "signal.kafka.bootstrap.servers", "k:1", "signal.consumer.x", "y")
	d.streaming()
	expectBrief(t, run.Take(1), `b r {"id":2} null {"id":2}`)
	if got := <-stored; got != "other shop-signal kafka-signal k:1y" {
		t.Error(got)
	}
	select {
	case got := <-stored:
		t.Errorf("%s counts as read before it is stored", got)
	default:
	}
	run.Commit()
	eventually(t, "the record counts as read", func() bool {
		run.Take(0)
		for _, r := range run.Poll(20 * time.Millisecond) {
			_ = run.Task.(connect.Committer).Commit(context.Background(), map[connect.SourcePartition]connect.Offset{r.SourcePartition: r.SourceOffset})
		}
		return len(stored) == 1
	})
	if err := os.WriteFile(file, []byte("nonsense\n\n"+`{"id":"f","type":"execute-snapshot","data":{"data-collections":["public.a"]}}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expectBrief(t, run.Take(1), `a r {"id":1} null {"id":1}`)
	if _, err := os.Stat(file + takenSuffix); err != nil {
		t.Error("the file is gone before the signal is stored: ", err)
	}
	run.Commit()
	eventually(t, "the file goes", func() bool {
		for _, r := range run.Poll(20 * time.Millisecond) {
			_ = run.Task.(connect.Committer).Commit(context.Background(), map[connect.SourcePartition]connect.Offset{r.SourcePartition: r.SourceOffset})
		}
		_, err := os.Stat(file + takenSuffix)
		return os.IsNotExist(err)
	})
}

// TestNotifications looks at the topic that tells how a snapshot goes on.
func TestNotifications(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	d.exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE empty (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 10)`)
	c := newSignalled()
	run := d.startSignalled(c, &connecttest.Offsets{}, "snapshot.mode", "no_data", "notification.enabled.channels", "sink,log", "notification.sink.topic.name", "told")
	d.streaming()
	c.send("execute-snapshot", `{"data-collections":["public.a","public.empty"]}`)
	told := toldUntil(run, "COMPLETED Incremental Snapshot")
	for _, want := range []string{"STARTED Incremental Snapshot", "IN_PROGRESS Incremental Snapshot maximum_key=10",
		"TABLE_SCAN Incremental Snapshot scanned_collection=public.a total_rows_scanned=10 status=SUCCEEDED",
		"TABLE_SCAN Incremental Snapshot scanned_collection=public.empty total_rows_scanned=0 status=EMPTY"} {
		found := 0
		for _, line := range told {
			if line == want {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%q was told %d times: %q", want, found, told)
		}
	}
}

// toldUntil returns the notifications in the topic "told" up to one.
func toldUntil(run *connecttest.SourceRun, last string) (told []string) {
	for !slices.Contains(told, last) {
		r := run.Take(1)[0]
		if r.Topic != "told" {
			continue
		}
		v := r.Value.Struct()
		line := v.Get("type").Str() + " " + v.Get("aggregate_type").Str()
		for _, e := range v.Get("additional_data").Map() {
			if k := e.Key.Str(); k == "status" || k == "scanned_collection" || k == "total_rows_scanned" || k == "maximum_key" {
				line += " " + k + "=" + e.Value.Str()
			}
		}
		told = append(told, strings.Replace(line, "TABLE_SCAN_COMPLETED", "TABLE_SCAN", 1))
	}
	return told
}

// TestNotificationsOfWholeSnapshots looks at those of the initial snapshot, in each kind
// and mode, and of a blocking one.
func TestNotificationsOfWholeSnapshots(t *testing.T) {
	t.Parallel()
	want := []string{"STARTED Initial Snapshot", "IN_PROGRESS Initial Snapshot", "IN_PROGRESS Initial Snapshot",
		"TABLE_SCAN Initial Snapshot scanned_collection=public.a total_rows_scanned=10 status=SUCCEEDED",
		"TABLE_SCAN Initial Snapshot scanned_collection=public.empty total_rows_scanned=0 status=SUCCEEDED", "COMPLETED Initial Snapshot"}
	check := func(t *testing.T, run *connecttest.SourceRun) {
		t.Helper()
		got := toldUntil(run, "COMPLETED Initial Snapshot")
		if got[0] != want[0] || !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
			t.Errorf("it tells %q", got)
		}
	}
	for _, mode := range []string{"initial", "initial_only"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d := newTestDB(t)
			d.exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE empty (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 10)`)
			c := newSignalled()
			var offsets connecttest.Offsets
			run := d.startSignalled(c, &offsets, "snapshot.mode", mode, "notification.enabled.channels", "sink", "notification.sink.topic.name", "told")
			check(t, run)
			if run.Commit(); mode == "initial_only" {
				return
			}
			d.streaming()
			c.send("execute-snapshot", `{"type":"blocking","data-collections":["public.*"]}`)
			check(t, run)
			d.exec(`INSERT INTO a VALUES (11)`)
			expectBrief(t, run.Take(1), `a c {"id":11} null {"id":11}`)
		})
	}
}

// TestAlteredWhileRead alters, renames, empties and drops tables while they are read.
func TestAlteredWhileRead(t *testing.T) {
	t.Parallel()
	d := newTestDB(t)
	for i := range 4 {
		d.exec(`CREATE TABLE t` + strconv.Itoa(i) + ` (id int PRIMARY KEY, v text); INSERT INTO t` + strconv.Itoa(i) + ` SELECT g, 'x' FROM generate_series(1, 2000) g`)
	}
	c := newSignalled()
	run := d.startSignalled(c, &connecttest.Offsets{}, "snapshot.kind", "resumable", "incremental.snapshot.chunk.size", "10", "max.batch.size", "10", "max.queue.size", "10",
		"incremental.snapshot.max.threads", "4")
	run.Take(200)
	d.exec(`UPDATE t0 SET v = 'z' WHERE id = 1901`)
	d.exec(`ALTER TABLE t0 ADD more int NOT NULL DEFAULT 7`)
	d.exec(`ALTER TABLE t1 RENAME TO renamed`)
	d.exec(`DROP TABLE t2`)
	d.exec(`ALTER TABLE t3 ALTER id TYPE bigint; INSERT INTO t3 VALUES (5000, 'new')`)
	rows := map[string]map[int64]*connect.SourceRecord{}
	begun, marked := false, false
	for deadline := time.Now().Add(patience); rows["t0"][9999] == nil; {
		if begun && !c.reading() && !marked {
			marked = true
			d.exec(`INSERT INTO t0 VALUES (9999, 'end')`)
		}
		if time.Now().After(deadline) {
			t.Fatal("the snapshot does not end")
		}
		for _, r := range run.Poll(50 * time.Millisecond) {
			if r.Topic != "" && !r.Value.IsNull() && op(&r) != "d" {
				table := r.Topic[strings.LastIndexByte(r.Topic, '.')+1:]
				if rows[table] == nil {
					rows[table] = map[int64]*connect.SourceRecord{}
				}
				rows[table][r.Key.Struct().Get("id").Int()] = &r
			}
		}
		begun = begun || c.reading()
	}
	if n := len(rows["renamed"]); n != 2000 {
		t.Errorf("%d rows of the table that was renamed", n)
	}
	if last := rows["t0"][2000]; last == nil || after(last, "more").Int() != 7 {
		t.Errorf("the new column is missing: %v", last)
	}
	if n := rows["t0"][1901]; n == nil || after(n, "v").Str() != "z" {
		t.Error("the changed row is not as it is now")
	}
	if rows["t3"][5000] == nil || rows["t3"][2000] == nil || rows["t3"][2000].KeySchema.Fields()[0].Schema.Kind() != connect.KindInt64 {
		t.Error("the rows of the table that was written anew are not all there")
	}
}
