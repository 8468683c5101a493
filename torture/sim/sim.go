package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/registry"
)

// Options say what to simulate.
type Options struct {
	Seed uint64
	// For is how long faults are made, in virtual time. Afterwards everything is mended
	// and must come to rest.
	For time.Duration
	// ExactlyOnce runs the worker with exactly.once.source.support=enabled.
	ExactlyOnce bool
	// Snapshot is snapshot.mode.
	Snapshot string
	// Tight gives the source a queue and the producer a buffer of the least size, so that
	// the brokers' troubles reach back to the server.
	Tight bool
	// Faults are what is done to the parts. Default: all.
	Faults []Fault
	// KafkaDelay is how long bytes take to and from the brokers, but for the oracle.
	// Default: as the seed says, another time on each connection.
	KafkaDelay time.Duration
	// Heartbeat is heartbeat.interval.ms. Default: the worker's.
	Heartbeat time.Duration
	// Dir is for files that a task keeps on its machine.
	Dir string
	// Log takes what the worker logs and what is done to it; nil for nothing.
	Log io.Writer
}

// Result is what came of a simulation.
type Result struct {
	// Made counts the faults of each kind.
	Made map[Fault]int
	// Transactions and Changes are what was committed, Records what came to Kafka and
	// Replays how often a stretch of it came again.
	Transactions, Changes, Records, Replays int
	// Exits counts how often the worker ended by itself and was started again.
	Exits int
	// Anomalies are what must not be.
	Anomalies []string
	// Recovery is how long it took to come to rest after the last fault, in virtual
	// time.
	Recovery time.Duration
}

// Hosts of the simulation.
const (
	hostPostgres = "10.0.0.1"
	hostKafka    = "10.0.0.2"
	hostRegistry = "10.0.0.3"
	hostOracle   = "10.0.9.9"

	brokers      = hostKafka + ":9092"
	registryURL  = "http://" + hostRegistry + ":8081"
	offsetsTopic = "sim-offsets"
	connector    = "sim"
)

// world is one simulation.
type world struct {
	Options
	rng     *rand.Rand
	log     *slog.Logger
	net     *network
	db      *database
	server  *server
	cluster *kfake.Cluster
	schemas *http.Server
	oracle  *oracle
	plant   *plant
	began   time.Time

	brokerFaults []*kfake.FaultHandle // Those that were installed.

	mu        sync.Mutex          // Guards what follows.
	refuse    func() (status int) // What the registry answers, 0 for what it knows.
	anomalies []string
	made      map[Fault]int
	exits     int
}

// Run simulates. It must be called in a bubble of testing/synctest, whose clock it
// uses; the error says that the simulation itself could not be run.
func Run(ctx context.Context, o Options) (*Result, error) {
	w := &world{Options: o, rng: rand.New(rand.NewPCG(o.Seed, 1)), log: slog.New(slog.DiscardHandler), net: newNetwork(), made: map[Fault]int{}, began: time.Now()}
	if o.Log != nil {
		w.log = slog.New(slog.NewTextHandler(o.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if o.Faults == nil {
		w.Faults = Faults()
	}
	w.net.delay = delays(rand.New(rand.NewPCG(o.Seed, 4)), o.KafkaDelay)
	w.db = newDatabase(w.note)
	if o.Snapshot == "initial" {
		const rows = 1000
		w.db.fill(rows)
	}
	if err := w.open(); err != nil {
		return nil, err
	}
	defer w.close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	around, actx := errgroup.WithContext(ctx)
	around.Go(func() error { return w.oracle.run(actx) })
	around.Go(func() error { return w.oracle.judge(actx) })
	around.Go(func() error { return w.checkpoints(actx) })
	recovery, err := w.play(actx)
	stop()
	w.plant.close()
	if failed := around.Wait(); err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	return w.result(recovery), nil
}

// play makes the faults, mends everything and waits until all has arrived.
func (w *world) play(ctx context.Context) (time.Duration, error) {
	if err := w.plant.start(ctx); err != nil {
		return 0, err
	}
	busy, bctx := errgroup.WithContext(ctx)
	over, stop := context.WithCancel(bctx)
	defer stop()
	busy.Go(func() error { return w.work(over) })
	busy.Go(func() error { return w.plant.watch(over) })
	busy.Go(func() error {
		defer stop()
		return w.disturb(over)
	})
	if err := busy.Wait(); err != nil {
		return 0, err
	}
	return w.settle(ctx)
}

// settle waits until everything that committed has arrived and been confirmed.
func (w *world) settle(ctx context.Context) (time.Duration, error) {
	const patience = 10 * time.Minute
	began := time.Now()
	for {
		missing, example := w.oracle.missing()
		behind := w.db.behind()
		switch {
		case missing == 0 && behind == "" && w.plant.healthy() == "":
			w.oracle.equal()
			return time.Since(began), nil
		case time.Since(began) > patience:
			if missing > 0 {
				w.note("lost", fmt.Sprintf("%d changes never came; the first is %s", missing, example))
			}
			w.note("live", fmt.Sprintf("no rest %v after the last fault: %s; %s", patience, behind, w.plant.healthy()))
			return time.Since(began), nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// behind tells what of the log is not confirmed, "" when all is that matters.
func (d *database) behind() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.committed) == 0 {
		return ""
	}
	last := d.committed[len(d.committed)-1].end
	for _, s := range d.slots {
		if !s.temporary && s.confirmed < last {
			return fmt.Sprintf("the slot stands at %s, and the last transaction ends at %s", lsn(s.confirmed), lsn(last))
		}
	}
	return ""
}

// note takes an anomaly.
func (w *world) note(kind, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	const most = 20
	if len(w.anomalies) < most {
		w.anomalies = append(w.anomalies, fmt.Sprintf("%s: %s (at %v)", kind, text, time.Since(w.began).Round(time.Millisecond)))
	}
	w.log.Error("ANOMALY", "kind", kind, "what", text)
}

// result counts.
func (w *world) result(recovery time.Duration) *Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &Result{Made: w.made, Anomalies: w.anomalies, Recovery: recovery, Exits: w.exits, Transactions: len(w.db.committed), Records: w.oracle.records, Replays: w.oracle.replays}
	for _, tx := range w.db.committed {
		for i := range tx.changes {
			if tx.changes[i].undone == 0 {
				r.Changes++
			}
		}
	}
	return r
}

// open starts everything but the worker.
func (w *world) open() (err error) {
	w.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.ClusterID("sim"), kfake.ListenFn(func(network, _ string) (net.Listener, error) { return w.net.listen(network, brokers) }),
		kfake.BrokerConfigs(map[string]string{"log.cleaner.backoff.ms": "9000000000", "log.retention.ms": "-1"}))
	if err != nil {
		return fmt.Errorf("starting the broker: %w", err)
	}
	// Clients are not asked for their metrics: a quarter of all work would go into that.
	w.cluster.ControlKey(int16(kmsg.GetTelemetrySubscriptions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.GetTelemetrySubscriptionsResponse)
		resp.PushIntervalMillis = int32(time.Hour.Milliseconds())
		return resp, nil, true
	})
	w.oracle = newOracle(w.db, w.cluster, w.note)
	w.oracle.exactly = w.ExactlyOnce
	for _, topic := range w.oracle.dataTopics() {
		if err := w.cluster.CreateTopic(topic, 3, nil); err != nil {
			return err
		}
	}
	compact := "compact"
	for _, topic := range []string{offsetsTopic, "sim-configs", "sim-status"} {
		if err := w.cluster.CreateTopic(topic, 1, map[string]string{"cleanup.policy": compact}); err != nil {
			return err
		}
	}
	if err := w.openRegistry(); err != nil {
		return err
	}
	if w.oracle.client, err = kgo.NewClient(kgo.SeedBrokers(brokers), kgo.Dialer(w.net.dialer(hostOracle)), kgo.ConsumeTopics(append(w.oracle.dataTopics(), offsetsTopic)...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(30*time.Second), kgo.DisableClientMetrics()); err != nil {
		return err
	}
	w.server = newServer(w.db, w.net, hostPostgres, w.oracle.confirmed)
	w.plant = &plant{world: w}
	return w.server.start()
}

// openRegistry serves the schema registry.
func (w *world) openRegistry() error {
	r, err := registry.New(registry.Options{})
	if err != nil {
		return err
	}
	known := r.Handler()
	w.schemas = &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if status := w.registryAnswer(req); status != 0 {
			http.Error(rw, `{"error_code":50001,"message":"simulated"}`, status)
			return
		}
		known.ServeHTTP(rw, req)
	})}
	l, err := w.net.listen("tcp", hostRegistry+":8081")
	if err != nil {
		return err
	}
	go func() { _ = w.schemas.Serve(l) }() // It ends with Close.
	converter := avro.PluginsVia(w.net.dialer(hostOracle))[0].New()
	w.oracle.convert = converter
	return converter.Configure(connect.Config{"schema.registry.url": registryURL}, false)
}

// registryAnswer returns the status of a refusal, 0 for none. The oracle is never
// refused.
func (w *world) registryAnswer(req *http.Request) int {
	host, _, _ := net.SplitHostPort(req.RemoteAddr)
	w.mu.Lock()
	refuse := w.refuse
	w.mu.Unlock()
	if refuse == nil || host == hostOracle {
		return 0
	}
	return refuse()
}

// close stops everything that is left.
func (w *world) close() {
	w.plant.close()
	w.server.close()
	w.oracle.client.Close()
	_ = w.oracle.convert.Close()
	_ = w.schemas.Close()
	w.cluster.Close()
}

// checkpoints has the server write its slots down every few minutes.
func (w *world) checkpoints(ctx context.Context) error {
	ticker := time.NewTicker(5 * time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			w.db.checkpoint()
		}
	}
}
