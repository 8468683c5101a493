package sql

import (
	"fmt"
	"testing"

	"github.com/tidemill/tidemill/streams/topics"
)

// nobody takes rows and drops them.
type nobody struct{ rows int }

func (n *nobody) Header(Header) error { return nil }

func (n *nobody) Row(Row) error {
	n.rows++
	return nil
}

// BenchmarkPull asks for one row of a thousand by its key, parsing included.
func BenchmarkPull(b *testing.B) {
	c := newCluster(nil)
	e, err := Open(b.Context(), Config{Service: "bench", Topics: c, Records: c, Runner: c, Log: &memoryLog{}, Formats: map[string]Format{"JSON": jsonFormat("false")}})
	if err != nil {
		b.Fatal(err)
	}
	_, err = e.Execute(b.Context(), Request{Text: `CREATE STREAM s (k STRING KEY, g STRING, n INT) WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON', PARTITIONS=1);
		CREATE TABLE t AS SELECT g, COUNT(*) AS n, SUM(n) AS total FROM s GROUP BY g;`})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		if err := c.Produce(b.Context(), &topics.Record{Topic: "s", Value: fmt.Appendf(nil, `{"g":"g%d","n":%d}`, i, i), Timestamp: c.at()}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		to := &nobody{}
		if _, err := e.Query(b.Context(), Request{Text: "SELECT * FROM t WHERE g = 'g77';"}, to); err != nil || to.rows != 1 {
			b.Fatal(err, to.rows)
		}
	}
}
