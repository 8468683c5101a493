package chaos

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/internal/testenv/netns"
	"github.com/tidemill/tidemill/internal/testenv/proxy"
)

// Options say what world to make.
type Options struct {
	// Dir is an empty directory for everything, which every user may enter: PostgreSQL
	// runs as another one when we are root.
	Dir string
	// Binary is the tidemill to torture.
	Binary string
	// Workers is how many of it make a fleet. Default: one.
	Workers int
	// Lan has each worker run on a machine of its own, as far as networks go. Default: all
	// are on the loopback.
	Lan *netns.Lan
	// Env is added to the environment of the workers.
	Env []string
	// Points is what a worker with failpoints does at them, as TIDEMILL_FAILPOINT says it,
	// at each point once. Default: nothing.
	Points string
	// ExactlyOnce switches it on in the worker.
	ExactlyOnce bool
	// PGBin is the folder of PostgreSQL's server programs. Default: search.
	PGBin string
	// Captured is what faults of the slot, the publication and the server concern.
	Captured Captured
	// Beside reads the log beside the worker; nil for nobody.
	Beside Beside
	// Journal is told what happens.
	Journal *Journal
}

// World is everything that a run needs. Its methods may be called by several goroutines.
type World struct {
	o        Options
	pg       atomic.Pointer[devstack.Postgres] // The one that everybody comes to.
	registry *devstack.Registry
	sick     *sickRegistry
	broker   *process
	workers  []*worker
	answered atomic.Int32 // Which worker answered last.
	toPG     *proxy.Proxy
	toKafka  *proxy.Proxy
	ships    []*ship                     // Of the fleet, if there is one.
	aboard   atomic.Pointer[[]*logWatch] // Their logs, for who watches logs.
	secret   string

	brokerAddr string // Where the broker listens, behind the proxy.
	faultsAddr string // Where the broker takes orders to fail.

	fork       atomic.Uint64
	promotions int        // Of the one goroutine that does the faults.
	server     sync.Mutex // held by whoever stops and starts PostgreSQL
	group      *errgroup.Group
	life       context.Context // Ends when everything is to end.
	cancel     context.CancelFunc
}

// Connector is the name of the source connector that faults over REST concern.
const Connector = "bank"

// The topics of the worker.
const (
	offsetsTopic = "torture-offsets"
	configsTopic = "torture-configs"
	statusTopic  = "torture-status"
)

// Start makes the world and returns when the worker takes requests.
func Start(ctx context.Context, o Options) (_ *World, err error) {
	w := &World{o: o, secret: "canary" + rand.Text()}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w.group, w.life = errgroup.WithContext(life)
	w.cancel = cancel
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Stop())
		}
	}()
	for _, start := range []func(context.Context) error{w.startPostgres, w.startRegistry, w.prepareKafka, w.prepareWorkers} {
		if err := start(ctx); err != nil {
			return nil, err
		}
	}
	all := []*process{w.broker}
	for _, k := range w.workers {
		all = append(all, k.process)
	}
	for _, p := range all {
		p.said = func(what, text string) { o.Journal.Say(what, "%s", text) }
		w.group.Go(func() error { return p.run(w.life) })
	}
	return w, w.Ready(ctx)
}

func (w *World) startPostgres(ctx context.Context) error {
	pg, err := devstack.StartPostgres(ctx, devstack.PostgresOptions{
		BinDir: w.o.PGBin, Dir: filepath.Join(w.o.Dir, "postgres"), Password: w.secret, NoSync: true,
		Settings: map[string]string{
			"max_connections": "200", "wal_sender_timeout": "5s", "log_min_messages": "warning", "max_prepared_transactions": "50",
			"max_wal_senders": "20", "autovacuum_naptime": "10s",
		},
	})
	if err != nil {
		return err
	}
	w.pg.Store(pg)
	w.toPG, err = proxy.New(net.JoinHostPort("127.0.0.1", strconv.Itoa(pg.Port())), proxy.Options{Listen: w.front()})
	return err
}

func (w *World) startRegistry(ctx context.Context) (err error) {
	if w.registry, err = devstack.StartRegistry("127.0.0.1:0", filepath.Join(w.o.Dir, "registry")); err != nil {
		return err
	}
	// Whatever becomes of a table has a schema: what readers of older ones make of it
	// is not the question here.
	if err := send(ctx, http.MethodPut, w.registry.URL()+"/config", `{"compatibility":"NONE"}`); err != nil {
		return err
	}
	w.sick, err = newSickRegistry(w.registry.URL(), w.front())
	return err
}

func (w *World) prepareKafka(context.Context) (err error) {
	port, err := devstack.FreePort()
	if err != nil {
		return err
	}
	faults, err := devstack.FreePort()
	if err != nil {
		return err
	}
	w.brokerAddr, w.faultsAddr = "127.0.0.1:"+strconv.Itoa(port), "127.0.0.1:"+strconv.Itoa(faults)
	if w.toKafka, err = proxy.New(w.brokerAddr, proxy.Options{Listen: w.front()}); err != nil {
		return err
	}
	w.broker = newProcess("the broker", w.o.Binary, w.file("broker.log"), "dev-kafka", "--port", strconv.Itoa(port),
		"--data-dir", w.file("kafka"), "--advertise", w.toKafka.Addr(), "--faults", w.faultsAddr)
	return nil
}

// front is where that listens which workers come to. What is behind it is on the loopback.
func (w *World) front() string {
	if w.o.Lan != nil {
		return net.JoinHostPort(netns.Address, "0")
	}
	return "127.0.0.1:0"
}

func (w *World) file(name string) string { return filepath.Join(w.o.Dir, name) }

// Stop takes everything down, in the order in which it depends on each other.
func (w *World) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w.cancel()
	errs := []error{w.group.Wait()}
	for _, k := range w.workers {
		if k.machine != nil {
			errs = append(errs, k.machine.Close())
		}
	}
	proxies := []*proxy.Proxy{w.toPG, w.toKafka}
	for _, s := range w.ships {
		proxies = append(proxies, s.toKafka)
	}
	for _, p := range proxies {
		if p != nil {
			_ = p.Close() // Nothing is lost with it.
		}
	}
	if w.sick != nil {
		errs = append(errs, w.sick.close())
	}
	if w.registry != nil {
		errs = append(errs, w.registry.Stop(ctx))
	}
	if pg := w.pg.Load(); pg != nil {
		w.keepLog()
		errs = append(errs, pg.Stop(ctx))
	}
	return errors.Join(errs...)
}

// Connect opens a connection to a database, past the proxy.
func (w *World) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, w.pg.Load().DSN(database))
}

// ProxiedDSN is the address of a database for the worker's connectors.
func (w *World) ProxiedDSN(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword("postgres", w.secret), Host: w.toPG.Addr(), Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Secret is the password of the database, which must not be seen anywhere.
func (w *World) Secret() string { return w.secret }

// Brokers and Registry are for readers of the topics: the broker as its clients know it,
// the registry past the proxy.
func (w *World) Brokers() []string { return []string{w.toKafka.Addr()} }

// Registry is the address of the schema registry, past the proxy.
func (w *World) Registry() string { return w.registry.URL() }

// Direct are options of a Kafka client that goes past the proxy.
func (w *World) Direct() []kgo.Opt {
	var d net.Dialer
	proxied := w.toKafka.Addr()
	return []kgo.Opt{kgo.SeedBrokers(w.brokerAddr), kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		if host == proxied {
			host = w.brokerAddr
		}
		return d.DialContext(ctx, network, host)
	})}
}

// RestartAll ends everything in an orderly way and starts it again: what was done must
// not be done anew.
func (w *World) RestartAll(ctx context.Context) error {
	const patience = 30 * time.Second
	if err := w.stopWorkers(ctx, patience); err != nil {
		return err
	}
	if err := w.broker.stop(ctx, patience); err != nil {
		return err
	}
	if err := w.restartPostgres(ctx); err != nil {
		return err
	}
	w.broker.release()
	w.releaseWorkers()
	return w.Ready(ctx)
}

// restartPostgres stops the server if it runs, fast, and starts it.
func (w *World) restartPostgres(ctx context.Context) error {
	w.server.Lock()
	defer w.server.Unlock()
	w.keepLog()
	return w.pg.Load().Restart(ctx)
}

// crashPostgres ends the server at once, leaves it down for a while and starts it.
func (w *World) crashPostgres(ctx context.Context, sig syscall.Signal, down time.Duration) error {
	w.server.Lock()
	defer w.server.Unlock()
	w.pg.Load().Crash(sig)
	w.keepLog()
	pause(ctx, down)
	return w.pg.Load().Restart(context.WithoutCancel(ctx))
}

// keepLog saves the server's log, which every start of it empties.
func (w *World) keepLog() {
	text, err := os.ReadFile(w.pg.Load().LogFile())
	if err != nil {
		return
	}
	f, err := os.OpenFile(w.file("postgres.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = f.Write(text)
}

// tail returns the end of a file.
func tail(file string, most int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// PostgresProxy is the host and port of the server as the worker knows them.
func (w *World) PostgresProxy() (string, int) {
	addr := w.toPG.Addr()
	host, port, _ := net.SplitHostPort(addr) // The proxy's own address has both.
	n, _ := strconv.Atoi(port)
	return host, n
}

// WorkerRegistry is the address of the schema registry as the worker knows it.
func (w *World) WorkerRegistry() string { return w.sick.url }

// Ends returns how many records readers of committed ones find in the topics whose names
// begin with prefix, but for some, all partitions together.
func (w *World) Ends(ctx context.Context, prefix string, but ...string) (map[string]int64, error) {
	client, err := kgo.NewClient(w.Direct()...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	sums := map[string]int64{}
	for _, name := range topics.Names() {
		if strings.HasPrefix(name, prefix) && !slices.Contains(but, name) {
			sums[name] = 0
		}
	}
	ends, err := admin.ListCommittedOffsets(ctx, slices.Collect(maps.Keys(sums))...)
	if err == nil {
		err = ends.Error()
	}
	ends.Each(func(o kadm.ListedOffset) { sums[o.Topic] += o.Offset })
	return sums, err
}
