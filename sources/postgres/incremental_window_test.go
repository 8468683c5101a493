package postgres

import (
	"reflect"
	"testing"
)

// TestSnapshotSees takes numbers of transactions around the ends of epochs.
func TestSnapshotSees(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text   string
		seen   []uint32
		unseen []uint32
	}{
		{"100:110:103,105", []uint32{3, 99, 100, 104, 109}, []uint32{103, 105, 110, 111, 1000}},
		{"727:727:", []uint32{726}, []uint32{727, 728}},
		{"4294967290:4294967300:4294967292,4294967298", []uint32{4294967289, 4294967295, 3}, []uint32{4294967292, 2, 4, 5}},
		{"12884901888:12884901898:12884901890", []uint32{4294967295, 1, 9}, []uint32{2, 10, 100}},
	} {
		p, err := parseSnapshot(c.text)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range c.seen {
			if !p.sees(x) {
				t.Errorf("%s does not see %d", c.text, x)
			}
		}
		for _, x := range c.unseen {
			if p.sees(x) {
				t.Errorf("%s sees %d", c.text, x)
			}
		}
	}
	for _, bad := range []string{"", "1", "1:2", "a:2:", "1:b:", "1:2:x", "1:2:3:4"} {
		if _, err := parseSnapshot(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestOutdated decides about the rows of a chunk.
func TestOutdated(t *testing.T) {
	t.Parallel()
	seen, _ := parseSnapshot("10:20:15")
	k := func(s string) []string { return []string{"t" + s} }
	for name, c := range map[string]struct {
		rows    []string
		changes []touch
		keyless bool
		drop    []int
		again   [][]string
	}{
		"nothing":              {rows: []string{"a", "b"}},
		"seen":                 {rows: []string{"a"}, changes: []touch{{xid: 12, before: "a", after: "a"}}},
		"in progress":          {rows: []string{"a", "b"}, changes: []touch{{xid: 15, before: "b", after: "b"}}, drop: []int{1}},
		"later":                {rows: []string{"a", "b"}, changes: []touch{{xid: 20, before: "a"}}, drop: []int{0}},
		"another row":          {rows: []string{"a"}, changes: []touch{{xid: 20, before: "c", after: "c"}}},
		"partial":              {rows: []string{"a"}, changes: []touch{{xid: 20, before: "a", after: "a", partial: true, text: k("a")}}, drop: []int{0}, again: [][]string{k("a")}},
		"partial, then full":   {rows: []string{"a"}, changes: []touch{{xid: 20, before: "a", after: "a", partial: true, text: k("a")}, {xid: 21, before: "a", after: "a"}}, drop: []int{0}},
		"partial, then moved":  {rows: []string{"a"}, changes: []touch{{xid: 20, before: "a", after: "a", partial: true, text: k("a")}, {xid: 21, before: "a", after: "b", partial: true, text: k("b")}}, drop: []int{0}, again: [][]string{k("b")}},
		"partial, then gone":   {rows: []string{"a"}, changes: []touch{{xid: 20, before: "a", after: "a", partial: true, text: k("a")}, {xid: 21, before: "a"}}, drop: []int{0}},
		"partial, other row":   {rows: []string{"a"}, changes: []touch{{xid: 20, before: "c", after: "c", partial: true, text: k("c")}}},
		"gone and made anew":   {rows: []string{"a"}, changes: []touch{{xid: 20, before: "a"}, {xid: 21, after: "a"}}, drop: []int{0}},
		"emptied":              {rows: []string{"a", "b"}, changes: []touch{{xid: 20, emptied: true}}, drop: []int{0, 1}},
		"emptied before":       {rows: []string{"a", "b"}, changes: []touch{{xid: 11, emptied: true}}},
		"one of equal rows":    {rows: []string{"a", "a"}, changes: []touch{{xid: 20, before: "a"}}, keyless: true, drop: []int{0}},
		"keyless, an addition": {rows: []string{"a"}, changes: []touch{{xid: 20, after: "a", before: "z"}}, keyless: true},
	} {
		drop, again := outdated(c.rows, c.changes, &seen, !c.keyless)
		if len(drop) != len(c.drop) {
			t.Errorf("%s: dropped %v, want %v", name, drop, c.drop)
		}
		for _, i := range c.drop {
			if !drop[i] {
				t.Errorf("%s: dropped %v, want %v", name, drop, c.drop)
			}
		}
		if !reflect.DeepEqual(again, c.again) {
			t.Errorf("%s: again %v, want %v", name, again, c.again)
		}
	}
}
