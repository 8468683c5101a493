package rest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/rest"
	"github.com/tidemill/tidemill/streams/sql"
)

// events reads Server-Sent Events until the last one that is wanted; each is its kind and data.
// It returns the last id. Rows that come together come in any order.
func events(t *testing.T, base, query, after string, want ...string) (id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", base+"/subscribe?query="+url.QueryEscape(query), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Last-Event-ID", after)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if media := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || media != "text/event-stream" {
		t.Fatal(resp.StatusCode, media)
	}
	var got []string
	kind, data := "", ""
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			kind = value
		case "data":
			data = value
		case "id":
			id = value
		case "":
			got = append(got, strings.TrimSuffix(kind+" "+data, " {}"))
			if len(got) < len(want) {
				continue
			}
			for _, all := range [][]string{got, want} {
				slices.Sort(all[1 : len(all)-1])
			}
			if !slices.Equal(got, want) {
				t.Errorf("the events of %s after %q are\n%s\nand should be\n%s", query, after, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			return id
		}
	}
	t.Fatalf("the events of %s after %q end with %v; wanted are %v", query, after, got, want)
	return ""
}

// A page follows a table: the rows there are, then every change; and again from where it was.
func TestSubscribe(t *testing.T) {
	engine := openEngine(t)
	open := func() string { return serve(t, nil, func(o *rest.Options) { o.SQL = engine }) }
	base := open()
	run := func(statement string) {
		t.Helper()
		if got := post(t, base+"/ksql", fmt.Sprintf(`{"ksql":%q}`, statement)); !strings.HasPrefix(got, "200 [") {
			t.Fatal(statement, got)
		}
	}
	run("CREATE STREAM sub_in (id INT KEY, city STRING, price DOUBLE) WITH (KAFKA_TOPIC='sub_in', FORMAT='JSON', PARTITIONS=1);")
	run("CREATE TABLE sub_cities AS SELECT city, COUNT(*) AS n, SUM(price) AS total FROM sub_in GROUP BY city HAVING COUNT(*) < 3 EMIT CHANGES;")
	run("INSERT INTO sub_in VALUES (1, 'Basel', 2.5); INSERT INTO sub_in VALUES (2, 'Bern', 1);")
	table, stream := "SELECT * FROM sub_cities EMIT CHANGES", "SELECT id, city FROM sub_in WHERE id > 2 EMIT CHANGES"
	columns := `begin {"table":true,"columns":[{"name":"CITY","type":"STRING","key":true},{"name":"N","type":"BIGINT","key":false},{"name":"TOTAL","type":"DOUBLE","key":false}]}`
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(20 * time.Millisecond); strings.Count(post(t, base+"/query", `{"ksql":"SELECT * FROM sub_cities;"}`), `{"row"`) < 2; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the table has no rows")
		}
	}
	whole := []string{columns, "reset", `row {"CITY":"Basel","N":1,"TOTAL":2.5}`, `row {"CITY":"Bern","N":1,"TOTAL":1.0}`, "current"}
	at := events(t, base, table, "", whole...)
	ofStream := `begin {"table":false,"columns":[{"name":"ID","type":"INTEGER","key":true},{"name":"CITY","type":"STRING","key":false}]}`
	streamAt := events(t, base, stream, "", ofStream, "current")

	run("INSERT INTO sub_in VALUES (3, 'Basel', 1);")
	events(t, base, table, at, columns, `row {"CITY":"Basel","N":2,"TOTAL":3.5}`)
	first := events(t, base, stream, streamAt, ofStream, `row {"ID":3,"CITY":"Basel"}`)
	run("INSERT INTO sub_in VALUES (4, 'Basel', 1); INSERT INTO sub_in VALUES (5, 'Genf', 0);")
	missed := []string{columns, `row {"CITY":"Basel","N":2,"TOTAL":3.5}`, `delete {"CITY":"Basel"}`, `row {"CITY":"Genf","N":1,"TOTAL":0.0}`}
	events(t, base, table, at, missed...)

	// Another worker has seen nothing of it.
	base = open()
	events(t, base, table, at, columns, "reset", `row {"CITY":"Bern","N":1,"TOTAL":1.0}`, `row {"CITY":"Genf","N":1,"TOTAL":0.0}`, "current")
	events(t, base, stream, first, ofStream, `row {"ID":4,"CITY":"Basel"}`, `row {"ID":5,"CITY":"Genf"}`)
	for query, want := range map[string]string{
		"SELECT n FROM sub_cities EMIT CHANGES":            "sql.key_missing",
		"SELECT * FROM sub_cities":                         "sql.use_follow",
		"SELECT * FROM sub_cities EMIT CHANGES LIMIT 1":    "sql.bad_clause",
		"SELECT * FROM nowhere EMIT CHANGES":               "sql.unknown_source",
		"DROP TABLE sub_cities":                            "sql.use_follow",
		"SELECT * FROM sub_in EMIT CHANGES; DROP TABLE x;": "sql.syntax",
	} {
		resp, err := http.Get(base + "/subscribe?query=" + url.QueryEscape(query))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if err := engine.Follow(t.Context(), sql.Request{Text: query}, nil, nil); resp.StatusCode != http.StatusBadRequest || codeOf(err) != want {
			t.Errorf("%s is answered with %d and %v, and should be with 400 and %s", query, resp.StatusCode, err, want)
		}
	}
}

func codeOf(err error) string {
	if fault, ok := errors.AsType[*sql.Error](err); ok {
		return fault.Code
	}
	return fmt.Sprint(err)
}
