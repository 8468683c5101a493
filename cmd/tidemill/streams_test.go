package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/status"
	"github.com/tidemill/tidemill/streams/topics"
)

// TestStreamsReset asks about an application that never ran, in both formats, and asks
// in ways that are wrong.
func TestStreamsReset(t *testing.T) {
	broker := devstack.TestKafka(t)[0]
	for _, c := range []struct {
		args []string
		code int
		out  string
	}{
		{[]string{"nobody", "--dry-run"}, exitOK, "application nobody\n  there is nothing of it\nnothing was changed: --dry-run\n"},
		{[]string{"nobody"}, exitOK, "application nobody\n  there is nothing of it\n"},
		{[]string{"nobody", "--to-datetime", "yesterday"}, exitBadInput, ""},
		{[]string{"nobody", "--to-latest", "--to-datetime", "2026-01-01T00:00:00Z"}, exitInternal, ""},
		{nil, exitBadInput, ""},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"streams", "reset", "--brokers", broker}, c.args...)
		if code := run(args, &out, &errs); code != c.code || out.String() != c.out {
			t.Errorf("%v: exit code %d, printed %q, %s", args, code, out.String(), errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := run([]string{"streams", "reset", "nobody", "--brokers", broker, "-o", "json"}, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var plan map[string]any
	if err := json.Unmarshal(out.Bytes(), &plan); err != nil || plan["application"] != "nobody" || plan["done"] != true || strings.Contains(out.String(), "null") {
		t.Errorf("printed %s, %v", out.String(), err)
	}
}

// TestStreamsStatus asks a process that runs an application, which signs what it is asked,
// in all forms, and asks in ways that are wrong.
func TestStreamsStatus(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	brokers := devstack.TestKafka(t)
	client, err := topics.Open(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Delete(ctx, "statused", "shop-sold-changelog"); err != nil {
		t.Fatal(err)
	}
	if err := client.Create(ctx, topics.Spec{Name: "statused", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	b := streams.NewBuilder()
	streams.From(b, "statused", serde.Text{}, serde.Text{}).GroupByKey(serde.Text{}, serde.Text{}).Count(streams.With{Store: "sold"})
	topology, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	engine, err := streams.OpenEngine(streams.Config{Brokers: brokers, Dir: t.TempDir(), Instance: "till", Remote: &query.Remote{Secret: "between us"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Add(streams.App{ID: "shop", Topology: topology}); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- engine.Run(running) }()
	if err := client.Produce(ctx, &kgo.Record{Topic: "statused", Key: []byte("tea"), Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	ask := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := run(append([]string{"streams", "status", "--url", "http://" + engine.Address()}, args...), &out, &errs)
		return code, out.String(), errs.String()
	}
	if code, _, errs := ask(); code != exitEnvironment || !strings.Contains(errs, "not signed") {
		t.Errorf("without the secret: exit code %d, %s", code, errs)
	}
	t.Setenv(envStreamsSecret, "between us")
	var one status.Application
	for one.State != "RUNNING" || len(one.Tasks) != 2 || one.Thread.Processed == 0 || one.Lag() > 0 {
		code, out, errs := ask("shop", "-o", "json")
		if code != exitOK || json.Unmarshal([]byte(out), &one) != nil {
			t.Fatalf("exit code %d, %s %s", code, out, errs)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain, the last is %s", out)
		case <-time.After(20 * time.Millisecond):
		}
	}
	for _, c := range []struct {
		args []string
		code int
		has  []string
	}{
		{nil, exitOK, []string{"APPLICATION  STATE    TASKS  LAG", "shop         RUNNING  2      0"}},
		{[]string{"shop"}, exitOK, []string{"application shop  RUNNING  at_least_once  instance till\n", "1 records processed", "topic statused [1]", "store sold"}},
		{[]string{"shop", "--topology", "text"}, exitOK, []string{topology.Describe()}},
		{[]string{"shop", "--topology", "dot"}, exitOK, []string{"digraph topology {"}},
		{[]string{"--topology", "dot"}, exitBadInput, []string{"name an application"}},
		{[]string{"nobody"}, exitBadInput, []string{"streams.app.unknown"}},
		{[]string{"shop", "--url", "http://127.0.0.1:1"}, exitEnvironment, []string{"rest.unreachable"}},
	} {
		code, out, errs := ask(c.args...)
		for _, has := range c.has {
			if code != c.code || !strings.Contains(out+errs, has) {
				t.Errorf("%v: exit code %d, %q is not in\n%s%s", c.args, code, has, out, errs)
			}
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
