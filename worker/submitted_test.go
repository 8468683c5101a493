package worker

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemill/tidemill/connect"
)

func part(name string) connect.SourcePartition {
	p, err := connect.NewSourcePartition(map[string]any{"p": name})
	if err != nil {
		panic(err)
	}
	return p
}

func at(n int) connect.Offset { return connect.OffsetMap{"n": n} }

func positions(s *submitted) map[string]string {
	got := map[string]string{}
	for _, p := range s.committable(nil) {
		got[p.partition.JSON()] = string(p.offset.AppendJSON(nil))
	}
	return got
}

func TestSubmittedReachesOnlyWithoutGaps(t *testing.T) {
	a, b := part("a"), part("b")
	for _, tt := range []struct {
		name   string
		finish []int // Numbers of a1 b1 a2 a3 b2, from 0.
		want   map[string]string
	}{
		{"nothing", nil, map[string]string{}},
		{"a gap at the head", []int{2, 3}, map[string]string{}},
		{"the first", []int{0}, map[string]string{a.JSON(): `{"n":0}`}},
		{"a gap in the middle", []int{0, 3}, map[string]string{a.JSON(): `{"n":0}`}},
		{"out of order", []int{3, 2, 0}, map[string]string{a.JSON(): `{"n":3}`}},
		{"partitions by themselves", []int{4, 1, 2}, map[string]string{b.JSON(): `{"n":4}`}},
		{"all", []int{4, 3, 2, 1, 0}, map[string]string{a.JSON(): `{"n":3}`, b.JSON(): `{"n":4}`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSubmitted()
			var tickets []ticket
			for i, p := range []connect.SourcePartition{a, b, a, a, b} {
				tickets = append(tickets, s.add(p, at(i)))
			}
			for _, i := range tt.finish {
				s.finish(tickets[i])
			}
			if got := positions(s); !maps.Equal(got, tt.want) {
				t.Fatalf("reached %v, want %v", got, tt.want)
			}
			if got := s.unfinished(); got != 5-len(tt.finish) {
				t.Fatalf("%d unfinished", got)
			}
			if again := positions(s); len(again) != 0 {
				t.Fatalf("told twice: %v", again)
			}
		})
	}
}

// TestSubmittedAgainstAModel compares with the plainest way to say it: the longest
// prefix of finished records of each partition.
func TestSubmittedAgainstAModel(t *testing.T) {
	type sent struct {
		lane, n int
		ticket  ticket
		done    bool
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := newSubmitted()
		var all []*sent
		reached := map[int]int{} // The model's answer when last asked.
		asked := map[int]int{}
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				for range rapid.IntRange(1, 600).Draw(rt, "count") {
					r := &sent{lane: rapid.IntRange(0, 2).Draw(rt, "lane"), n: len(all)}
					r.ticket = s.add(part(fmt.Sprint(r.lane)), at(r.n))
					all = append(all, r)
				}
			},
			"finish": func(rt *rapid.T) {
				for range rapid.IntRange(1, 600).Draw(rt, "count") {
					if len(all) == 0 {
						return
					}
					if r := all[rapid.IntRange(0, len(all)-1).Draw(rt, "which")]; !r.done {
						r.done = true
						s.finish(r.ticket)
					}
				}
			},
			"ask": func(rt *rapid.T) {
				blocked := map[int]bool{}
				for _, r := range all {
					if !r.done {
						blocked[r.lane] = true
					}
					if !blocked[r.lane] {
						reached[r.lane] = r.n + 1
					}
				}
				want := map[string]string{}
				for lane, n := range reached {
					if n != asked[lane] {
						want[part(fmt.Sprint(lane)).JSON()] = fmt.Sprintf(`{"n":%d}`, n-1)
					}
				}
				if got := positions(s); !maps.Equal(got, want) {
					rt.Fatalf("reached %v, want %v", got, want)
				}
				asked = maps.Clone(reached)
			},
		})
	})
}
