package streamstest_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/streamstest"
)

// dated is a key with a time behind it, whose rows are kept for a minute.
type dated struct {
	key string
	ms  int64
}

type datedKeys struct{}

func (datedKeys) Append(dst []byte, k dated) ([]byte, error) {
	return state.AppendWindowKey(dst, []byte(k.key), k.ms, 0), nil
}

func (datedKeys) Decode(b []byte) (dated, error) {
	key, ms, _, ok := state.SplitWindowKey(b)
	if !ok {
		return dated{}, fmt.Errorf("%q is no key with a time", b)
	}
	return dated{string(key), ms}, nil
}

func (datedKeys) StoreLayout() state.Spec {
	return state.Spec{Form: state.WindowKeys, Retention: time.Minute, Segment: time.Second}
}

// sums keeps one row for each key and second, and the highest time in its memory.
type sums struct {
	rows *streams.Rows[dated, int64]
	last int64
	rec  streams.Record[dated, streams.Change[int64]]
}

func newSums(rows *streams.Rows[dated, int64]) (func(*streams.Record[string, int64]) error, error) {
	s := &sums{rows: rows}
	return s.take, rows.Remember(func(note []byte) error {
		s.last = 0
		if note != nil {
			s.last = int64(binary.BigEndian.Uint64(note))
		}
		return nil
	}, func(dst []byte) []byte { return binary.BigEndian.AppendUint64(dst, uint64(s.last)) })
}

func (s *sums) take(r *streams.Record[string, int64]) error {
	s.last = max(s.last, r.Time)
	s.rec.Key, s.rec.Time = dated{r.Key, s.last / 1000 * 1000}, r.Time
	key, err := s.rows.Key(s.rec.Key)
	if err != nil {
		return err
	}
	old, _, had, err := s.rows.Load(key)
	if err != nil {
		return err
	}
	s.rec.Value = streams.Change[int64]{Old: old, HasOld: had, New: old + r.Value, HasNew: true}
	return s.rows.Update(key, &s.rec, true)
}

// TestDerive derives a table whose rows expire, through restarts with and without its
// store: memory, rows and what is downstream of them stay as they were.
func TestDerive(t *testing.T) {
	for _, uncached := range []bool{false, true} {
		b := streams.NewBuilder()
		table := streams.Derive(streams.From(b, "in", text{}, num{}), newSums, datedKeys{}, num{}, streams.With{Store: "sums", Uncached: uncached})
		total := streams.GroupTable(table, func(k dated, v int64) (string, int64) { return k.key, v }, text{}, num{}).Count(streams.With{Store: "rows"})
		d := build(t, b)
		in := streamstest.In(d, "in", text{}, num{})
		check := func(step, want string) {
			t.Helper()
			if got := fmt.Sprint(streamstest.Table(d, table)); got != want {
				t.Errorf("uncached %v, after %s: %s, want %s", uncached, step, got, want)
			}
		}
		in.At(1500, "a", 1)
		in.At(1700, "a", 2)
		in.At(2500, "b", 5)
		check("the first", "map[{a 1000}:3 {b 2000}:5]")
		for i, wipe := range []bool{false, true} {
			d.Restart(wipe)
			in.At(0, "a", 1) // Late: the memory says when.
			check("a restart", fmt.Sprintf("map[{a 1000}:3 {a 2000}:%d {b 2000}:5]", i+1))
		}
		if got := fmt.Sprint(streamstest.Table(d, total)); got != "map[a:2 b:1]" {
			t.Errorf("counted rows %s", got)
		}
		in.At(200_000, "a", 7)
		check("the others have expired", "map[{a 200000}:7]")
		if got := fmt.Sprint(streamstest.Table(d, total)); got != "map[a:3 b:1]" {
			t.Errorf("what expired is told to nobody, but counted rows %s", got)
		}
	}
}
