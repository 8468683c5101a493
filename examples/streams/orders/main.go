// Command orders keeps two promises over a stream of requests: no two customers have
// one name, and no balance ever is negative. Requests are judged in the order of the
// log, and the answers go to a topic; exactly once, whatever crashes. It puts some
// requests in by itself and prints the answers until it is interrupted.
//
//	tidemill dev
//	go run ./examples/streams/orders
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/topics"
)

func main() {
	brokers := flag.String("brokers", "127.0.0.1:9092", "the brokers, with commas between them")
	dir := flag.String("dir", "", "directory for state; without it, state is kept in memory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, strings.Split(*brokers, ","), *dir, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run answers requests until ctx is done.
func run(ctx context.Context, brokers []string, dir string, out io.Writer) error {
	if err := fill(ctx, brokers); err != nil {
		return err
	}
	engine, err := open(brokers, dir, func(r streams.Record[string, Answer]) error {
		what := "done"
		if !r.Value.Done {
			what = "refused, " + r.Value.Why
		}
		_, err := fmt.Fprintf(out, "%s %s: %s; balance %d.%02d\n", r.Value.ID, r.Key, what, r.Value.Balance/100, r.Value.Balance%100)
		return err
	})
	if err != nil {
		return err
	}
	return engine.Run(ctx)
}

// open returns an engine with the shop in it.
func open(brokers []string, dir string, seen func(streams.Record[string, Answer]) error) (*streams.Engine, error) {
	topology, err := shop(seen)
	if err != nil {
		return nil, err
	}
	engine, err := streams.OpenEngine(streams.Config{Brokers: brokers, Dir: dir})
	if err != nil {
		return nil, err
	}
	return engine, engine.Add(streams.App{ID: "orders", Topology: topology, ExactlyOnce: true})
}

// sample is what is asked for when the topic is new, with the name first.
var sample = []struct {
	name string
	Request
}{
	{"ada", Request{ID: "r1", Do: "register"}},
	{"ada", Request{ID: "r2", Do: "deposit", Cents: 1000}},
	{"ada", Request{ID: "r3", Do: "order", Cents: 700}},
	{"ada", Request{ID: "r4", Do: "order", Cents: 700}},
	{"ada", Request{ID: "r5", Do: "register"}},
	{"bob", Request{ID: "r6", Do: "order", Cents: 1}},
}

// fill makes the topics, and writes the sample into new ones.
func fill(ctx context.Context, brokers []string) error {
	client, err := topics.Open(brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	n, err := client.Partitions(ctx, requests)
	if err != nil || n > 0 {
		return err
	}
	for _, topic := range []string{requests, answers} {
		if err := client.Create(ctx, topics.Spec{Name: topic, Partitions: 2}); err != nil {
			return err
		}
	}
	var records []*topics.Record
	for _, r := range sample {
		record, err := recordOf(r.name, r.Request)
		if err != nil {
			return err
		}
		records = append(records, record)
	}
	return client.Produce(ctx, records...)
}

func recordOf(name string, r Request) (*topics.Record, error) {
	value, err := json.Marshal(r)
	return &topics.Record{Topic: requests, Key: []byte(name), Value: value}, err
}
