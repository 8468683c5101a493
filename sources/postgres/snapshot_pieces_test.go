package postgres

import (
	"fmt"
	"strings"
	"testing"
)

func TestPieces(t *testing.T) {
	for _, c := range []struct {
		pages  int64
		whole  bool
		shares int
		want   string
	}{
		{0, false, 2, ""},
		{1, false, 2, ""},
		{64, false, 4, ""},
		{65, false, 1, ""},
		{65, false, 2, "ctid < '(64,0)' | ctid >= '(64,0)'"},
		{700, false, 2, "ctid < '(350,0)' | ctid >= '(350,0)'"},
		{700, true, 2, ""},
		{180, false, 100, "ctid < '(64,0)' | ctid >= '(64,0)' AND ctid < '(128,0)' | ctid >= '(128,0)'"},
		{2048, false, 1, ""},
		{4097, false, 1, "ctid < '(2048,0)' | ctid >= '(2048,0)' AND ctid < '(4096,0)' | ctid >= '(4096,0)'"},
		{5000, false, 0, "ctid < '(2048,0)' | ctid >= '(2048,0)' AND ctid < '(4096,0)' | ctid >= '(4096,0)'"},
	} {
		h := &heap{pages: c.pages, whole: c.whole}
		step := cut(h, c.shares)
		var got []string
		next, covered := int64(0), false
		for i := range pieces(h, step) {
			s := h.at(i, step)
			if s.from != next || covered {
				t.Errorf("%+v: piece %d begins at %d behind %d", c, i, s.from, next)
			}
			next, covered = s.to, s.to < 0
			got = append(got, s.condition())
		}
		if text := strings.Join(got, " | "); text != c.want || !covered {
			t.Errorf("%+v: %s (to the end: %v)", c, text, covered)
		}
	}
	// The largest table that there can be.
	h := &heap{pages: 1<<32 - 1}
	step := cut(h, 2)
	if n := pieces(h, step); n != 1<<21 || h.at(n-1, step).to != -1 || h.at(n-2, step).to != h.at(n-1, step).from {
		t.Errorf("%d pieces of %d", n, step)
	}
}

func TestSelectFrom(t *testing.T) {
	h := &heap{name: tableName{"s", `a "b"`}, kind: 'r', pages: 600}
	for want, p := range map[string]piece{
		`FROM ONLY "s"."a ""b"""`:                                   {table: &snapshotTable{}, heap: h, span: span{0, -1}},
		`FROM ONLY "s"."a ""b""" WHERE ctid < '(7,0)'`:              {table: &snapshotTable{}, heap: h, span: span{0, 7}},
		`FROM ONLY "s"."a ""b""" WHERE (n > 1)`:                     {table: &snapshotTable{filter: "(n > 1)"}, heap: h, span: span{0, -1}},
		`FROM ONLY "s"."a ""b""" WHERE ctid >= '(7,0)' AND (n > 1)`: {table: &snapshotTable{filter: "(n > 1)"}, heap: h, span: span{7, -1}},
		fmt.Sprintf(`FROM "s".%s`, `"root"`):                        {table: &snapshotTable{}, heap: &heap{name: tableName{"s", "root"}, kind: 'p'}, span: span{0, -1}},
	} {
		if got := p.selectFrom(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
