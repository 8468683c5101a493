package sql

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemill/tidemill/streams/topics"
)

// TestAggregatesFollowTheTable changes a captured table at random, with rows that
// move between groups, vanish, come back and arrive twice, and compares the derived
// table with the aggregates of the rows there are.
func TestAggregatesFollowTheTable(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := newCluster(t)
		e := engineOn(t, c, &memoryLog{}, nil)
		_, err := e.Execute(t.Context(), Request{Text: `
			CREATE TABLE src (id INT PRIMARY KEY, grp STRING, n INT) WITH (CDC='src', FORMAT='JSON', PARTITIONS=1);
			CREATE TABLE agg AS SELECT grp, COUNT(*) AS rows, COUNT(n) AS some, SUM(n) AS total FROM src WHERE id <> 3 GROUP BY grp EMIT CHANGES;
			CREATE TABLE big AS SELECT grp, SUM(n) AS total FROM src GROUP BY grp HAVING SUM(n) > 4 EMIT CHANGES;`})
		if err != nil {
			rt.Fatal(err)
		}
		rows := map[int]string{}
		for range rapid.IntRange(1, 25).Draw(rt, "changes") {
			id := rapid.IntRange(1, 4).Draw(rt, "id")
			after, op := "null", "d"
			if rapid.IntRange(0, 3).Draw(rt, "delete") > 0 {
				grp := rapid.SampledFrom([]string{`"a"`, `"b"`, "null"}).Draw(rt, "group")
				n := rapid.SampledFrom([]string{"1", "2", "5", "null"}).Draw(rt, "n")
				after, op = fmt.Sprintf(`{"id":%d,"grp":%s,"n":%s}`, id, grp, n), rapid.SampledFrom([]string{"c", "u", "r"}).Draw(rt, "op")
				rows[id] = grp + " " + n
			} else {
				delete(rows, id)
			}
			for range rapid.IntRange(1, 2).Draw(rt, "times") {
				err := c.Produce(t.Context(), &topics.Record{Topic: "src", Key: fmt.Appendf(nil, `{"id":%d}`, id),
					Value: fmt.Appendf(nil, `{"before":null,"after":%s,"op":"%s"}`, after, op), Timestamp: c.at()})
				if err != nil {
					rt.Fatal(err)
				}
			}
		}
		for text, want := range map[string][]string{"SELECT * FROM agg;": wanted(rows, false), "SELECT * FROM big;": wanted(rows, true)} {
			a := &answer{}
			if _, err := e.Query(t.Context(), Request{Text: text}, a); err != nil {
				rt.Fatal(err)
			}
			if got := a.out[1:]; !slices.Equal(got, want) {
				rt.Fatalf("%s gives %v, the rows %v make %v", text, got, rows, want)
			}
		}
	})
}

// wanted aggregates rows the plain way.
func wanted(rows map[int]string, having bool) []string {
	type group struct{ rows, some, total int }
	groups := map[string]*group{}
	for id, row := range rows {
		grp, n, _ := strings.Cut(row, " ")
		if grp == "null" || id == 3 && !having {
			continue
		}
		if groups[grp] == nil {
			groups[grp] = &group{}
		}
		g := groups[grp]
		g.rows++
		if n != "null" {
			g.some++
			g.total += int(n[0] - '0')
		}
	}
	out := []string{}
	for grp, g := range groups {
		switch {
		case !having:
			out = append(out, fmt.Sprintf("[%s,%d,%d,%d]", grp, g.rows, g.some, g.total))
		case g.total > 4:
			out = append(out, fmt.Sprintf("[%s,%d]", grp, g.total))
		}
	}
	sort.Strings(out)
	return out
}
