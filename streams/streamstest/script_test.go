package streamstest_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/streamstest"
)

// feed puts records into a topic that are written as key=value@time, with ∅ for what
// is null. The time may be missing, and is one more than the last then.
func feed(t *testing.T, d *streamstest.Driver, topic, script string) {
	t.Helper()
	in := streamstest.In(d, topic, text{}, num{})
	last := int64(-1)
	for _, word := range strings.Fields(script) {
		kv, at, timed := strings.Cut(word, "@")
		key, value, ok := strings.Cut(kv, "=")
		r := streams.Record[string, int64]{Time: last + 1}
		var err error
		if timed {
			r.Time, err = strconv.ParseInt(at, 10, 64)
		}
		if key == "∅" {
			r.NoKey = true
		} else {
			r.Key = key
		}
		if value == "∅" {
			r.NoValue = true
		} else if err == nil {
			r.Value, err = strconv.ParseInt(value, 10, 64)
		}
		if !ok || err != nil {
			t.Fatalf("%q is no record: %v", word, err)
		}
		last = r.Time
		in.Record(r)
	}
}

// told writes records as feed reads them.
func told[V any](rs []streams.Record[string, V]) string {
	var out []string
	for _, r := range rs {
		key, value := r.Key, fmt.Sprint(r.Value)
		if r.NoKey {
			key = "∅"
		}
		if r.NoValue {
			value = "∅"
		}
		out = append(out, fmt.Sprintf("%s=%s@%d", key, value, r.Time))
	}
	return strings.Join(out, " ")
}

// gives compares what a topic has got since the last look.
func gives(t *testing.T, d *streamstest.Driver, topic, want string) {
	t.Helper()
	if got := told(streamstest.Out(d, topic, text{}, num{}).Read()); got != want {
		t.Errorf("topic %s got %q, want %q", topic, got, want)
	}
}

// mixed is an input with everything that is unusual: records out of order, without
// key, without value, and of the same time.
const mixed = "a=1@10 b=2@5 ∅=3@7 a=∅@8 c=0@10 ∅=∅@20 b=5@1"

// put is feed for a Local, without processing.
func put(t *testing.T, local *streams.Local, topic, script string) {
	t.Helper()
	for _, word := range strings.Fields(script) {
		kv, at, _ := strings.Cut(word, "@")
		key, value, _ := strings.Cut(kv, "=")
		ms, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		v, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		bytes, _ := num{}.Append(nil, v)
		if err := local.Put(topic, []byte(key), bytes, ms); err != nil {
			t.Fatal(err)
		}
	}
}

// taken is what a Local wrote to a topic, as feed reads it.
func taken(t *testing.T, local *streams.Local, topic string) string {
	t.Helper()
	var rs []streams.Record[string, int64]
	for _, r := range local.Take(topic) {
		v, err := num{}.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		rs = append(rs, streams.Record[string, int64]{Key: string(r.Key), Value: v, Time: r.Timestamp.UnixMilli()})
	}
	return told(rs)
}

// runScript runs a topology from topic in to topic out over records put in one by one,
// until one of them ends it, and returns the error.
func runScript(t *testing.T, topology *streams.Topology, script, want string) error {
	t.Helper()
	local, err := streams.NewLocal(topology, "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(script) {
		put(t, local, "in", word)
		if err = local.Commit(); err != nil {
			break
		}
	}
	if got := taken(t, local, "out"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	return err
}
