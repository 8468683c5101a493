package monitor_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/monitor"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/streams/txn/txntest"
)

// TestTransactions scrapes an application in transaction mode, to which one transaction has
// come but for its last event: how many were committed, where it stands, where the database
// is, and what waits.
func TestTransactions(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	brokers, db := devstack.TestKafka(t), txntest.New("metered", 1)
	client, err := topics.Open(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, topic := range []string{db.Topic("accounts"), db.Source().Topic} {
		if err := client.Create(ctx, topics.Spec{Name: topic, Partitions: 1}); err != nil {
			t.Fatal(err)
		}
	}
	b := streams.NewBuilder()
	streams.CDC{Topic: db.Topic("accounts"), Key: serde.Row(db.Key), Envelope: serde.Row(db.Envelope), Row: db.Row}.Table(b, streams.With{Store: "accounts"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	records := db.Snapshot().Set("accounts", txntest.Row{ID: 1}).Commit()
	records = append(records, db.Begin().Set("accounts", txntest.Row{ID: 2}).Commit()...)
	whole := db.LSN()
	last := db.Begin().Set("accounts", txntest.Row{ID: 3}).Set("accounts", txntest.Row{ID: 4}).Commit()
	records = append(records, last[0], last[1], last[3])
	for _, r := range records {
		if err := client.Produce(ctx, &topics.Record{Topic: r.Topic, Key: r.Key, Value: r.Value}); err != nil {
			t.Fatal(err)
		}
	}
	e, err := streams.OpenEngine(streams.Config{Brokers: brokers, Instance: "one"})
	if err == nil {
		err = e.Add(streams.App{ID: "metered", Topology: topology, ExactlyOnce: true, Transactions: db.Source()})
	}
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(running) }()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&monitor.Collector{Source: e})
	text := ""
	figure := func(name string) (v float64) {
		_, rest, found := strings.Cut(text, "\ntidemill_streams_transactions_"+name+`{client_id="metered-one",thread_id="metered-one-StreamThread-1"} `)
		if _, err := fmt.Sscan(rest, &v); !found || err != nil {
			t.Fatalf("there is no %s: %v\n%s", name, err, text)
		}
		return v
	}
	for text == "" || figure("lsn") != float64(whole) || figure("waiting") != 1 || figure("held_records") != 1 {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain; the last scrape is\n%s", text)
		case <-time.After(20 * time.Millisecond):
		}
		out := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(out, httptest.NewRequest("GET", "/metrics", nil))
		text = out.Body.String()
	}
	for name, want := range map[string]float64{"committed_total": 2, "newest_lsn": float64(db.LSN()), "spilled_bytes": 0, "spilled_records_total": 0, "staged_bytes_total": 0} {
		if got := figure(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if figure("held_bytes") <= 0 || figure("peak_bytes") < 0 {
		t.Errorf("%v bytes are held, and %v were at most", figure("held_bytes"), figure("peak_bytes"))
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
