package streams

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/clock"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
)

// timed is a world with an application that writes, for each record it reads, the time of
// the stream, with the time of the record. Records without a valid time have that of the
// partition.
type timed struct {
	*world
	app  App
	now  int64 // what the records' times are counted from
	read string
}

func newTimed(t *testing.T, name string, eos bool) *timed {
	w := &timed{world: newWorld(t), read: name + "-in", now: time.Now().UnixMilli()}
	if err := w.client.Delete(w.ctx, name+"-in", name+"-out"); err != nil {
		t.Fatal(err)
	}
	w.create(name+"-in", 1)
	w.create(name+"-out", 1)
	b := NewBuilder()
	in := From(b, name+"-in", serde.Text{}, serde.Text{}, With{Timestamps: clock.PartitionTime})
	Process(in, func(c *Context[string, int64]) (func(*Record[string, string]) error, error) {
		return func(r *Record[string, string]) error {
			return c.Forward(&Record[string, int64]{Key: r.Key, Value: c.StreamTime(), Time: r.Time})
		}, nil
	}).To(name+"-out", serde.Text{}, serde.Int64{})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	w.app = App{ID: name, Topology: topology, ExactlyOnce: eos, CommitInterval: 20 * time.Millisecond}
	return w
}

// noTime stands for no valid time.
const noTime = -1 << 40

// at writes a record of a time after the beginning.
func (w *timed) at(ms int64) {
	w.t.Helper()
	r := &kgo.Record{Topic: w.read, Key: []byte("k"), Value: []byte("v"), Timestamp: time.UnixMilli(w.now + ms)}
	if ms == noTime {
		r.Timestamp = time.UnixMilli(-1)
	}
	if err := w.client.Produce(w.ctx, r); err != nil {
		w.t.Fatal(err)
	}
}

// gives waits for what comes out: each record's time, and that of the stream.
func (w *timed) gives(want string) {
	w.t.Helper()
	got := ""
	defer func() {
		if w.t.Failed() {
			w.t.Logf("the output is %s, want %s", got, want)
		}
	}()
	w.wait("the output", func() bool {
		got = ""
		err := w.client.Read(w.ctx, w.app.ID+"-out", topics.ToEnd, func(r *kgo.Record) (bool, error) {
			got += fmt.Sprintf("%d<%d ", r.Timestamp.UnixMilli()-w.now, int64(binary.BigEndian.Uint64(r.Value))-w.now)
			return true, nil
		})
		if err != nil {
			w.t.Fatal(err)
		}
		return len(strings.Fields(got)) >= len(strings.Fields(want))
	})
	if strings.TrimSpace(got) != want {
		w.t.Error("another time")
	}
}

// TestTimeGoesOn wants records that are late to be late also for whoever reads on: after
// an orderly stop, after a crash between the offsets and the local state, with that state
// lost, and when another process takes over. A record without a time needs the partition's.
func TestTimeGoesOn(t *testing.T) {
	for name, eos := range guarantees {
		kind := "time-" + strings.ReplaceAll(name, " ", "-")
		t.Run(name+", stopped", func(t *testing.T) {
			w, dir := newTimed(t, kind+"-stopped", eos), t.TempDir()
			w.goesOn(func() func() *running {
				e := w.start(dir, w.app)
				return func() *running { e.end(); return w.start(dir, w.app) }
			})
		})
		t.Run(name+", crashed", func(t *testing.T) {
			w := newTimed(t, kind+"-crashed", eos)
			again := func(e *Engine) { e.instance = "again" }
			w.goesOn(func() func() *running {
				died := make(chan struct{})
				var once sync.Once
				e := w.start(t.TempDir(), w.app, again, func(e *Engine) {
					e.crash = func(at string) error {
						if at != "offsets committed" {
							return nil
						}
						once.Do(func() { close(died) })
						return errCrash
					}
				})
				return func() *running { <-died; e.end(); return w.start(t.TempDir(), w.app, again) }
			})
		})
		t.Run(name+", taken over", func(t *testing.T) {
			w := newTimed(t, kind+"-taken", eos)
			w.goesOn(func() func() *running {
				first := w.start(t.TempDir(), w.app)
				return func() *running {
					second := w.start(t.TempDir(), w.app)
					w.wait("another member", func() bool {
						members, err := w.client.Members(w.ctx, w.app.ID)
						return err == nil && len(members) == 2
					})
					first.end()
					return second
				}
			})
		})
	}
}

// goesOn starts the application, hands it over, and compares the times.
func (w *timed) goesOn(start func() (handOver func() *running)) {
	w.t.Helper()
	w.at(0)
	handOver := start()
	w.gives("0<0")
	e := handOver()
	w.at(noTime)
	w.at(-9000)
	w.at(5)
	w.gives("0<0 0<0 -9000<0 5<5")
	e.end()
}

// TestTimeOfOthers begins where Kafka Streams has left off, with its time, and passes over
// what others have noted.
func TestTimeOfOthers(t *testing.T) {
	for name, c := range map[string]struct {
		note func(ms int64) string
		want string
	}{
		"kafka streams": {timeNote, "-9000<0"},
		"somebody":      {func(int64) string { return "consumer-1-0a4c" }, "-9000<-9000"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTimed(t, "time-of-"+strings.ReplaceAll(name, " ", "-"), true)
			w.at(0)
			cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			commit := kadm.Offsets{}
			commit.Add(kadm.Offset{Topic: w.read, At: 1, LeaderEpoch: -1, Metadata: c.note(w.now)})
			if err := kadm.NewClient(cl).CommitAllOffsets(w.ctx, w.app.ID, commit); err != nil {
				t.Fatal(err)
			}
			w.at(-9000)
			told := &ears{}
			e := w.start(t.TempDir(), w.app, func(e *Engine) { e.cfg.Logger = slog.New(slog.NewTextHandler(told, nil)) })
			w.gives(c.want)
			e.end()
			if warned := strings.Contains(told.String(), w.read+"-0"); warned != (name == "somebody") {
				t.Errorf("a warning: %v", warned)
			}
		})
	}
}

// TestTimeNote reads and writes what Kafka Streams does, the notes of its operators left
// out.
func TestTimeNote(t *testing.T) {
	if got := timeNote(1_700_000_000_000); got != "AgAAAYvP5WgA" {
		t.Errorf("noted as %s", got)
	}
	for note, want := range map[string]int64{
		"": -1, "AgAAAYvP5WgA": 1_700_000_000_000, "AQAAAYvP5WgA": 1_700_000_000_000, "Av//////////": -1,
		"AgAAAYvP5WgAAAAAAQAAAANrZXkAAAAAAAAABQ==": 1_700_000_000_000,
	} {
		if ms, ok := readTimeNote(note); !ok || ms != want {
			t.Errorf("%q is read as %d, %v", note, ms, ok)
		}
	}
	for _, note := range []string{"AwAAAYvP5WgA", "AAAAAYvP5WgA", "AgAAAYvP5Q==", "tidemill-epoch:7:3", "0a4c"} {
		if ms, ok := readTimeNote(note); ok || ms != -1 {
			t.Errorf("%q is read as %d, %v", note, ms, ok)
		}
	}
}

// TestTimeGoesBack undoes what was not committed: a record without a time that comes again
// has the time it had.
func TestTimeGoesBack(t *testing.T) {
	tk, _, _ := twoTopics(t)
	a := tk.queues[0]
	a.push(at(10, 0, "a10"), 1)
	process(t, tk)
	tk.committed()
	a.push(at(30, 1, "a30"), 2)
	process(t, tk)
	if a.timer.high != 30 || tk.streamTime != 30 {
		t.Fatalf("the time is %d in the partition and %d in the task", a.timer.high, tk.streamTime)
	}
	a.push(at(50, 2, "a50"), 4) // It waits, and its time does not count yet.
	if ready, err := a.ready(tk); !ready || err != nil || a.timer.high != 30 {
		t.Fatalf("with a record that waits, the time is %d: %v, %v", a.timer.high, ready, err)
	}
	tk.discard()
	if a.timer.high != 10 || tk.streamTime != 10 {
		t.Errorf("undone, the time is %d in the partition and %d in the task", a.timer.high, tk.streamTime)
	}
}
