package apps

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/query"
)

// application is a program over package streams, as a user would write it, in a process
// of its own. It runs until it gets a signal.
type application struct {
	topology, id, inputs, output string
	brokers, registry, dir       string
	exactlyOnce                  bool
	commit                       time.Duration
	cache, blockCache            int64
	records                      int // That a bare loop is over after.
	standbys                     int
	session                      time.Duration
	remote                       bool
}

// Run is main for the application, with the arguments of the command line. It returns when
// ctx is done, when a bare loop has read its records, or with what is wrong.
func Run(ctx context.Context, args []string) error {
	a := &application{}
	f := flag.NewFlagSet("application", flag.ContinueOnError)
	f.StringVar(&a.topology, "topology", "", "what to run; see topologies")
	f.StringVar(&a.id, "id", "", "the application id")
	f.StringVar(&a.inputs, "inputs", "", "the topics to read, with commas between them")
	f.StringVar(&a.output, "output", "", "the topic to write")
	f.StringVar(&a.brokers, "brokers", "", "the brokers, with commas between them")
	f.StringVar(&a.registry, "registry", "", "the address of the schema registry")
	f.StringVar(&a.dir, "dir", "", "where state is kept")
	f.BoolVar(&a.exactlyOnce, "exactly-once", false, "whether everything counts exactly once")
	f.DurationVar(&a.commit, "commit", 100*time.Millisecond, "the time between two commits")
	f.Int64Var(&a.cache, "cache", 0, "bytes of the write-back cache; the default when zero")
	f.Int64Var(&a.blockCache, "block-cache", 0, "bytes of the cache of the database; the default when zero")
	f.IntVar(&a.standbys, "standbys", 0, "how many other instances keep a copy of the state")
	f.DurationVar(&a.session, "session", 45*time.Second, "after how long of silence another instance takes this one's place")
	f.BoolVar(&a.remote, "remote", false, "whether instances ask each other for rows")
	f.IntVar(&a.records, "records", 0, "how many records a bare loop reads")
	if err := f.Parse(args); err != nil {
		return err
	}
	if a.topology == BareLoop || a.topology == BareConsumer {
		return a.bare(ctx)
	}
	return a.run(ctx)
}

func (a *application) topics() []string { return strings.Split(a.inputs, ",") }

// run runs the engine, and tells what whoever measures has to know: in lines on its
// output, and over HTTP.
func (a *application) run(ctx context.Context) error {
	topology, err := a.build()
	if err != nil {
		return err
	}
	config := streams.Config{
		Brokers: strings.Split(a.brokers, ","), Dir: a.dir, CacheBytes: a.cache, BlockCacheBytes: a.blockCache, Restoring: tellRestoring(),
		Client: []kgo.Opt{kgo.SessionTimeout(a.session)},
	}
	if a.remote {
		config.Remote = &query.Remote{Secret: "between us"}
	}
	engine, err := streams.OpenEngine(config)
	if err != nil {
		return err
	}
	app := streams.App{ID: a.id, Topology: topology, ExactlyOnce: a.exactlyOnce, CommitInterval: a.commit, Standbys: a.standbys}
	if err := engine.Add(app); err != nil {
		return errors.Join(err, engine.Close())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	fmt.Printf("%s%s\n", ListeningMark, listener.Addr())
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return engine.Run(ctx) })
	work.Go(func() error { return tellRunning(ctx, engine, a.id) })
	work.Go(func() error { return serve(ctx, listener, &counts{engine: engine, app: a.id}) })
	return work.Wait()
}

// What the application says of itself.
const (
	ListeningMark = "listening at "    // Before the address.
	RunningMark   = "running"          // All stores are there.
	RestoringMark = "restoring"        // A store begins to be restored.
	LoopMark      = "loop over after " // A bare loop's nanoseconds, of the clock and of the processor.
)

// tellRestoring says when the first store begins to be restored.
func tellRestoring() func(app, store string, partition int32, read, total int64) {
	var once sync.Once
	return func(string, string, int32, int64, int64) { once.Do(func() { fmt.Println(RestoringMark) }) }
}

// tellRunning says when all stores are there, and what stops the application before.
func tellRunning(ctx context.Context, engine *streams.Engine, id string) error {
	for {
		switch state, err := engine.State(id); {
		case state == streams.Running:
			fmt.Println(RunningMark)
			return nil
		case state == streams.Failed:
			return err
		case err != nil:
			fmt.Fprintln(os.Stderr, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// serve answers HTTP until ctx is done.
func serve(ctx context.Context, listener net.Listener, c *counts) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /allocated", allocatedSoFar)
	mux.HandleFunc("GET /fixed", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("1")) })
	mux.HandleFunc("GET /count/{key}", c.answer)
	mux.HandleFunc("GET /row/{key}", c.answerRow)
	mux.HandleFunc("GET /sum", c.answerSum)
	mux.HandleFunc("GET /standing", c.answerStanding)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// allocatedSoFar answers with the objects and bytes allocated by this process.
func allocatedSoFar(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(w, "%d %d", m.Mallocs, m.TotalAlloc)
}

// counts answers point queries.
type counts struct {
	engine *streams.Engine
	app    string

	once sync.Once
	rows *query.Rows
	err  error
}

// answer writes the count of one key, 0 for one that has had no record.
func (c *counts) answer(w http.ResponseWriter, r *http.Request) {
	switch row, found, ok := c.find(w, r); {
	case !ok:
	case !found:
		_, _ = w.Write([]byte("0"))
	default:
		_, _ = w.Write(strconv.AppendUint(nil, binary.BigEndian.Uint64(row), 10))
	}
}

// answerRow writes the row of one key as it is.
func (c *counts) answerRow(w http.ResponseWriter, r *http.Request) {
	if row, _, ok := c.find(w, r); ok {
		_, _ = w.Write(row)
	}
}

// find looks a key up; what goes wrong is answered.
func (c *counts) find(w http.ResponseWriter, r *http.Request) (value []byte, found, ok bool) {
	key, err := strconv.ParseUint(r.PathValue("key"), 10, 64)
	if err = errors.Join(c.open(r.Context()), err); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil, false, false
	}
	row, found, err := c.rows.Get(r.Context(), binary.BigEndian.AppendUint64(nil, key))
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
	return row.Value, found, err == nil
}

// open opens the store, once.
func (c *counts) open(ctx context.Context) error {
	c.once.Do(func() { c.rows, c.err = c.engine.Rows(ctx, c.app, CountStore) })
	return c.err
}

// answerSum writes the [Sum] of all rows, in the order of their keys.
func (c *counts) answerSum(w http.ResponseWriter, r *http.Request) {
	sum := NewSum()
	err := c.open(r.Context())
	if err == nil {
		err = c.rows.ScanAll(r.Context(), nil, nil, func(row query.Row) error {
			sum.Add(row.Key, row.Value)
			return nil
		})
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte(sum.String()))
}

// Sum tells whether two have the same rows: how many there are, and a checksum over every
// key and row, in their order.
type Sum struct {
	rows   int
	hash   hash.Hash
	length []byte
}

// NewSum returns the sum of no rows.
func NewSum() *Sum { return &Sum{hash: sha256.New()} }

// Add adds the next row.
func (s *Sum) Add(key, row []byte) {
	s.rows++
	s.length = binary.AppendUvarint(binary.AppendUvarint(s.length[:0], uint64(len(key))), uint64(len(row)))
	for _, part := range [][]byte{s.length, key, row} {
		_, _ = s.hash.Write(part) // A hash takes everything.
	}
}

// String is the sum as text.
func (s *Sum) String() string { return fmt.Sprintf("%d rows %x", s.rows, s.hash.Sum(nil)) }

// Standing is how an instance stands.
type Standing struct {
	Tasks, Restored     int64
	Copies, Lag, Copied int64 // Of the stores of tasks that run elsewhere.
}

func (c *counts) answerStanding(w http.ResponseWriter, _ *http.Request) {
	m, err := c.engine.Metrics(c.app)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_ = json.NewEncoder(w).Encode(Standing{
		Tasks: m.Tasks.Load(), Restored: m.Restored.Load(), Copies: m.Standbys.Load(), Lag: m.StandbyLag.Load(), Copied: m.Copied.Load(),
	})
}
