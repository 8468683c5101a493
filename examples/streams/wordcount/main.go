// Command wordcount counts the words of a topic of lines and prints each count as it
// changes, until it is interrupted. It puts some lines in by itself.
//
//	tidemill dev
//	go run ./examples/streams/wordcount
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/topics"
)

// lines are what is counted when the topic is new.
var lines = []string{
	"The mill turns when the tide comes in",
	"and turns again when it goes out",
	"the sea pays twice for the same mill",
}

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

// run counts until ctx is done.
func run(ctx context.Context, brokers []string, dir string, out io.Writer) error {
	if err := fill(ctx, brokers); err != nil {
		return err
	}
	topology, err := wordCount(out)
	if err != nil {
		return err
	}
	engine, err := streams.OpenEngine(streams.Config{Brokers: brokers, Dir: dir})
	if err != nil {
		return err
	}
	if err := engine.Add(streams.App{ID: "wordcount", Topology: topology, ExactlyOnce: true}); err != nil {
		return err
	}
	return engine.Run(ctx)
}

// wordCount splits lines into words, brings equal words together and counts them.
func wordCount(out io.Writer) (*streams.Topology, error) {
	b := streams.NewBuilder()
	text := streams.From(b, "wordcount-lines", serde.Bytes{}, serde.Text{})
	words := streams.FlatMap(text, func(r streams.Record[[]byte, string], emit func(streams.Record[[]byte, string])) {
		for _, word := range strings.Fields(strings.ToLower(r.Value)) {
			emit(streams.Record[[]byte, string]{Value: word, Time: r.Time})
		}
	})
	counts := streams.GroupBy(words, func(_ []byte, word string) string { return word }, serde.Text{}, serde.Text{}, streams.With{Name: "words"}).
		Count(streams.With{Store: "counts"}).
		ToStream()
	counts.To("wordcount-counts", serde.Text{}, serde.Int64{})
	counts.Print(out, "counts")
	return b.Build()
}

// fill makes the topics, and writes the lines into a new one.
func fill(ctx context.Context, brokers []string) error {
	client, err := topics.Open(brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	n, err := client.Partitions(ctx, "wordcount-lines")
	if err != nil || n > 0 {
		return err
	}
	for _, topic := range []string{"wordcount-lines", "wordcount-counts"} {
		if err := client.Create(ctx, topics.Spec{Name: topic, Partitions: 2}); err != nil {
			return err
		}
	}
	records := make([]*topics.Record, len(lines))
	for i, line := range lines {
		records[i] = &topics.Record{Topic: "wordcount-lines", Value: []byte(line)}
	}
	return client.Produce(ctx, records...)
}
