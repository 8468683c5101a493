package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/topics"
)

// The test binary runs itself as the shop that is killed.
const childBrokers, childDir = "ORDERS_TEST_CHILD_BROKERS", "ORDERS_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if brokers := os.Getenv(childBrokers); brokers != "" {
		engine, err := open(strings.Split(brokers, ","), os.Getenv(childDir), nil)
		if err == nil {
			err = engine.Run(context.Background())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestRules asks for what is allowed and what is not.
func TestRules(t *testing.T) {
	topology, err := shop(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := streamstest.New(t, topology)
	in, out := streamstest.In(d, requests, serde.Text{}, serde.JSON[Request]{}), streamstest.Out(d, answers, serde.Text{}, serde.JSON[Answer]{})
	for i, c := range []struct {
		name, do string
		cents    int64
		want     Answer
	}{
		{"ada", "order", 1, Answer{Why: "nobody has this name"}},
		{"ada", "register", 0, Answer{Done: true}},
		{"ada", "register", 0, Answer{Why: "the name is taken"}},
		{"bob", "register", 0, Answer{Done: true}},
		{"ada", "order", 1, Answer{Why: "the balance does not cover it"}},
		{"ada", "deposit", 0, Answer{Why: "the amount is not positive"}},
		{"ada", "deposit", -5, Answer{Why: "the amount is not positive"}},
		{"ada", "deposit", 100, Answer{Done: true, Balance: 100}},
		{"ada", "register", 0, Answer{Why: "the name is taken", Balance: 100}},
		{"ada", "order", 101, Answer{Why: "the balance does not cover it", Balance: 100}},
		{"ada", "order", 100, Answer{Done: true}},
		{"bob", "order", 1, Answer{Why: "the balance does not cover it"}},
		{"ada", "dance", 1, Answer{Why: "there is no such request"}},
		{"", "register", 0, Answer{Why: "a request is about somebody"}},
	} {
		c.want.ID = fmt.Sprint("r", i)
		in.Pipe(c.name, Request{ID: c.want.ID, Do: c.do, Cents: c.cents})
		got := out.Read()
		if len(got) != 1 || got[0].Key != c.name || got[0].Value != c.want {
			t.Errorf("%s %s %d: got %+v, want %+v", c.name, c.do, c.cents, got, c.want)
		}
	}
}

// TestRun runs the example as its main does.
func TestRun(t *testing.T) {
	brokers := devstack.TestKafka(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, brokers, "", w)
		w.CloseWithError(err)
		done <- err
	}()
	left := map[string]bool{
		"r3 ada: done; balance 3.00": true, "r4 ada: refused, the balance does not cover it; balance 3.00": true,
		"r5 ada: refused, the name is taken; balance 3.00": true, "r6 bob: refused, nobody has this name; balance 0.00": true,
	}
	seen := bufio.NewScanner(r)
	for len(left) > 0 && seen.Scan() {
		delete(left, seen.Text())
	}
	go func() { _, _ = io.Copy(io.Discard, r) }() // What still comes must not hold it up.
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(left) > 0 {
		t.Errorf("never printed: %v", left)
	}
}

// TestPromisesHoldOverKills kills the shop again and again while requests come in. In
// the end every request has one answer, and it is the one that the log up to there
// gives.
func TestPromisesHoldOverKills(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	brokers := devstack.TestKafka(t)
	client, err := topics.Open(brokers)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Delete(ctx, requests, answers, "orders-balances-changelog"); err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{requests, answers} {
		if err := client.Create(ctx, topics.Spec{Name: topic, Partitions: 2}); err != nil {
			t.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(7, 9))
	asked := 0
	ask := func() {
		var rs []*topics.Record
		for range 20 {
			r := Request{ID: fmt.Sprint("r", asked), Do: []string{"register", "deposit", "order", "order"}[rnd.IntN(4)], Cents: rnd.Int64N(100)}
			record, err := recordOf(fmt.Sprint("customer", rnd.IntN(8)), r)
			if err != nil {
				t.Fatal(err)
			}
			rs = append(rs, record)
			asked++
		}
		if err := client.Produce(ctx, rs...); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	for range 4 {
		child := exec.CommandContext(ctx, os.Args[0])
		child.Env = append(os.Environ(), childBrokers+"="+strings.Join(brokers, ","), childDir+"="+dir)
		child.Stderr = t.Output()
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		for before := len(readAnswers(ctx, t, client)); len(readAnswers(ctx, t, client)) == before; {
			ask()
		}
		ask()
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // It was killed, and says so.
	}
	engine, err := open(brokers, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- engine.Run(running) }()
	for len(readAnswers(ctx, t, client)) < asked {
		if err := ctx.Err(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	compare(t, readAnswers(ctx, t, client), expected(ctx, t, client))
}

// readAnswers reads the committed answers, in the order of each partition.
func readAnswers(ctx context.Context, t *testing.T, client *topics.Client) (all []Answer) {
	t.Helper()
	read(ctx, t, client, answers, func(_ string, value []byte) {
		var a Answer
		if err := json.Unmarshal(value, &a); err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	})
	return all
}

// expected judges the requests anew, from the log.
func expected(ctx context.Context, t *testing.T, client *topics.Client) map[string]Answer {
	t.Helper()
	balances, want := map[string]int64{}, map[string]Answer{}
	read(ctx, t, client, requests, func(name string, value []byte) {
		var r Request
		if err := json.Unmarshal(value, &r); err != nil {
			t.Fatal(err)
		}
		balance, known := balances[name]
		after, why := judge(r, known, balance)
		if why == "" {
			balances[name], balance = after, after
		}
		want[r.ID] = Answer{ID: r.ID, Done: why == "", Why: why, Balance: balance}
		if balance < 0 {
			t.Errorf("%s has %d", name, balance)
		}
	})
	return want
}

func read(ctx context.Context, t *testing.T, client *topics.Client, topic string, visit func(key string, value []byte)) {
	t.Helper()
	err := client.Read(ctx, topic, topics.ToEnd, func(r *topics.Record) (bool, error) {
		visit(string(r.Key), r.Value)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func compare(t *testing.T, got []Answer, want map[string]Answer) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d answers to %d requests", len(got), len(want))
	}
	for _, a := range got {
		if w := want[a.ID]; a != w {
			t.Errorf("%s was answered %+v, want %+v", a.ID, a, w)
		}
	}
}
