package query

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// TestRowsAreAskedForTogether holds the first requests up until everybody waits. Then those
// who wait are answered by few requests, each with what is theirs: a row, that there is
// none, or that the partition is elsewhere. Who gives up meanwhile disturbs nobody.
func TestRowsAreAskedForTogether(t *testing.T) {
	const askers = 300
	there, remote := storeOf(t, askers, -1), &Remote{Secret: "s"}
	there.Patience = 1
	var requests atomic.Int32
	held, proceed := make(chan struct{}, askers), make(chan struct{})
	answer := remote.Handler("", func(string, string) (*Rows, error) { return there, nil })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) <= atOnce {
			held <- struct{}{}
			<-proceed
		}
		answer.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	peers := remote.Peers()
	t.Cleanup(peers.Close)
	in := Instance{Name: "there", Address: strings.TrimPrefix(server.URL, "http://")}

	get := func(ctx context.Context, partition int32, key string) (value string, err error) {
		q := &question{App: "a", Store: "s", Op: opGet, Partition: partition, Key: []byte(key)}
		err = peers.ask(ctx, in, q, func(row Row) error {
			value = string(row.Key) + "=" + string(row.Value)
			return nil
		})
		clear(q.Key) // It is the caller's again.
		return value, err
	}
	var asking sync.WaitGroup
	ask := func(i int) {
		asking.Go(func() {
			key, partition, want := fmt.Sprintf("key%05d", i), int32(0), fmt.Sprintf("key%05d=value%d", i, i)
			switch i % 10 {
			case 3:
				key, want = "none", ""
			case 7:
				partition, want = 1, ""
			}
			got, err := get(t.Context(), partition, key)
			if got != want || (err != nil) != (partition == 1) {
				t.Errorf("asking for %d gave %q, %v", i, got, err)
			}
			if partition == 1 && connect.AsError(err).Class != connect.ClassRetriable {
				t.Errorf("a partition that is elsewhere: %v", err)
			}
		})
	}
	for i := range atOnce { // One after another, so that each has a request of its own.
		ask(i)
		<-held
	}
	given, up := context.WithCancel(t.Context())
	up()
	if _, err := get(given, 0, "key00001"); !errors.Is(err, context.Canceled) {
		t.Errorf("giving up gave %v", err)
	}
	for i := atOnce; i < askers; i++ {
		ask(i)
	}
	var l *line
	for _, l = range peers.lines {
	}
	for waiting := 0; waiting < askers-atOnce+1; runtime.Gosched() {
		l.mu.Lock()
		waiting = len(l.waiting)
		l.mu.Unlock()
	}
	close(proceed)
	asking.Wait()
	if n := requests.Load(); n > atOnce+2 {
		t.Errorf("%d askers made %d requests", askers, n)
	}
}

// TestRowsAreAskedForUntilTheEnd lets the other side vanish, and then closes.
func TestRowsAreAskedForUntilTheEnd(t *testing.T) {
	remote := &Remote{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", answerType)
		_, _ = w.Write([]byte{frameNone, frameRow, 200}) // A row that does not come.
	}))
	t.Cleanup(server.Close)
	peers := remote.Peers()
	in := Instance{Name: "there", Address: strings.TrimPrefix(server.URL, "http://")}
	none := func(Row) error { return errors.New("there is no row") }
	q := &question{Op: opGet, Key: []byte("k")}
	if err := peers.ask(t.Context(), in, q, none); err != nil {
		t.Errorf("the one row that is answered: %v", err)
	}
	batch := []*asked{{done: make(chan struct{})}, {done: make(chan struct{})}}
	l := &line{lineKey: lineKey{address: in.Address}, in: in}
	if err := peers.askFor(l, batch); code(err) != "streams.remote.broken" || batch[0].err != nil || code(batch[1].err) != "streams.remote.broken" {
		t.Errorf("cut off: %v; %v, %v", err, batch[0].err, batch[1].err)
	}
	peers.Close()
	if err := peers.ask(t.Context(), in, q, none); code(err) != "streams.remote.unreachable" {
		t.Errorf("after the end: %v", err)
	}
}

// TestLinesRest checks that requests wait for each other where rows are asked for often, and
// only there.
func TestLinesRest(t *testing.T) {
	now := time.Now()
	for gap, rests := range map[time.Duration]bool{pace / 10: true, pace / 2: false, 100 * pace: false} {
		l := line{}
		for range together {
			now = now.Add(gap)
			l.came(now)
			l.waiting = append(l.waiting, nil)
		}
		all := l.waiting
		l.began, l.waiting = now, all[:1]
		if got := l.rest(now.Add(pace / 4)); (got > 0) != rests || got > pace {
			t.Errorf("with %v between two who come, the next request waits for %v", gap, got)
		}
		if got := l.rest(now.Add(pace)); got > 0 {
			t.Errorf("with %v between two who come, a request waits for %v although it is due", gap, got)
		}
		if l.waiting = all; l.rest(now) > 0 {
			t.Error("a request that is full waits")
		}
	}
}
