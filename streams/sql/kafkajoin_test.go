package sql

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams/topics"
)

// TestJoinsAndWindowsOverKafka joins topics of several partitions, whose keys are written in
// different formats, and gathers rows in windows; the next process goes on with all of it.
func TestJoinsAndWindowsOverKafka(t *testing.T) {
	brokers, dir := devstack.TestKafka(t), t.TempDir()
	p := startProcess(t, brokers, dir)
	p.must(t, `
		CREATE TABLE people (id INT PRIMARY KEY, name STRING, city STRING) WITH (CDC='shop.people', FORMAT='JSON', PARTITIONS=3);
		CREATE TABLE places (city STRING PRIMARY KEY, land STRING) WITH (KAFKA_TOPIC='places', VALUE_FORMAT='JSON', PARTITIONS=2);
		CREATE TABLE quota (id INT PRIMARY KEY, most INT) WITH (KAFKA_TOPIC='quota', FORMAT='JSON', PARTITIONS=3);
		CREATE STREAM buys (no INT KEY, who INT, amount INT) WITH (KAFKA_TOPIC='buys', FORMAT='JSON', PARTITIONS=4);
		CREATE STREAM pays (no INT KEY, how STRING) WITH (KAFKA_TOPIC='pays', VALUE_FORMAT='JSON', PARTITIONS=2);
		CREATE STREAM backs (no INT KEY, why STRING) WITH (KAFKA_TOPIC='backs', FORMAT='JSON', PARTITIONS=2);
		CREATE TABLE spent AS SELECT p.name, SUM(b.amount) AS total FROM buys b JOIN people p ON b.who = p.id GROUP BY p.name;
		CREATE TABLE allowed AS SELECT q.id AS id, name, most FROM quota q JOIN people p ON q.id = p.id;
		CREATE TABLE lives AS SELECT p.id, name, land FROM people p LEFT JOIN places c ON p.city = c.city;
		CREATE TABLE paid AS SELECT how, COUNT(*) AS n, SUM(amount) AS total FROM buys b JOIN pays p WITHIN 1 HOUR ON b.no = p.no GROUP BY how;
		CREATE TABLE hourly AS SELECT who, COUNT(*) AS n FROM buys WINDOW TUMBLING (SIZE 1 HOUR) WHERE amount > 0 GROUP BY who;`)
	_, err := p.Execute(t.Context(), Request{Text: "CREATE STREAM bad AS SELECT b.no, why FROM buys b JOIN backs k WITHIN 1 HOUR ON b.no = k.no;"})
	if err == nil || !strings.Contains(err.Error(), "buys 4, backs 2") {
		t.Errorf("topics of 4 and of 2 partitions are joined: %v", err)
	}

	const people = 12
	put := func(topic, key, value string) {
		t.Helper()
		if err := p.client.Produce(t.Context(), &topics.Record{Topic: topic, Key: unlessDash(key), Value: unlessDash(value)}); err != nil {
			t.Fatal(err)
		}
	}
	var allowed, lives []string
	for i := range people {
		put("shop.people", fmt.Sprintf(`{"id":%d}`, i), fmt.Sprintf(`{"before":null,"after":{"id":%d,"name":"p%02d","city":"c%d"},"op":"c"}`, i, i, i%3))
		p.must(t, fmt.Sprintf("INSERT INTO quota VALUES (%d, %d);", i, 100*i))
		allowed = append(allowed, fmt.Sprintf(`[%d,"p%02d",%d]`, i, i, 100*i))
		land := `"l0"`
		if i%3 != 0 {
			land = "null"
		}
		lives = append(lives, fmt.Sprintf(`[%d,"p%02d",%s]`, i, i, land))
	}
	p.must(t, "INSERT INTO places VALUES ('c0', 'l0');")
	p.eventually(t, "SELECT * FROM allowed;", sorted(allowed)...)
	p.eventually(t, "SELECT * FROM lives;", sorted(lives)...)
	p.eventually(t, "SELECT name FROM allowed WHERE id = 7;", `["p07"]`)

	// A record meets the rows that are there when it comes: each person buys for nothing until
	// that shows.
	for i := range people {
		who := fmt.Sprintf("SELECT total FROM spent WHERE name = 'p%02d';", i)
		for len(p.answer(t, who)) == 0 {
			p.must(t, fmt.Sprintf("INSERT INTO buys VALUES (-1, %d, 0);", i))
		}
	}
	hour := time.Now().Add(-time.Hour).Truncate(time.Hour).UnixMilli()
	var spent, hourly []string
	for i := range people {
		for n := range 2 {
			p.must(t, fmt.Sprintf("INSERT INTO buys (ROWTIME, no, who, amount) VALUES (%d, %d, %d, %d);", hour+int64(i*60_000), 2*i+n, i, i+1))
		}
		p.must(t, fmt.Sprintf("INSERT INTO pays (ROWTIME, no, how) VALUES (%d, %d, '%s');", hour+int64(i*60_000)+1, 2*i, []string{"cash", "card"}[i%2]))
		spent = append(spent, fmt.Sprintf(`["p%02d",%d]`, i, 2*(i+1)))
		hourly = append(hourly, fmt.Sprintf(`[%d,%d,%d,2]`, i, hour, hour+3_600_000))
	}
	all := func() {
		t.Helper()
		p.eventually(t, "SELECT * FROM spent;", sorted(spent)...)
		p.eventually(t, "SELECT * FROM paid;", `["card",6,42]`, `["cash",6,36]`)
		p.eventually(t, "SELECT * FROM hourly;", sorted(hourly)...)
		p.eventually(t, fmt.Sprintf("SELECT n, WINDOWSTART FROM hourly WHERE who = 5 AND WINDOWSTART >= %d;", hour), fmt.Sprintf("[2,%d]", hour))
		p.eventually(t, fmt.Sprintf("SELECT n FROM hourly WHERE who = 5 AND WINDOWSTART > %d;", hour))
	}
	all()
	a := &answer{}
	if _, err := p.Query(t.Context(), Request{Text: "SELECT b.no, p.name FROM buys b JOIN people p ON b.who = p.id WHERE b.no = 9 EMIT CHANGES LIMIT 1;",
		Properties: map[string]string{"auto.offset.reset": "earliest"}}, a); err != nil || len(a.out) != 2 || a.out[1] != `[9,"p04"]` {
		t.Errorf("the push query gave %v, %v", a.out, err)
	}
	p.stop(t)

	p = startProcess(t, brokers, dir)
	all()
	put("shop.people", `{"id":4}`, `{"before":null,"after":{"id":4,"name":"p04","city":"c0"},"op":"u"}`)
	put("shop.people", `{"id":5}`, `{"before":{"id":5},"after":null,"op":"d"}`)
	p.eventually(t, "SELECT land FROM lives WHERE id = 4;", `["l0"]`)
	p.eventually(t, "SELECT * FROM allowed WHERE id = 5;")
	p.stop(t)
}

// answer returns the rows that a pull query has at the moment.
func (p *process) answer(t *testing.T, text string) []string {
	t.Helper()
	a := &answer{}
	if _, err := p.Query(t.Context(), Request{Text: text}, a); err != nil {
		t.Fatal(err)
	}
	return a.out[1:]
}

func sorted(rows []string) []string {
	out := slices.Clone(rows)
	slices.Sort(out)
	return out
}
