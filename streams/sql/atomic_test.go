package sql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tidemill/tidemill/streams"
)

// refusing is a cluster that runs nothing.
type refusing struct{ *cluster }

func (r refusing) Add(streams.App) error { return errors.New("no room") }

// TestNothingHalfCreated lets each step of CREATE fail and finds no trace of it.
func TestNothingHalfCreated(t *testing.T) {
	c, log := newCluster(t), &memoryLog{}
	e := engineOn(t, c, log, nil)
	must := func(text string) {
		t.Helper()
		if _, err := e.Execute(t.Context(), Request{Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	must("CREATE STREAM s (k STRING KEY, a INT) WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON', PARTITIONS=1);")
	trace := func() string {
		names, _ := c.List(t.Context())
		return fmt.Sprint(names, e.view().names(), e.view().queryIDs(), c.ids())
	}
	before := trace()

	log.fail = errors.New("the brokers are gone")
	for _, text := range []string{
		"CREATE STREAM x (a INT) WITH (KAFKA_TOPIC='x', VALUE_FORMAT='JSON', PARTITIONS=1);",
		"CREATE TABLE x AS SELECT k, COUNT(*) AS n FROM s GROUP BY k;", "DROP STREAM s DELETE TOPIC;",
	} {
		if _, err := e.Execute(t.Context(), Request{Text: text}); err == nil || trace() != before {
			t.Errorf("%s: %v leaves %s, before it was %s", text, err, trace(), before)
		}
	}
	log.fail = nil
	for _, text := range []string{
		"CREATE TABLE x AS SELECT k, COUNT(*) AS n, MISSING(a) AS m FROM s GROUP BY k;",
		"CREATE STREAM x WITH (PARTITIONS=2, VALUE_FORMAT='KAFKA') AS SELECT k, a, a + 1 AS b FROM s;",
		"CREATE STREAM y (a INT) WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON', PARTITIONS=7);",
	} {
		if _, err := e.Execute(t.Context(), Request{Text: text}); err == nil || trace() != before || len(log.commands) != 1 {
			t.Errorf("%s: %v leaves %s, before it was %s", text, err, trace(), before)
		}
	}
	e.config.Runner = refusing{c}
	_, err := e.Execute(t.Context(), Request{Text: "CREATE TABLE x AS SELECT k, COUNT(*) AS n FROM s GROUP BY k;"})
	if err == nil || !strings.Contains(err.Error(), "no room") || trace() != before {
		t.Errorf("%v leaves %s, before it was %s", err, trace(), before)
	}
	e = engineOn(t, c, log, nil)
	if got := trace(); got != before {
		t.Errorf("a new engine has %s, not %s", got, before)
	}
}

// TestStatementsAtOnce executes statements and queries from several goroutines.
func TestStatementsAtOnce(t *testing.T) {
	c := newCluster(t)
	e := engineOn(t, c, &memoryLog{}, nil)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			name := fmt.Sprintf("s%d", i)
			text := fmt.Sprintf("CREATE STREAM %s (k STRING KEY, a INT) WITH (KAFKA_TOPIC='%s', VALUE_FORMAT='JSON', PARTITIONS=1); SHOW STREAMS; DESCRIBE %s; SHOW QUERIES;", name, name, name)
			if _, err := e.Execute(context.Background(), Request{Text: text}); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			_, err := e.Query(context.Background(), Request{Text: "SELECT * FROM nothing;"}, &answer{})
			if f, ok := asFault(err); !ok || f.Code != "sql.unknown_source" {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(e.view().names()); n != 8 {
		t.Errorf("there are %d streams, not 8", n)
	}
}

// TestOneQueryThatCannotStart opens an Engine whose runner refuses a query: the
// Engine answers, and tells of the fault.
func TestOneQueryThatCannotStart(t *testing.T) {
	c, log := newCluster(t), &memoryLog{}
	e := engineOn(t, c, log, nil)
	_, err := e.Execute(t.Context(), Request{Text: `CREATE STREAM s (k STRING KEY, a INT) WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON', PARTITIONS=1);
		CREATE TABLE x AS SELECT k, COUNT(*) AS n FROM s GROUP BY k;`})
	if err != nil {
		t.Fatal(err)
	}
	e, err = Open(t.Context(), Config{Service: "test", Topics: c, Records: c, Runner: refusing{c}, Log: log, Formats: map[string]Format{"JSON": jsonFormat("false")}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Execute(t.Context(), Request{Text: "SHOW QUERIES; EXPLAIN CTAS_X_1;"})
	if err != nil {
		t.Fatal(err)
	}
	if state := out[0].(queriesEntity).Queries[0].State; state != "ERROR" {
		t.Errorf("the query's state is %s", state)
	}
	if faults := out[1].(queryEntity).Query.Errors; len(faults) != 1 || faults[0] != "no room" {
		t.Errorf("the query's errors are %v", faults)
	}
}
