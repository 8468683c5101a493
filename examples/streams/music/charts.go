package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
)

// Song is a row of the catalogue, keyed by the song's id.
type Song struct {
	Title  string `json:"title"`
	Artist string `json:"artist"`
	Genre  string `json:"genre"`
}

// Entry is a song in the charts of its genre.
type Entry struct {
	Song
	Plays int64 `json:"plays"`
}

// Chart is the songs of a genre, the most played first.
type Chart []Entry

// String writes the first five.
func (c Chart) String() string {
	var lines []string
	for i, e := range c[:min(len(c), 5)] {
		lines = append(lines, fmt.Sprintf("%d. %s by %s, %d", i+1, e.Title, e.Artist, e.Plays))
	}
	return strings.Join(lines, "; ")
}

// The topics: the catalogue, the plays, each with a song's id as its value, and the
// charts by genre.
const (
	songs = "music-songs"
	plays = "music-plays"
	best  = "music-charts"
)

// charts counts plays by song, joins the counts with the catalogue and groups the
// result by genre. Songs move within their chart as they are played, and from one to
// another when the catalogue is corrected.
func charts(out io.Writer) (*streams.Topology, error) {
	b := streams.NewBuilder()
	catalogue := streams.TableFrom(b, songs, serde.Text{}, serde.JSON[Song]{}, streams.With{Name: "songs"})
	counts := streams.GroupBy(streams.From(b, plays, serde.Bytes{}, serde.Text{}),
		func(_ []byte, id string) string { return id }, serde.Text{}, serde.Text{}, streams.With{Name: "plays-by-song"}).
		Count(streams.With{Name: "plays", Store: "plays"})
	entries := join.Tables(counts, catalogue, join.Inner(func(_ string, p join.Pair[int64, Song]) Entry {
		return Entry{Song: p.Right, Plays: p.Left}
	}), serde.JSON[Entry]{}, streams.With{Name: "entries"})
	byGenre := streams.GroupTable(entries, func(_ string, e Entry) (string, Entry) { return e.Genre, e },
		serde.Text{}, serde.JSON[Entry]{}, streams.With{Name: "by-genre"})
	ranked := streams.Aggregate(byGenre, streams.Aggregation[string, Entry, Chart]{
		Init:     func() Chart { return nil },
		Add:      func(_ string, e Entry, c Chart) Chart { return c.with(e) },
		Subtract: func(_ string, e Entry, c Chart) Chart { return c.without(e) },
		Empty:    func(c Chart) bool { return len(c) == 0 },
	}, serde.JSON[Chart]{}, streams.With{Name: "charts", Store: "charts"}).ToStream()
	ranked.To(best, serde.Text{}, serde.JSON[Chart]{})
	ranked.Print(out, "charts")
	return b.Build()
}

// with returns a chart that has e too. The old one is still needed and stays as it is.
func (c Chart) with(e Entry) Chart {
	at, _ := slices.BinarySearchFunc(c, e, func(a, b Entry) int {
		if a.Plays != b.Plays {
			return int(b.Plays - a.Plays)
		}
		return strings.Compare(a.Title, b.Title)
	})
	return slices.Insert(slices.Clone(c), at, e)
}

// without returns a chart without e.
func (c Chart) without(e Entry) Chart {
	at := slices.Index(c, e)
	if at < 0 {
		return c
	}
	return slices.Delete(slices.Clone(c), at, at+1)
}
