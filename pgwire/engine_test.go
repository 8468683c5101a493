package pgwire_test

import (
	"context"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	jsonconv "github.com/tidemill/tidemill/converters/json"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/internal/kafkalog"
	"github.com/tidemill/tidemill/pgwire"
	"github.com/tidemill/tidemill/rest/auth"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/sql"
	"github.com/tidemill/tidemill/streams/topics"
)

// openEngine opens an SQL engine on a broker of its own until the test ends.
func openEngine(t *testing.T) *sql.Engine {
	t.Helper()
	brokers := devstack.TestKafka(t)
	runner, err := streams.OpenEngine(streams.Config{Brokers: brokers, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	client, err := topics.Open(brokers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	log, err := sql.OpenKafkaLog(t.Context(), kafkalog.Config{Client: []kgo.Opt{kgo.SeedBrokers(brokers...)}, Topic: "_pgwire_" + t.Name(), Replication: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	json := func(key bool) (connect.Converter, error) {
		c := &jsonconv.Converter{}
		return c, c.Configure(connect.Config{"schemas.enable": "false", "decimal.format": "NUMERIC"}, key)
	}
	engine, err := sql.Open(t.Context(), sql.Config{Service: "pgwire-" + t.Name(), Topics: client, Records: client, Runner: runner, Log: log, Formats: map[string]sql.Format{"JSON": json}})
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// options are those of a server on a free port of this machine, of the worker's settings.
func options(t *testing.T, engine pgwire.SQL, raw connect.Config) pgwire.Options {
	t.Helper()
	all := connect.Config{"pgwire.listeners": "127.0.0.1:0"}
	for name, text := range raw {
		all[name] = text
	}
	settings, err := pgwire.ConfigDef().Parse(all)
	if err != nil {
		t.Fatal(err)
	}
	rests, err := connect.NewConfigDef(auth.Keys()...).OpenTo(func(string) bool { return true }).Parse(all)
	if err != nil {
		t.Fatal(err)
	}
	gate, err := auth.New(rests, func(message string, err error) { t.Log(message, err) })
	if err != nil {
		t.Fatal(err)
	}
	return pgwire.Options{Settings: settings, SQL: engine, Gate: gate, Version: "test"}
}

// serve serves until the test ends and returns the address.
func serve(t *testing.T, o pgwire.Options) (host, port string) {
	t.Helper()
	s, err := pgwire.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	host, port, _ = net.SplitHostPort(s.Addrs()[0].String())
	return host, port
}
