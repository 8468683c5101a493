package query

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/state"
)

// storeOf makes a store of n rows in one partition, of which this process runs the task
// unless copyLag says that it only has a copy.
func storeOf(t testing.TB, n int, copyLag int64) *Rows {
	t.Helper()
	db := state.NewMemory()
	id, err := db.Open("s", 0)
	if err != nil {
		t.Fatal(err)
	}
	b := db.Batch()
	for i := range n {
		b.Put(id, fmt.Appendf(nil, "key%05d", i), state.AppendTimed(nil, int64(i), fmt.Appendf(nil, "value%d", i)))
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	here := []int32{0}
	if copyLag >= 0 {
		here = nil
	}
	return &Rows{Source: Source{
		App: "a", Store: "s", Name: "s", DB: db, Open: &sync.RWMutex{}, Hub: NewHub(),
		Here: func() []int32 { return here }, Total: func() int { return 1 }, Place: func([]byte, int) int32 { return 0 },
		Copy:    func(int32) (int64, bool) { return copyLag, copyLag >= 0 },
		Reached: func(func(state.ID) state.Reader, int32, bool) (Position, error) { return Position{"in": {0: 100}}, nil },
	}}
}

// served serves rows and returns rows that have nothing themselves and ask there.
func served(t testing.TB, remote *Remote, there *Rows, standby bool) *Rows {
	t.Helper()
	server := httptest.NewServer(remote.Handler("", func(app, store string) (*Rows, error) {
		if app != "a" || store != "s" {
			return nil, &connect.Error{Code: "streams.store.unknown", Class: connect.ClassConfig}
		}
		return there, nil
	}))
	t.Cleanup(server.Close)
	in := Instance{Name: "there", Address: strings.TrimPrefix(server.URL, "http://"), Active: []int32{0}}
	if standby {
		in.Active, in.Standby = nil, []int32{0}
	}
	asks := storeOf(t, 0, -1)
	asks.Here = func() []int32 { return nil }
	asks.Copy = func(int32) (int64, bool) { return 0, false }
	asks.Fleet = func() ([]Instance, <-chan struct{}) { return []Instance{in}, nil }
	asks.Peers = remote.Peers()
	t.Cleanup(asks.Peers.Close)
	return asks
}

func code(err error) string {
	if e, ok := errors.AsType[*connect.Error](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

func TestAskAnother(t *testing.T) {
	ctx := context.Background()
	r := served(t, &Remote{Secret: "s"}, storeOf(t, 5000, -1), false)
	row, found, err := r.Get(ctx, []byte("key00017"))
	if err != nil || !found || string(row.Value) != "value17" || row.Time != 17 || string(row.Key) != "key00017" {
		t.Errorf("found %v: %s=%s at %d, %v", found, row.Key, row.Value, row.Time, err)
	}
	if _, found, err := r.Get(ctx, []byte("none")); found || err != nil {
		t.Errorf("what is not there: %v, %v", found, err)
	}
	n := 0
	err = r.ScanAll(ctx, []byte("key01000"), nil, func(row Row) error {
		if want := fmt.Sprintf("key%05d", 1000+n); string(row.Key) != want {
			t.Fatalf("%s follows, want %s", row.Key, want)
		}
		n++
		return nil
	})
	if n != 4000 || err != nil {
		t.Errorf("visited %d rows, %v", n, err)
	}
	enough := errors.New("enough")
	if err := r.Scan(ctx, nil, nil, func(Row) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("a visit that ends: %v", err)
	}
	if err := r.Span(ctx, nil, 0, 1, func(Row) error { return nil }); err == nil || !strings.Contains(err.Error(), "no windows") {
		t.Errorf("windows of a store without: %v", err)
	}
	seen := Position{}
	if _, found, err := r.Within(Bounds{AtLeast: Position{"in": {0: 100, 1: 1 << 40}}, Seen: seen}).Get(ctx, []byte("key00001")); !found || err != nil || seen["in"][0] != 100 {
		t.Errorf("a bound that is met: %v, %v, seen %v", found, err, seen)
	}
	ctx, r = once(r)
	if _, _, err := r.Within(Bounds{AtLeast: Position{"in": {0: 101}}}).Get(ctx, []byte("key00001")); code(err) != "streams.store.behind" {
		t.Errorf("a bound that is not met: %v", err)
	}
}

// once returns rows that are asked for once: the second time it is too late.
func once(r *Rows) (context.Context, *Rows) {
	ctx, cancel := context.WithCancel(context.Background())
	fleet, calls := r.Fleet, 0
	o := &Rows{Source: r.Source}
	o.Fleet = func() ([]Instance, <-chan struct{}) {
		if calls++; calls > 1 {
			cancel()
		}
		return fleet()
	}
	return ctx, o
}

// TestAskCopy asks an instance that only has a copy, with bounds that allow it or not.
func TestAskCopy(t *testing.T) {
	r := served(t, &Remote{}, storeOf(t, 10, 5), true)
	for lag, want := range map[int64]string{0: "streams.store.elsewhere", 4: "streams.store.stale", 5: "<nil>"} {
		ctx, one := once(r)
		_, _, err := one.Within(Bounds{MaxLag: lag}).Get(ctx, []byte("key00001"))
		if code(err) != want {
			t.Errorf("with %d records allowed: %v, want %s", lag, err, want)
		}
	}
}

// TestOthersAreRefused sends questions that no instance sends.
func TestOthersAreRefused(t *testing.T) {
	remote := &Remote{Secret: "s"}
	h := remote.Handler("store.example:1", func(string, string) (*Rows, error) { return storeOf(t, 1, -1), nil })
	body, err := json.Marshal(question{App: "a", Store: "s", Op: opGet, Key: []byte("key00000")})
	if err != nil {
		t.Fatal(err)
	}
	ms := strconv.FormatInt(time.Now().UnixMilli(), 10)
	old := strconv.FormatInt(time.Now().Add(-time.Hour).UnixMilli(), 10)
	sign := func(ms string, body []byte) string { return ms + ":" + hex.EncodeToString(remote.sign(path, ms, body)) }
	for name, c := range map[string]struct {
		host, kind, sign string
		body             []byte
		want             int
	}{
		"a right one":          {"store.example:1", questionType, sign(ms, body), body, 200},
		"by address":           {"127.0.0.1:1", questionType, sign(ms, body), body, 200},
		"no signature":         {"127.0.0.1:1", questionType, "", body, 401},
		"of another body":      {"127.0.0.1:1", questionType, sign(ms, []byte("x")), body, 401},
		"of another time":      {"127.0.0.1:1", questionType, old + sign(ms, body)[len(ms):], body, 401},
		"an old one":           {"127.0.0.1:1", questionType, sign(old, body), body, 401},
		"from a page":          {"127.0.0.1:1", "text/plain", sign(ms, body), body, 415},
		"by a rebound name":    {"evil.example:1", questionType, sign(ms, body), body, 415},
		"nothing that is JSON": {"127.0.0.1:1", questionType, sign(ms, []byte("x")), []byte("x"), 400},
	} {
		req := httptest.NewRequest(http.MethodPost, "http://"+c.host+path, bytes.NewReader(c.body))
		req.Header.Set("Content-Type", c.kind)
		req.Header.Set(signature, c.sign)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", name, w.Code, c.want)
		}
	}
}

// TestOpenToOthers refuses to listen where anybody could ask.
func TestOpenToOthers(t *testing.T) {
	if _, _, err := (&Remote{Listen: "0.0.0.0:0"}).Open(t.Context()); code(err) != "streams.remote.open" {
		t.Errorf("listening for everybody: %v", err)
	}
	l, address, err := (&Remote{Advertise: "store.example:0"}).Open(t.Context())
	if err != nil || address != "store.example:0" || !strings.HasPrefix(l.Addr().String(), "127.0.0.1:") {
		t.Fatalf("listens at %v as %s, %v", l, address, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestCutOff takes every beginning of an answer for cut off, and gives the rows it has.
func TestCutOff(t *testing.T) {
	var answer bytes.Buffer
	f := frameWriter{w: bufio.NewWriter(&answer)}
	for i := range 3 {
		if err := f.row(Row{Key: []byte("key"), Value: bytes.Repeat([]byte{'v'}, 100*i), Time: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.end(Position{"in": {0: 1}}, nil); err != nil {
		t.Fatal(err)
	}
	for n := range answer.Len() {
		r := frameReader{r: bufio.NewReader(bytes.NewReader(answer.Bytes()[:n]))}
		for {
			_, end, _, err := r.next()
			if end && err == nil {
				t.Fatalf("%d of %d bytes are an answer", n, answer.Len())
			}
			if err != nil {
				break
			}
		}
	}
}

// FuzzAnswer reads anything as an answer: it ends, with little memory.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("r\x01k\x01v\x02e\x02{}"))
	f.Add([]byte("f\x02{}"))
	f.Add([]byte("r\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := frameReader{r: bufio.NewReader(bytes.NewReader(b))}
		for range len(b) + 1 {
			if _, end, _, err := r.next(); end || err != nil {
				return
			}
		}
		t.Error("more frames than bytes")
	})
}
