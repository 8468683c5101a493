package sim

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fault is something that is done to a part of the simulation.
type Fault string

// The faults.
const (
	// Connections are cut, at once or in the middle of a message, by either side.
	CutPostgres Fault = "cut-postgres"
	CutKafka    Fault = "cut-kafka"
	CutRegistry Fault = "cut-registry"
	// Connections swallow what is sent, and nobody is told.
	LosePostgres Fault = "lose-postgres"
	LoseKafka    Fault = "lose-kafka"
	LoseRegistry Fault = "lose-registry"
	// The server dies, forgetting what was confirmed since its last checkpoint, or is
	// restarted in order; it is away for a while.
	CrashPostgres   Fault = "crash-postgres"
	RestartPostgres Fault = "restart-postgres"
	// The server's clock is set to another time.
	JumpClock Fault = "jump-clock"
	// The broker is away for a while, or answers with errors, some of them for what it
	// has done all the same.
	RestartKafka Fault = "restart-kafka"
	FailKafka    Fault = "fail-kafka"
	// The registry is away for a while or answers with errors.
	RestartRegistry Fault = "restart-registry"
	FailRegistry    Fault = "fail-registry"
	// The worker is killed, loses its network and power, or is stopped in order; another
	// one begins after a while.
	KillWorker   Fault = "kill-worker"
	UnplugWorker Fault = "unplug-worker"
	StopWorker   Fault = "stop-worker"
)

// Faults returns all there are.
func Faults() []Fault {
	return []Fault{
		CutPostgres, CutKafka, CutRegistry, LosePostgres, LoseKafka, LoseRegistry, CrashPostgres, RestartPostgres, JumpClock,
		RestartKafka, FailKafka, RestartRegistry, FailRegistry, KillWorker, UnplugWorker, StopWorker,
	}
}

// weights says how often a fault is made, for those that are not made as often as the
// others: what stops everything for a while leaves no room for the rest.
var weights = map[Fault]int{CutPostgres: 12, CutKafka: 12, CutRegistry: 2, CrashPostgres: 2, RestartPostgres: 1, RestartRegistry: 1, FailRegistry: 1, LosePostgres: 2, LoseKafka: 2, UnplugWorker: 1, StopWorker: 1}

// lasting are the faults that are not made before the first position is stored: that a
// new connector does not reach its server is told to people soon, as it should be.
var lasting = map[Fault]bool{CrashPostgres: true, RestartPostgres: true, KillWorker: true, UnplugWorker: true, StopWorker: true}

// disturb makes faults until the time is over, and then mends everything.
func (w *world) disturb(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(w.Seed, 3))
	var bag []Fault
	for _, f := range w.Faults {
		bag = append(bag, slices.Repeat([]Fault{f}, max(1, weights[f]))...)
	}
	for end := w.began.Add(w.For); time.Now().Before(end); {
		if !rest(ctx, time.Duration(rng.ExpFloat64()*float64(20*time.Second))) {
			return nil
		}
		f := bag[rng.IntN(len(bag))]
		w.log.Info("FAULT", "kind", f)
		if err := w.make(ctx, f, rng); err != nil {
			return err
		}
	}
	w.mend()
	return nil
}

// mend undoes what would last.
func (w *world) mend() {
	for _, h := range w.brokerFaults {
		h.Remove()
	}
	w.setRefusal(nil)
}

// make makes a fault. Those that last a while are over when it returns.
func (w *world) make(ctx context.Context, f Fault, rng *rand.Rand) error {
	done := true
	if lasting[f] && !w.oracle.begun() {
		return nil
	}
	short := func() time.Duration { return time.Duration(rng.ExpFloat64() * float64(10*time.Second)) }
	switch f {
	case CutPostgres:
		done = w.cut(hostPostgres, rng)
	case CutKafka:
		done = w.cut(hostKafka, rng)
	case CutRegistry:
		done = w.cut(hostRegistry, rng)
	case LosePostgres:
		done = w.lose(hostPostgres, rng)
	case LoseKafka:
		done = w.lose(hostKafka, rng)
	case LoseRegistry:
		done = w.lose(hostRegistry, rng)
	case CrashPostgres, RestartPostgres:
		if err := w.restartServer(ctx, f == RestartPostgres, short(), short()/4); err != nil {
			return err
		}
	case JumpClock:
		w.db.mu.Lock()
		w.db.skew = time.Duration(rng.IntN(7200)-3600) * time.Second
		w.db.mu.Unlock()
	case RestartKafka, RestartRegistry:
		host := map[Fault]string{RestartKafka: hostKafka, RestartRegistry: hostRegistry}[f]
		w.net.close(host)
		rest(ctx, short())
		w.net.reopen(host)
	case FailKafka:
		w.failBroker(rng)
	case FailRegistry:
		w.failRegistry(rng)
	case KillWorker, UnplugWorker, StopWorker:
		if err := w.plant.replace(ctx, f, short()); err != nil {
			return err
		}
	}
	if done {
		w.mu.Lock()
		w.made[f]++
		w.mu.Unlock()
	}
	return nil
}

// restartServer ends a life of the server and begins another after a while, which
// refuses logins at first.
func (w *world) restartServer(ctx context.Context, orderly bool, away, recovering time.Duration) error {
	w.db.crash(orderly)
	w.server.stop()
	rest(ctx, away)
	w.db.mu.Lock()
	w.db.boot()
	w.db.mu.Unlock()
	w.server.recovering(true)
	if err := w.server.start(); err != nil {
		return err
	}
	rest(ctx, recovering)
	w.server.recovering(false)
	return nil
}

// failBroker has the broker answer some requests with errors.
func (w *world) failBroker(rng *rand.Rand) {
	type kind struct {
		key kmsg.Key
		err *kerr.Error
	}
	kinds := []kind{
		{kmsg.Produce, kerr.NotLeaderForPartition}, {kmsg.Produce, kerr.RequestTimedOut}, {kmsg.Produce, kerr.NotEnoughReplicasAfterAppend}, {kmsg.Produce, kerr.NotEnoughReplicas},
		{kmsg.Fetch, kerr.NotLeaderForPartition}, {kmsg.Metadata, kerr.LeaderNotAvailable}, {kmsg.FindCoordinator, kerr.CoordinatorNotAvailable},
		{kmsg.ListOffsets, kerr.NotLeaderForPartition}, {kmsg.InitProducerID, kerr.CoordinatorLoadInProgress},
	}
	if w.ExactlyOnce {
		kinds = append(kinds, []kind{
			{kmsg.AddPartitionsToTxn, kerr.ConcurrentTransactions}, {kmsg.AddPartitionsToTxn, kerr.CoordinatorNotAvailable}, {kmsg.EndTxn, kerr.CoordinatorNotAvailable},
			{kmsg.EndTxn, kerr.NotCoordinator}, {kmsg.EndTxn, kerr.ConcurrentTransactions}, {kmsg.InitProducerID, kerr.ConcurrentTransactions},
		}...)
	}
	k := kinds[rng.IntN(len(kinds))]
	w.brokerFaults = append(w.brokerFaults, w.cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{k.key}, Err: k.err, Count: 1 + rng.IntN(8), TopLevel: k.key == kmsg.EndTxn || k.key == kmsg.InitProducerID,
	}))
}

// failRegistry has the registry answer the next requests with an error.
func (w *world) failRegistry(rng *rand.Rand) {
	status := []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusBadGateway}[rng.IntN(4)]
	left := 1 + rng.IntN(10)
	w.setRefusal(func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		if left--; left < 0 {
			return 0
		}
		return status
	})
}

func (w *world) setRefusal(refuse func() int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = refuse
}

// victim returns one of the worker's connections to a host, nil when it has none.
func (w *world) victim(host string, rng *rand.Rand) *link {
	l := w.plant.now()
	if l == nil {
		return nil
	}
	links := w.net.between(l.host, host)
	if len(links) == 0 {
		return nil
	}
	// They come in no order, and the same seed should do the same.
	slices.SortFunc(links, func(a, b *link) int { return a.number - b.number })
	return links[rng.IntN(len(links))]
}

// delays says how long bytes take on the way: mostly next to nothing, sometimes as long
// as between continents, and rarely as on a network that is about to fail. Those to the
// brokers take as long as is said, unless that is 0.
func delays(rng *rand.Rand, kafka time.Duration) func(from, to string) time.Duration {
	return func(_, to string) time.Duration {
		if kafka > 0 && to == hostKafka {
			return kafka
		}
		switch n := rng.IntN(20); {
		case n < 8:
			return 0
		case n < 16:
			return time.Duration(100+rng.IntN(5000)) * time.Microsecond
		case n < 19:
			return time.Duration(20+rng.IntN(150)) * time.Millisecond
		}
		return time.Duration(500+rng.IntN(1500)) * time.Millisecond
	}
}

func (w *world) lose(host string, rng *rand.Rand) bool {
	victim := w.victim(host, rng)
	if victim == nil {
		return false
	}
	victim.blackHole()
	return true
}

// cut cuts one connection of the worker to a host.
func (w *world) cut(host string, rng *rand.Rand) bool {
	victim := w.victim(host, rng)
	if victim == nil {
		return false
	}
	way := victim.cut
	if rng.IntN(2) == 0 {
		way = victim.finish
	}
	switch rng.IntN(3) {
	case 0:
		way()
	case 1:
		victim.up.allow(rng.IntN(400), way)
	default:
		victim.down.allow(rng.IntN(2000), way)
	}
	return true
}
