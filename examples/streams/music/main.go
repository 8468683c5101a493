// Command music keeps charts: how often each song of a catalogue was played, and the
// most played songs of each genre, printed as they change until it is interrupted. It
// puts some songs and plays in by itself.
//
//	tidemill dev
//	go run ./examples/streams/music
package main

import (
	"context"
	"encoding/json"
	"flag"
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

// run keeps the charts until ctx is done.
func run(ctx context.Context, brokers []string, dir string, out io.Writer) error {
	if err := fill(ctx, brokers); err != nil {
		return err
	}
	topology, err := charts(out)
	if err != nil {
		return err
	}
	engine, err := streams.OpenEngine(streams.Config{Brokers: brokers, Dir: dir})
	if err != nil {
		return err
	}
	if err := engine.Add(streams.App{ID: "music", Topology: topology}); err != nil {
		return err
	}
	return engine.Run(ctx)
}

// catalogue and played are what is there when the topics are new.
var (
	catalogue = map[string]Song{
		"s1": {Title: "Tidal", Artist: "The Millers", Genre: "folk"},
		"s2": {Title: "Ebb", Artist: "The Millers", Genre: "folk"},
		"s3": {Title: "Flood", Artist: "Sluice", Genre: "punk"},
	}
	played = []string{"s1", "s3", "s2", "s2", "s3", "s2", "s1"}
)

// fill makes the topics, and writes the songs and plays into new ones.
func fill(ctx context.Context, brokers []string) error {
	client, err := topics.Open(brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	n, err := client.Partitions(ctx, songs)
	if err != nil || n > 0 {
		return err
	}
	for _, topic := range []string{songs, plays, best} {
		if err := client.Create(ctx, topics.Spec{Name: topic, Partitions: 2}); err != nil {
			return err
		}
	}
	var records []*topics.Record
	for id, song := range catalogue {
		value, err := json.Marshal(song)
		if err != nil {
			return err
		}
		records = append(records, &topics.Record{Topic: songs, Key: []byte(id), Value: value})
	}
	for i, id := range played {
		records = append(records, &topics.Record{Topic: plays, Key: []byte{byte('a' + i)}, Value: []byte(id)})
	}
	return client.Produce(ctx, records...)
}
