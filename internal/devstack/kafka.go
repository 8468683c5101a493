package devstack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/connect"
)

// keepForever are broker settings that switch off what the in-process broker
// does not do safely. Its compaction drops committed records below an open
// transaction and moves the start of a log, and its retention does not spare
// compacted topics; so neither ever runs: the cleaner's interval is ten years
// and no topic expires.
var keepForever = map[string]string{
	"log.cleaner.backoff.ms":    "315360000000",
	"log.retention.ms":          "-1",
	"log.retention.bytes":       "-1",
	"offsets.retention.minutes": "5256000",
}

// cleanMark names the file that says the data was closed in an orderly way.
const cleanMark = "closed-cleanly"

// KafkaOptions says how to start the in-process broker. The zero value keeps
// everything in memory and listens on a free port.
type KafkaOptions struct {
	// Port is the TCP port on 127.0.0.1. Default: a free one.
	Port int
	// Dir keeps the broker's data; only one process may use it at a time.
	// Default: in memory.
	Dir string
	// Partitions is how many partitions a topic gets that is made without
	// saying so, by its first use too. Default: 1.
	Partitions int
	// SyncWrites makes every write durable before it is acknowledged. Without
	// it the death of this process loses nothing, but a power cut may.
	SyncWrites bool
	// Settings are broker settings, such as message.max.bytes.
	Settings map[string]string
	// Advertise is the host:port that the broker names as its own, for clients that
	// shall come through a proxy. Default: where it listens.
	Advertise string
}

// Kafka is a running in-process broker: one node that speaks Kafka's protocol
// to any client on this machine, transactions and consumer groups included.
// It replicates nothing, compacts nothing and expires nothing. It is for
// demonstrations, development and tests, not for production.
type Kafka struct {
	cluster *kfake.Cluster
	addrs   []string
	lock    *os.File

	mu      sync.RWMutex // held for reading while a request asks the cluster for more
	stopped bool         // guarded by mu
}

// StartKafka starts a broker. The error is a [*connect.Error] when the port is
// taken or another process uses the directory.
func StartKafka(opts KafkaOptions) (*Kafka, error) {
	if opts.Partitions == 0 {
		opts.Partitions = 1
	}
	settings := map[string]string{}
	for _, from := range []map[string]string{keepForever, opts.Settings} {
		for name, value := range from {
			settings[name] = value
		}
	}
	// One node only: moving leaders makes the broker report a wrong end of the
	// earlier epoch, which a client must take for data loss.
	all := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("tidemill-dev"),
		kfake.AllowAutoTopicCreation(),
		kfake.DefaultNumPartitions(opts.Partitions),
		kfake.BrokerConfigs(settings),
	}
	if opts.SyncWrites {
		all = append(all, kfake.SyncWrites())
	}
	k := &Kafka{}
	if opts.Dir != "" {
		lock, err := lockDir(opts.Dir)
		if err != nil {
			return nil, fmt.Errorf("starting the in-process broker: %w", err)
		}
		k.lock = lock
		all = append(all, kfake.DataDir(filepath.Join(opts.Dir, "log")))
	}
	cluster, err := openCluster(all, opts)
	if err != nil {
		k.unlock()
		return nil, err
	}
	k.cluster, k.addrs = cluster, cluster.ListenAddrs()
	if opts.Dir != "" {
		cluster.ControlKey(int16(kmsg.Metadata), k.createFirst)
	}
	return k, nil
}

// createFirst makes the topics that a metadata request is about to make by
// naming them. The broker itself would not write those down before its next
// orderly change of a topic, and a kill would lose all their records.
func (k *Kafka) createFirst(req kmsg.Request) (kmsg.Response, error, bool) {
	meta, ok := req.(*kmsg.MetadataRequest)
	if !ok || !meta.AllowAutoTopicCreation || len(meta.Topics) == 0 {
		return nil, nil, false
	}
	// The broker's only goroutine is the one that runs this function, so the
	// topics are made by another one while this request waits.
	k.cluster.SleepControl(func() {
		k.mu.RLock()
		defer k.mu.RUnlock()
		for _, t := range meta.Topics {
			if t.Topic == nil || k.stopped || k.cluster.TopicInfo(*t.Topic) != nil {
				continue
			}
			_ = k.cluster.CreateTopic(*t.Topic, -1, nil) // The request reports what is wrong with a name.
		}
	})
	return nil, nil, false
}

// openCluster opens the cluster on its port. After a kill it first ends the open
// transactions.
func openCluster(all []kfake.Opt, opts KafkaOptions) (*kfake.Cluster, error) {
	if opts.Dir != "" {
		if err := mendAfterKill(opts.Dir); err != nil {
			return nil, fmt.Errorf("recovering the in-process broker's data: %w", err)
		}
	}
	all = append(all, kfake.Ports(opts.Port))
	if opts.Advertise != "" {
		all = append(all, kfake.ListenFn(advertising(opts.Advertise)))
	}
	cluster, err := kfake.NewCluster(all...)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &connect.Error{
			Code:    "devstack.kafka.port",
			Place:   "127.0.0.1:" + strconv.Itoa(opts.Port),
			Message: "the in-process broker's port is taken",
			Mend:    "stop what listens there, or choose another port with --kafka-port",
			Cause:   err,
		}
	}
	if err != nil {
		return nil, fmt.Errorf("starting the in-process broker: %w", err)
	}
	return cluster, nil
}

// mendAfterKill ends the transactions that a kill left open. Whether there
// was a kill tells a file that only an orderly Stop leaves.
func mendAfterKill(dir string) error {
	err := os.Remove(filepath.Join(dir, cleanMark))
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return mendLogs(filepath.Join(dir, "log"))
}

// Brokers returns the bootstrap addresses.
func (k *Kafka) Brokers() []string { return k.addrs }

// Stop ends the broker; with a directory, it first writes everything down.
// Clients see their connections closed. A second Stop does nothing.
func (k *Kafka) Stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped {
		return
	}
	k.stopped = true
	k.cluster.Close()
	if k.lock != nil {
		// Without the mark the next start looks through the log: slower, not wrong.
		_ = os.WriteFile(filepath.Join(filepath.Dir(k.lock.Name()), cleanMark), nil, 0o644)
	}
	k.unlock()
}

// unlock gives the directory back.
func (k *Kafka) unlock() {
	if k.lock != nil {
		_ = k.lock.Close() // The lock goes with the descriptor in any case.
	}
}
