package worker

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/kafkalog"
)

// The bytes of the internal topics, as Kafka Connect's own workers write and read them.

func TestConfigRecords(t *testing.T) {
	for _, tt := range []struct {
		entry      kafkalog.Entry
		key, value string
	}{
		{connectorEntry("c", connect.Config{"name": "c", "a<b": "x&y>z"}), "connector-c", `{"properties":{"a<b":"x&y>z","name":"c"}}`},
		{taskEntry(TaskID{"my-c", 3}, connect.Config{"k": "v"}), "task-my-c-3", `{"properties":{"k":"v"}}`},
		{commitEntry("c", 4), "commit-c", `{"tasks":4}`},
		{targetEntry("c", Started), "target-state-c", `{"state":"STARTED","state.v2":"STARTED"}`},
		{targetEntry("c", Paused), "target-state-c", `{"state":"PAUSED","state.v2":"PAUSED"}`},
		{targetEntry("c", Stopped), "target-state-c", `{"state":"PAUSED","state.v2":"STOPPED"}`},
		{fencingEntry("c", 2), "tasks-fencing-c", `{"task-count":2}`},
		{loggerEntry("org.x", "DEBUG"), "logger-cluster-org.x", `{"level":"DEBUG"}`},
		{restartEntry("c", RestartOptions{IncludeTasks: true}), "restart-connector-c", `{"include-tasks":true,"only-failed":false}`},
	} {
		if string(tt.entry.Key) != tt.key || string(tt.entry.Value) != tt.value {
			t.Errorf("wrote %s %s, want %s %s", tt.entry.Key, tt.entry.Value, tt.key, tt.value)
		}
	}
	for _, e := range deleteEntries("c") {
		if e.Value != nil {
			t.Errorf("%s is not deleted", e.Key)
		}
	}
}

func TestStatusRecords(t *testing.T) {
	s := newStatusStore("h:8083", nil)
	if got, want := string(s.record(stateRunning, "", "")), `{"state":"RUNNING","trace":null,"worker_id":"h:8083","generation":1}`; got != want {
		t.Errorf("wrote %s, want %s", got, want)
	}
	s.putTask(TaskID{"my-c", 2}, stateFailed, "boom", "")
	s.useTopic(TaskID{"my-c", 2}, "t")
	s.putConnector("my-c", stateRunning, "", "1.2")
	want := []string{
		`status-connector-my-c {"state":"RUNNING","trace":null,"worker_id":"h:8083","generation":1,"version":"1.2"}`,
		`status-task-my-c-2 {"state":"FAILED","trace":"boom","worker_id":"h:8083","generation":1}`,
		`status-topic-t:connector-my-c {"topic":{"name":"t","connector":"my-c","task":2,"discoverTimestamp":`,
	}
	var got []string
	for k, v := range s.pending {
		got = append(got, k+" "+string(v))
	}
	slices.Sort(got)
	for i, w := range want {
		if !strings.HasPrefix(got[i], w) {
			t.Errorf("wrote %s, want %s", got[i], w)
		}
	}
}

func TestStatusKnowsItsOwnFromOthers(t *testing.T) {
	s := newStatusStore("me:1", nil)
	id := TaskID{"c", 0}
	record := func(worker, state string) kafkalog.Record {
		return kafkalog.Record{Key: []byte("status-task-c-0"), Value: []byte(`{"state":"` + state + `","trace":null,"worker_id":"` + worker + `","generation":1}`)}
	}
	check := func(want string) {
		t.Helper()
		if r, _ := s.task(id); r.State != want {
			t.Errorf("the state is %q, want %q", r.State, want)
		}
	}
	s.apply(record("me:1", stateRunning)) // From before this process.
	check(stateRunning)
	s.putTask(id, stateFailed, "x", "")
	s.apply(record("me:1", stateUnassigned)) // An echo of something older.
	check(stateFailed)
	s.apply(record("other:1", stateRunning))
	check(stateRunning)
	s.apply(kafkalog.Record{Key: []byte("status-task-c-0")})
	check("")
}

func TestOffsetKeys(t *testing.T) {
	key := func(m map[string]any) string {
		p, err := connect.NewSourcePartition(m)
		must(t, err)
		return string(offsetKey("c", p))
	}
	for _, tt := range []struct {
		partition map[string]any
		want      string
	}{
		{map[string]any{"server": "shop"}, `["c",{"server":"shop"}]`},
		{map[string]any{}, `["c",{}]`},
		// The order is that of java.util.HashMap: by (h ^ h>>>16) & 15.
		{map[string]any{"server": "a", "database": "b"}, `["c",{"server":"a","database":"b"}]`},
		{map[string]any{"a": 1, "b": 2, "c": 3, "d": true}, `["c",{"a":1,"b":2,"c":3,"d":true}]`},
		{map[string]any{"p": 1, "o": 2, "a": 3}, `["c",{"p":1,"a":3,"o":2}]`},
	} {
		if got := key(tt.partition); got != tt.want {
			t.Errorf("wrote %s, want %s", got, tt.want)
		}
	}
}

func TestOffsetsAreFoundByMeaningAndWrittenUnderTheOldKey(t *testing.T) {
	s := newOffsetStore()
	old := []byte(`["c",{"b":2, "a":"x"}]`)
	s.apply(kafkalog.Record{Key: old, Value: []byte(`{"n":1}`)})
	p, err := connect.NewSourcePartition(map[string]any{"a": "x", "b": 2})
	must(t, err)
	if got := s.get("c", p); string(got) != `{"n":1}` {
		t.Errorf("found %s", got)
	}
	if got := s.entry("c", p, []byte("{}")); string(got.Key) != string(old) {
		t.Errorf("writes under %s", got.Key)
	}
	for _, junk := range []string{"", "x", "[]", `["c"]`, `[1,{}]`, `["c",[1]]`, `["c",{"a":{}}]`} {
		s.apply(kafkalog.Record{Key: []byte(junk), Value: []byte("{}")})
	}
	s.apply(kafkalog.Record{Key: old})
	if got := s.list("c"); len(got) != 0 {
		t.Errorf("left is %s", got)
	}
}

func FuzzInternalRecords(f *testing.F) {
	f.Add("connector-c", `{"properties":{"a":"b"}}`)
	f.Add("task-c-0", `{"properties":{"a":null}}`)
	f.Add("commit-c", `{"tasks":-1}`)
	f.Add("target-state-c", `{"state":"PAUSED"}`)
	f.Add("status-task-c-0", `{"state":"RUNNING"}`)
	f.Add("status-topic-t:connector-c", `{"topic":{}}`)
	f.Add(`["c",{"a":1}]`, `{}`)
	f.Fuzz(func(t *testing.T, key, value string) {
		state, statuses, offsets := newConfigState(), newStatusStore("me", nil), newOffsetStore()
		for _, v := range [][]byte{[]byte(`{"properties":{}}`), []byte(value), nil} {
			r := kafkalog.Record{Key: []byte(key), Value: v}
			state.apply(r)
			statuses.apply(r)
			offsets.apply(r)
		}
	})
}

func TestConfigStateFollowsTheTopic(t *testing.T) {
	s := newConfigState()
	put := func(entries ...kafkalog.Entry) {
		for _, e := range entries {
			s.apply(kafkalog.Record{Key: e.Key, Value: e.Value})
		}
	}
	one, two := connect.Config{"v": "1"}, connect.Config{"v": "2"}
	tasks := func() int { return len(s.connectors["c"].tasks) }
	put(commitEntry("c", 1))
	if s.connectors["c"] != nil {
		t.Error("a commit alone makes no connector")
	}
	put(connectorEntry("c", one), taskEntry(TaskID{"c", 0}, one))
	if tasks() != 0 {
		t.Error("tasks count before their commit")
	}
	put(commitEntry("c", 1))
	if tasks() != 1 || s.connectors["c"].applied["v"] != "1" || !s.connectors["c"].unfenced {
		t.Errorf("after the commit: %+v", s.connectors["c"])
	}
	put(connectorEntry("c", two), taskEntry(TaskID{"c", 1}, two), commitEntry("c", 2))
	if c := s.connectors["c"]; !c.inconsistent || tasks() != 1 {
		t.Errorf("a commit of tasks that were not written: %+v", c)
	}
	put(taskEntry(TaskID{"c", 0}, two), taskEntry(TaskID{"c", 1}, two), commitEntry("c", 2))
	if c := s.connectors["c"]; c.inconsistent || tasks() != 2 {
		t.Errorf("a consistent commit: %+v", c)
	}
	before := s.connectors["c"].commits
	put(taskEntry(TaskID{"c", 0}, two))
	put(deleteEntries("c")...)
	put(connectorEntry("c", one), commitEntry("c", 1))
	if c := s.connectors["c"]; !c.inconsistent || len(c.tasks) != 0 || c.commits == before {
		t.Errorf("tasks of a former connector came back: %+v", c)
	}
	put(commitEntry("c", 0), targetEntry("c", Stopped), fencingEntry("c", 0))
	if s.target("c") != Stopped || s.connectors["c"].unfenced {
		t.Error("target state or fencing is lost")
	}
	s.apply(kafkalog.Record{Key: []byte("target-state-c"), Value: []byte(`{"state":"PAUSED"}`)})
	if s.target("c") != Paused {
		t.Error("an older worker's target state is not read")
	}
}

func TestStandaloneKeepsItsOffsetsInAFile(t *testing.T) {
	l := newLab(t)
	file := filepath.Join(t.TempDir(), "data", "offsets")
	standalone := func(count string) *rig {
		return l.start(connect.Config{
			"group.id": "", "config.storage.topic": "", "offset.storage.topic": "", "status.storage.topic": "",
			"offset.storage.file.filename": file,
		}, func(o *Options) {
			o.Standalone = true
			o.Connectors = []CreateRequest{{Name: "c", Config: counter("numbers", "count", count)}}
		})
	}
	w := standalone("50")
	wait(t, "all is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":50}` })
	w.waitState("c", "RUNNING RUNNING")
	w.stop()
	w = standalone("80")
	wait(t, "the rest is safe", func() bool { return l.lastSafe("c") == `{"part":"0"}{"n":80}` })
	w.stop()
	if got := l.values("numbers"); !same(got, numbers(1, 80)) {
		t.Errorf("%d values", len(got))
	}
	must(t, os.WriteFile(file, []byte("\xac\xed\x00\x05java"), 0o600))
	if _, err := openFile(file, func(kafkalog.Record) {}); err == nil || !strings.Contains(err.Error(), "Java's own format") {
		t.Errorf("a Java file: %v", err)
	}
}
