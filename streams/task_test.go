package streams

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/serde"
)

// twoTopics is a task that reads topics a and b and notes what it processes.
func twoTopics(t *testing.T) (tk *task, clock *time.Time, seen *string) {
	t.Helper()
	b := NewBuilder()
	seen = new(string)
	From(b, "a", serde.Text{}, serde.Text{}).Merge(From(b, "b", serde.Text{}, serde.Text{})).
		Peek(func(r Record[string, string]) { *seen += r.Value + " " })
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLocal(topology, "app")
	if err != nil {
		t.Fatal(err)
	}
	now := time.UnixMilli(0)
	l.env.now, l.env.idle = func() time.Time { return now }, time.Second
	return l.tasks[0], &now, seen
}

func at(ms int64, offset int64, value string) []*kgo.Record {
	return []*kgo.Record{{Timestamp: time.UnixMilli(ms), Offset: offset, Value: []byte(value)}}
}

func process(t *testing.T, tk *task) {
	t.Helper()
	if _, err := tk.process(100); err != nil {
		t.Fatal(err)
	}
}

// TestOldestFirst wants the partitions' records merged by their time.
func TestOldestFirst(t *testing.T) {
	tk, _, seen := twoTopics(t)
	a, b := tk.queues[0], tk.queues[1]
	for i := range int64(3) {
		a.push(at(10*i, i, fmt.Sprint("a", 10*i)), 3)
		b.push(at(10*i+5, i, fmt.Sprint("b", 10*i+5)), 3)
	}
	process(t, tk)
	if *seen != "a0 b5 a10 b15 a20 b25 " {
		t.Errorf("processed %s", *seen)
	}
	if tk.streamTime != 25 {
		t.Errorf("the stream time is %d", tk.streamTime)
	}
}

// TestWaitsForTheOther holds a record back while another partition is known to
// have some, and not for ever.
func TestWaitsForTheOther(t *testing.T) {
	tk, clock, seen := twoTopics(t)
	a, b := tk.queues[0], tk.queues[1]
	b.place(0, 5)
	a.push(at(10, 0, "a10"), 1)
	process(t, tk)
	if *seen != "" {
		t.Fatalf("processed %s while b had older ones", *seen)
	}
	b.push(at(3, 0, "b3"), 5)
	process(t, tk)
	if *seen != "b3 " {
		t.Fatalf("processed %q", *seen)
	}
	*clock = clock.Add(time.Second - 1)
	process(t, tk)
	if *seen != "b3 " {
		t.Fatalf("it did not wait long enough: %q", *seen)
	}
	*clock = clock.Add(1)
	process(t, tk)
	if *seen != "b3 a10 " || tk.env.metrics.Enforced.Load() != 1 {
		t.Fatalf("after the wait: %q, enforced %d", *seen, tk.env.metrics.Enforced.Load())
	}
	a.push(at(20, 1, "a20"), 2)
	process(t, tk)
	if *seen != "b3 a10 a20 " {
		t.Errorf("it waits again for an end that does not come: %q", *seen)
	}
}

// TestChangeSerde writes and reads the three forms of a change, and refuses what
// is none.
func TestChangeSerde(t *testing.T) {
	s := changeSerde[string]{serde.Text{}}
	for _, c := range []Change[string]{
		{New: "n", HasNew: true}, {Old: "old", HasOld: true}, {New: "new", Old: "o", HasNew: true, HasOld: true}, {HasNew: true, HasOld: true},
	} {
		b, err := s.Append([]byte("x"), c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Decode(b[1:]); err != nil || got != c {
			t.Errorf("%+v came back as %+v, %v", c, got, err)
		}
	}
	if b, _ := s.Append(nil, Change[string]{New: "new", Old: "o", HasNew: true, HasOld: true}); string(b) != "\x03newo\x02" {
		t.Errorf("both are written as %q", b)
	}
	for _, bad := range []string{"", "x\x03", "\x09ab\x02", "\x02"} {
		if c, err := s.Decode([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, c)
		}
	}
}

func FuzzChange(f *testing.F) {
	s := changeSerde[string]{serde.Text{}}
	f.Add([]byte("\x03newo\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := s.Decode(b)
		if err != nil {
			return
		}
		again, err := s.Append(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := s.Decode(again); err != nil || d != c {
			t.Fatalf("%+v came back as %+v, %v", c, d, err)
		}
	})
}
