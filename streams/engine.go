package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/fault"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/state"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/streams/txn"
)

// Config says how an Engine works. Only Brokers has to be set.
type Config struct {
	// Brokers are the first brokers to ask, each as host:port.
	Brokers []string
	// Client are further options of every Kafka client, such as TLS.
	Client []kgo.Opt
	// Dir is where state is kept, for one process at a time. When empty, state
	// is kept in memory and rebuilt from changelogs at every start.
	Dir string
	// Instance tells this process apart from others of the same applications,
	// across restarts. When empty, one is made up and kept in Dir.
	Instance string
	// CacheBytes bounds the write-back cache of each application; 10 MiB when
	// zero.
	CacheBytes int64
	// BlockCacheBytes bounds the cache of the database on disk, of which one half
	// keeps blocks and the other single rows; 64 MiB when zero, nothing when
	// negative.
	BlockCacheBytes int64
	// Replication is the number of copies of internal topics; the broker's
	// default when zero.
	Replication int
	// Restoring, when set, is told how far the rebuilding of a store has come:
	// how many of about total changelog records have been read. It is called by
	// several goroutines.
	Restoring func(app, store string, partition int32, read, total int64)
	// Remote, when set, lets the instances of an application ask each other for rows, so
	// that each can be asked for those of all. Where an instance answers and what it
	// has travels in the applications' groups.
	Remote *query.Remote
	// CountOperators counts the records of each operator for Status and for metrics, as
	// Kafka Streams does at the recording level DEBUG. It costs about a nanosecond for each
	// record at each operator; without it nothing.
	CountOperators bool
	// Logger hears about starts, rebalances and errors; none when nil.
	Logger *slog.Logger
}

// App is a topology to be run by an Engine.
type App struct {
	// ID is the application id: the consumer group, and the start of the names
	// of internal topics. All processes that share the work use the same.
	ID       string
	Topology *Topology
	// ExactlyOnce makes outputs, changelogs and consumed offsets visible
	// together, in one Kafka transaction for each commit.
	ExactlyOnce bool
	// CommitInterval is the longest time between two commits while there is
	// something to commit; 100 ms when zero.
	CommitInterval time.Duration
	// MaxIdle is how long a task waits for records of a partition that is known
	// to have some before it goes on with those of others; 100 ms when zero.
	MaxIdle time.Duration
	// FromLatest starts topics without committed offsets at their end instead of
	// their start.
	FromLatest bool
	// OnFault decides what becomes of a record that cannot be read, processed or
	// written. It may be called by several goroutines. When nil, each such record
	// stops the application.
	OnFault func(*fault.Fault) fault.Verdict
	// DeadLetters is the topic that gets the records that OnFault passes over, with
	// headers that say why; none when empty. It is made, with one partition, when it
	// is not there. Exactly once, a dead letter becomes visible with the rest of its
	// commit.
	DeadLetters string
	// Standbys is how many other instances keep a copy of each store up to date, so
	// that what a task leaves behind has little to be restored.
	Standbys int
	// AcceptableLag is how many changelog records an instance may lack to take a task
	// over when another lacks fewer: 10,000 when zero, none when negative. Until then
	// it warms up: it keeps a copy beside the tasks it has, while the task stays where
	// it is. MaxWarmups is how many of an application's tasks do so at once, 2 when
	// zero. As in KIP-441.
	AcceptableLag int64
	MaxWarmups    int
	// Transactions sets transaction mode: see the package's documentation. It takes
	// ExactlyOnce.
	Transactions *txn.Source
}

// Engine runs topologies. Applications can be added and removed at any time. It
// is safe for concurrent use.
type Engine struct {
	cfg      Config
	db       state.DB
	client   *topics.Client
	instance string
	speaks   byte         // the version of what members of a group tell each other
	disk     *state.Disk  // the DB, when it is on disk
	open     sync.RWMutex // held for writing while the DB is closed
	using    sync.RWMutex // held for reading by applications that run, before open
	shut     bool         // guarded by open: the DB is closed
	failing  error        // guarded by using and open, one to read: the disk fails, and the DB is in memory
	repairs  atomic.Int64 // how often the DB was damaged and replaced
	remote

	mu     sync.Mutex // guards the following
	apps   map[string]*application
	run    context.Context // nil before Run and after it
	ended  bool
	active sync.WaitGroup

	// crash, in tests, is asked at every named point of a commit whether the
	// process is to end there.
	crash func(point string) error
	// purgeEvery is purgeInterval outside of tests.
	purgeEvery time.Duration
	farBehind  int64 // farBehind outside of tests
}

// OpenEngine opens the state directory. Applications start with Run.
//
// A database that turns out to be damaged, then or later, is set aside in the state
// directory, where at most one is kept, and the stores are restored from their changelogs;
// those that are Unlogged begin empty. When the disk is full, commits wait until there is
// room, and State tells so. When it fails, applications with stores fail with the code
// streams.state.failing, those without go on, and nothing is written to the directory any
// more: it is as of an earlier commit, for the next Engine on it.
func OpenEngine(cfg Config) (*Engine, error) { return openEngine(cfg, nil) }

// openEngine is OpenEngine with a say in how the database is opened.
func openEngine(cfg Config, tune func(*state.DiskOptions)) (*Engine, error) {
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 10 << 20
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{cfg: cfg, apps: map[string]*application{}, db: state.NewMemory(), purgeEvery: purgeInterval, farBehind: farBehind, speaks: fleetVersion}
	var err error
	if e.client, err = topics.Open(cfg.Brokers, cfg.Client...); err != nil {
		return nil, err
	}
	if cfg.Dir != "" {
		if err = e.openDir(tune); err != nil {
			e.client.Close()
			return nil, err
		}
	}
	if e.instance == "" {
		e.instance = cfg.Instance
	}
	if e.instance == "" {
		e.instance = newInstance()
	}
	if err = e.openRemote(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func newInstance() string { return strconv.FormatUint(rand.Uint64(), 36) }

// openDir opens the database and finds out who this instance is.
func (e *Engine) openDir(tune func(*state.DiskOptions)) error {
	if err := os.MkdirAll(e.cfg.Dir, 0o750); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	if err := e.openDisk(tune); err != nil {
		return err
	}
	if e.cfg.Instance != "" {
		return nil
	}
	file := filepath.Join(e.cfg.Dir, "instance")
	name, err := os.ReadFile(file)
	if err == nil && len(name) > 0 {
		e.instance = string(name)
		return nil
	}
	e.instance = newInstance()
	if err = os.WriteFile(file, []byte(e.instance), 0o640); err != nil {
		return errors.Join(fmt.Errorf("keeping the name of this instance: %w", err), e.db.Close())
	}
	return nil
}

// Run runs the applications until ctx is done, commits what was processed, and
// closes the Engine. It returns once everything has ended.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.run != nil || e.ended {
		e.mu.Unlock()
		return errors.New("streams: an Engine runs once")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.run = ctx
	for _, a := range e.apps {
		e.start(a)
	}
	e.serve(ctx)
	if e.disk != nil {
		e.active.Go(func() { e.watchDisk(ctx) })
	}
	e.mu.Unlock()
	<-ctx.Done()
	e.mu.Lock()
	e.run, e.ended = nil, true
	e.mu.Unlock()
	e.active.Wait()
	return e.Close()
}

// Close releases what OpenEngine opened, for an Engine that never ran. Run does it
// by itself.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	e.closeRemote()
	e.client.Close()
	e.open.Lock()
	defer e.open.Unlock()
	e.shut = true
	return e.db.Close()
}

// start runs an application in a goroutine of its own. e.mu is held.
func (e *Engine) start(a *application) {
	ctx, cancel := context.WithCancel(e.run)
	a.cancel, a.done = cancel, make(chan struct{})
	e.active.Go(func() {
		defer close(a.done)
		defer cancel()
		a.run(ctx)
	})
}

// Add adds an application, which starts at once when the Engine is running.
func (e *Engine) Add(a App) error {
	if a.ID == "" || a.Topology == nil {
		return connect.ConfigError("App", "an application has an ID and a Topology")
	}
	if err := checkTransactions(&a); err != nil {
		return err
	}
	if a.CommitInterval <= 0 {
		a.CommitInterval = 100 * time.Millisecond
	}
	if a.MaxIdle <= 0 {
		a.MaxIdle = 100 * time.Millisecond
	}
	if a.AcceptableLag == 0 {
		a.AcceptableLag = 10_000
	}
	a.AcceptableLag = max(a.AcceptableLag, 0)
	if a.MaxWarmups <= 0 {
		a.MaxWarmups = 2
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return errors.New("streams: the Engine has ended")
	}
	if e.apps[a.ID] != nil {
		return &connect.Error{Code: "streams.app.taken", Class: connect.ClassConfig, Place: a.ID, Message: "an application of this id is running", Mend: "remove it first"}
	}
	app := newApplication(e, a)
	e.apps[a.ID] = app
	if e.run != nil {
		e.start(app)
	}
	return nil
}

// Remove stops an application after a last commit. With reset it is also
// forgotten: its state here, its internal topics and the offsets of its group. No
// other process may be running it then.
func (e *Engine) Remove(ctx context.Context, id string, reset bool) error {
	a, err := e.app(id)
	if err != nil {
		return err
	}
	e.mu.Lock()
	cancel, done := a.cancel, a.done
	e.mu.Unlock()
	if cancel != nil {
		cancel()
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	e.mu.Lock()
	delete(e.apps, id)
	e.mu.Unlock()
	if !reset {
		return nil
	}
	return e.forget(ctx, a)
}

// forget removes every trace of a stopped application.
func (e *Engine) forget(ctx context.Context, a *application) error {
	err := e.dropStores(a)
	return errors.Join(err, e.client.Delete(ctx, a.Topology.InternalTopics(a.ID)...), e.client.DeleteGroup(ctx, a.ID))
}

func (e *Engine) dropStores(a *application) error {
	e.using.RLock()
	defer e.using.RUnlock()
	d, ok := e.db.(interface{ Drop(name string) error })
	if !ok {
		return nil
	}
	err := d.Drop(metaStore(a.ID))
	for _, s := range a.Topology.Stores() {
		err = errors.Join(err, d.Drop(storeName(a.ID, s)))
	}
	return err
}

func (e *Engine) app(id string) (*application, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.apps[id]; a != nil {
		return a, nil
	}
	return nil, &connect.Error{Code: "streams.app.unknown", Class: connect.ClassConfig, Place: id, Message: "no application of this id is running here"}
}

// Apps lists the ids of the applications, sorted.
func (e *Engine) Apps() (ids []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id := range e.apps {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// State returns how an application is doing, and the error that stopped it or
// made it start anew last, or that the disk is full, of code streams.state.full.
func (e *Engine) State(id string) (State, error) {
	a, err := e.app(id)
	if err != nil {
		return Stopped, err
	}
	full := e.full()
	a.mu.Lock()
	defer a.mu.Unlock()
	if full != nil && a.state != Failed && a.state != Stopped {
		return a.state, full
	}
	return a.state, a.err
}

// Pause stops an application from taking in records, after a commit; Resume lets
// it go on.
func (e *Engine) Pause(id string) error { return e.setPaused(id, true) }

// Resume ends a pause, and starts an application that failed anew.
func (e *Engine) Resume(id string) error { return e.setPaused(id, false) }

func (e *Engine) setPaused(id string, paused bool) error {
	a, err := e.app(id)
	if err != nil {
		return err
	}
	a.paused.Store(paused)
	if !paused {
		select {
		case a.again <- struct{}{}:
		default:
		}
	}
	return nil
}

// Metrics returns an application's counters.
func (e *Engine) Metrics(id string) (*Metrics, error) {
	a, err := e.app(id)
	if err != nil {
		return nil, err
	}
	return &a.metrics, nil
}
