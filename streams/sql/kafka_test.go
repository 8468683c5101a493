package sql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/internal/kafkalog"
	"github.com/tidemill/tidemill/streams"
	remote "github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/topics"
)

// process is one process of the product around an Engine: everything but the
// brokers.
type process struct {
	*Engine
	client *topics.Client
	log    *KafkaLog
	end    func()
	ended  chan error
}

// startProcess opens an Engine on real clients of the brokers, with its state in
// dir.
func startProcess(t *testing.T, brokers []string, dir string, with ...func(*Config)) *process {
	t.Helper()
	p := &process{ended: make(chan error, 1)}
	runner, err := streams.OpenEngine(streams.Config{Brokers: brokers, Dir: dir, Remote: &remote.Remote{Secret: "e2e"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.end = cancel
	go func() { p.ended <- runner.Run(ctx) }()
	if p.client, err = topics.Open(brokers); err != nil {
		t.Fatal(err)
	}
	if p.log, err = OpenKafkaLog(t.Context(), kafkalog.Config{Client: []kgo.Opt{kgo.SeedBrokers(brokers...)}, Topic: "_sql_statements", Replication: 1}); err != nil {
		t.Fatal(err)
	}
	config := Config{Service: "e2e", Topics: p.client, Records: p.client, Runner: runner, Log: p.log,
		Formats: map[string]Format{"JSON": jsonFormat("false")}}
	for _, w := range with {
		w(&config)
	}
	p.Engine, err = Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stop ends the process as a stop of the worker does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.end()
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
	p.log.Close()
	p.client.Close()
}

// must executes statements.
func (p *process) must(t *testing.T, text string) {
	t.Helper()
	if _, err := p.Execute(t.Context(), Request{Text: text}); err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
}

// eventually asks a pull query until its rows are those wanted.
func (p *process) eventually(t *testing.T, text string, want ...string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		a := &answer{}
		_, err := p.Query(t.Context(), Request{Text: text}, a)
		if err == nil {
			// Rows come partition by partition.
			slices.Sort(a.out[1:])
			if slices.Equal(a.out[1:], want) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s gives %v (%v), not %v", text, a.out, err, want)
		}
		timer := time.NewTimer(20 * time.Millisecond)
		select {
		case <-timer.C:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// TestOverKafka runs statements, persistent queries, pull and push queries over a
// broker, stops the process, and finds everything again in the next one.
func TestOverKafka(t *testing.T) {
	brokers := devstack.TestKafka(t)
	dir := t.TempDir()
	p := startProcess(t, brokers, dir)
	p.must(t, `
		CREATE TABLE orders (id INT PRIMARY KEY, purchaser INT, quantity INT) WITH (CDC='shop.orders', FORMAT='JSON', PARTITIONS=3);
		CREATE TABLE by_purchaser AS SELECT purchaser, COUNT(*) AS n, SUM(quantity) AS items FROM orders GROUP BY purchaser EMIT CHANGES;
		CREATE STREAM clicks (user STRING KEY, page STRING) WITH (KAFKA_TOPIC='clicks', VALUE_FORMAT='JSON', PARTITIONS=2);
		CREATE STREAM big AS SELECT user, UCASE(page) AS page FROM clicks WHERE page <> '/' EMIT CHANGES;
		CREATE TABLE pages AS SELECT page, COUNT(*) AS n FROM big GROUP BY page EMIT CHANGES;`)
	put := func(topic, key, value string) {
		t.Helper()
		r := &topics.Record{Topic: topic, Key: unlessDash(key), Value: unlessDash(value)}
		if err := p.client.Produce(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	put("shop.orders", `{"id":1}`, `{"before":null,"after":{"id":1,"purchaser":7,"quantity":2},"op":"r"}`)
	put("shop.orders", `{"id":2}`, `{"before":null,"after":{"id":2,"purchaser":7,"quantity":3},"op":"c"}`)
	put("shop.orders", `{"id":3}`, `{"before":null,"after":{"id":3,"purchaser":8,"quantity":5},"op":"c"}`)
	p.must(t, `INSERT INTO clicks VALUES ('ann', '/a'); INSERT INTO clicks VALUES ('bob', '/'); INSERT INTO clicks VALUES ('bob', '/a');`)
	p.eventually(t, "SELECT * FROM by_purchaser WHERE purchaser IN (7, 8);", "[7,2,5]", "[8,1,5]")
	p.eventually(t, "SELECT * FROM pages WHERE page = '/A';", `["/A",2]`)
	put("shop.orders", `{"id":2}`, `{"before":null,"after":{"id":2,"purchaser":8,"quantity":4},"op":"u"}`)
	put("shop.orders", `{"id":1}`, `{"before":{"id":1},"after":null,"op":"d"}`)
	put("shop.orders", `{"id":1}`, `-`)
	p.eventually(t, "SELECT * FROM by_purchaser;", "[8,2,9]")
	pushes(t, p)
	p.stop(t)

	p = startProcess(t, brokers, dir)
	p.eventually(t, "SELECT * FROM by_purchaser;", "[8,2,9]")
	put("shop.orders", `{"id":3}`, `{"before":null,"after":null,"op":"d"}`)
	p.eventually(t, "SELECT * FROM by_purchaser;", "[8,1,4]")
	p.must(t, "INSERT INTO clicks VALUES ('ann', '/a');")
	p.eventually(t, "SELECT * FROM pages;", `["/A",3]`, `["/LATE",1]`)
	p.must(t, "PAUSE ALL; RESUME ALL; DROP TABLE pages DELETE TOPIC; TERMINATE CSAS_BIG_3; DROP STREAM big;")
	if n, err := p.client.Partitions(t.Context(), "PAGES"); err != nil || n != 0 {
		t.Errorf("the topic of a table dropped with DELETE TOPIC is still there: %d partitions, %v", n, err)
	}
	p.stop(t)

	// Without its state directory the process rebuilds its tables from Kafka.
	p = startProcess(t, brokers, t.TempDir())
	p.eventually(t, "SELECT * FROM by_purchaser;", "[8,1,4]")
	p.stop(t)
}

// TestEveryProcessAnswers asks two processes of one service for all rows of a table and
// for single ones, while each has a part of the table, and the one that is left for what
// the other had.
func TestEveryProcessAnswers(t *testing.T) {
	brokers := devstack.TestKafka(t)
	one := startProcess(t, brokers, t.TempDir())
	one.must(t, `
		CREATE STREAM visits (id INT KEY, city STRING) WITH (KAFKA_TOPIC='visits', FORMAT='JSON', PARTITIONS=4);
		CREATE TABLE cities AS SELECT city, COUNT(*) AS n FROM visits GROUP BY city EMIT CHANGES;`)
	var all []string
	for i := range 12 {
		one.must(t, fmt.Sprintf("INSERT INTO visits VALUES (%d, 'c%02d');", i, i))
		all = append(all, fmt.Sprintf(`["c%02d",1]`, i))
	}
	one.eventually(t, "SELECT * FROM cities;", all...)
	other := startProcess(t, brokers, t.TempDir())
	shared := func(p *process) bool {
		store, err := p.Engine.config.Runner.Rows(t.Context(), p.app(p.catalog.queryIDs()[0]), resultStore)
		if err != nil {
			t.Fatal(err)
		}
		all := store.Instances()
		return len(all) == 2 && len(all[0].Active) == 2 && len(all[1].Active) == 2
	}
	deadline := time.After(2 * time.Minute)
	for tick := time.NewTicker(20 * time.Millisecond); !shared(one) || !shared(other); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the table is not shared")
		}
	}
	for _, p := range []*process{one, other} {
		p.eventually(t, "SELECT * FROM cities;", all...)
		for i := range 12 {
			p.eventually(t, fmt.Sprintf("SELECT * FROM cities WHERE city = 'c%02d';", i), all[i])
		}
	}
	one.stop(t)
	other.eventually(t, "SELECT * FROM cities;", all...)
	other.stop(t)
}

// pushes runs push queries: one that ends at its limit, one that is cancelled.
func pushes(t *testing.T, p *process) {
	t.Helper()
	a := &answer{}
	complete, err := p.Query(t.Context(), Request{Text: "SELECT page, COUNT(*) AS n FROM clicks GROUP BY page EMIT CHANGES LIMIT 3;",
		Properties: map[string]string{"auto.offset.reset": "earliest"}}, a)
	if err != nil || !complete || len(a.out) != 4 {
		t.Errorf("the push query gave %v, %v, %v", a.out, complete, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	follow := &following{rows: make(chan string, 10), ready: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := p.Query(ctx, Request{Text: "SELECT user FROM clicks WHERE page = '/late' EMIT CHANGES;",
			Properties: map[string]string{"auto.offset.reset": "earliest"}}, follow)
		done <- err
	}()
	<-follow.ready
	p.must(t, "INSERT INTO clicks VALUES ('zoe', '/late');")
	if got := <-follow.rows; got != `["zoe"]` {
		t.Errorf("the push query gave %s", got)
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled push query ended with %v", err)
	}
}

// following passes rows on as they come.
type following struct {
	rows  chan string
	ready chan struct{}
	once  sync.Once
}

func (f *following) Header(Header) error {
	f.once.Do(func() { close(f.ready) })
	return nil
}

func (f *following) Row(r Row) error {
	f.rows <- string(r.AppendJSON(nil))
	return nil
}

func unlessDash(s string) []byte {
	if s == "-" {
		return nil
	}
	return []byte(s)
}
