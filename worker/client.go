package worker

import (
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// clientKind says what a client is for, which decides whose settings it takes.
type clientKind string

const (
	producerClient clientKind = "producer"
	consumerClient clientKind = "consumer"
	adminClient    clientKind = "admin"
)

// clientNames are the worker's settings that all its clients take.
var clientNames = []string{
	"bootstrap.servers", "client.id", "security.protocol", "metadata.max.age.ms", "request.timeout.ms",
	"retry.backoff.ms", "retry.backoff.max.ms", "connections.max.idle.ms", "socket.connection.setup.timeout.ms",
}

// clientProps returns the settings of a client: the worker's own, then those with
// the kind's prefix, then the connector's overrides.
func clientProps(raw connect.Config, kind clientKind, connector connect.Config) connect.Config {
	props := workerProps(raw)
	for name, value := range raw {
		if rest, ok := strings.CutPrefix(name, string(kind)+"."); ok && kind != "" {
			props[rest] = value
		}
	}
	for name, value := range connector {
		if rest, ok := strings.CutPrefix(name, string(kind)+".override."); ok && kind != "" {
			props[rest] = value
		}
	}
	return props
}

// workerProps returns the settings of the clients that read and write the internal
// topics.
func workerProps(raw connect.Config) connect.Config {
	props := connect.Config{}
	for _, name := range clientNames {
		if v, ok := raw[name]; ok {
			props[name] = v
		}
	}
	for name, value := range raw {
		if strings.HasPrefix(name, "sasl.") || strings.HasPrefix(name, "ssl.") {
			props[name] = value
		}
	}
	return props
}

// clientReader turns Kafka's client settings into options, and gathers the faults.
type clientReader struct {
	props  connect.Config
	opts   []kgo.Opt
	faults connect.Errors
}

// clientOptions returns the options of a client of the given kind. Settings that
// speak of the Java client alone are passed over.
func clientOptions(props connect.Config, kind clientKind) ([]kgo.Opt, error) {
	r := &clientReader{props: props}
	r.common()
	switch kind {
	case producerClient:
		r.producer()
	case consumerClient:
		r.consumer()
	}
	if len(r.faults) > 0 {
		return nil, r.faults
	}
	return r.opts, nil
}

func (r *clientReader) add(opts ...kgo.Opt) { r.opts = append(r.opts, opts...) }

func (r *clientReader) text(name, def string) string {
	if v, ok := r.props[name]; ok {
		return strings.TrimSpace(v)
	}
	return def
}

// number returns a whole number and whether it was given.
func (r *clientReader) number(name string) (int, bool) {
	text, ok := r.props[name]
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		r.fault(name, "Invalid value %s for configuration %s: Not a number", text, name)
	}
	return n, err == nil
}

// millis adds the option for a time that was given in milliseconds.
func (r *clientReader) millis(name string, option func(time.Duration) kgo.Opt) {
	if n, ok := r.number(name); ok && n > 0 {
		r.add(option(time.Duration(n) * time.Millisecond))
	}
}

func (r *clientReader) fault(name, format string, args ...any) {
	r.faults = append(r.faults, connect.ConfigError(name, format, args...))
}

func (r *clientReader) common() {
	var seeds []string
	for seed := range strings.SplitSeq(r.text("bootstrap.servers", "localhost:9092"), ",") {
		if _, rest, ok := strings.Cut(seed, "://"); ok {
			seed = rest
		}
		seeds = append(seeds, strings.TrimSpace(seed))
	}
	r.add(kgo.SeedBrokers(seeds...))
	if id := r.text("client.id", ""); id != "" {
		r.add(kgo.ClientID(id))
	}
	r.millis("metadata.max.age.ms", func(d time.Duration) kgo.Opt { return kgo.MetadataMaxAge(max(d, time.Second)) })
	r.millis("request.timeout.ms", kgo.RequestTimeoutOverhead)
	r.millis("connections.max.idle.ms", kgo.ConnIdleTimeout)
	r.millis("socket.connection.setup.timeout.ms", kgo.DialTimeout)
	r.add(kgo.MetadataMinAge(250 * time.Millisecond))
	r.security()
}

func (r *clientReader) producer() {
	switch acks := r.text("acks", "all"); acks {
	case "all", "-1":
		r.add(kgo.RequiredAcks(kgo.AllISRAcks()))
	case "1":
		r.add(kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		r.fault("acks", "Invalid value 0 for configuration acks: offsets could not follow what nobody acknowledges")
	default:
		r.fault("acks", "Invalid value %s for configuration acks: String must be one of: all, -1, 1", acks)
	}
	if strings.EqualFold(r.text("enable.idempotence", "true"), "false") && r.text("acks", "all") != "1" {
		r.add(kgo.DisableIdempotentWrite())
	}
	r.compression()
	linger := 5 * time.Millisecond
	if n, ok := r.number("linger.ms"); ok {
		linger = time.Duration(n) * time.Millisecond
	}
	r.add(kgo.ProducerLinger(linger))
	if n, ok := r.number("max.request.size"); ok {
		r.add(kgo.ProducerBatchMaxBytes(int32(n)))
	}
	if n, ok := r.number("buffer.memory"); ok {
		r.add(kgo.MaxBufferedBytes(n))
	}
	r.millis("delivery.timeout.ms", func(d time.Duration) kgo.Opt { return kgo.RecordDeliveryTimeout(d) })
	r.millis("transaction.timeout.ms", func(d time.Duration) kgo.Opt { return kgo.TransactionTimeout(d) })
	r.add(kgo.RecordPartitioner(newPartitioner()))
}

func (r *clientReader) compression() {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	name := strings.ToLower(r.text("compression.type", "none"))
	codec, ok := codecs[name]
	if !ok {
		r.fault("compression.type", "Invalid value %s for configuration compression.type: String must be one of: none, gzip, snappy, lz4, zstd", name)
		return
	}
	r.add(kgo.ProducerBatchCompression(codec))
}

func (r *clientReader) consumer() {
	switch reset := strings.ToLower(r.text("auto.offset.reset", "earliest")); reset {
	case "earliest":
		r.add(kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	case "latest":
		r.add(kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	case "none":
		r.add(kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	default:
		r.fault("auto.offset.reset", "Invalid value %s for configuration auto.offset.reset: String must be one of: latest, earliest, none", reset)
	}
	for name, option := range map[string]func(int32) kgo.ConsumerOpt{
		"fetch.min.bytes": kgo.FetchMinBytes, "fetch.max.bytes": kgo.FetchMaxBytes, "max.partition.fetch.bytes": kgo.FetchMaxPartitionBytes,
	} {
		if n, ok := r.number(name); ok {
			r.add(option(int32(n)))
		}
	}
	r.millis("fetch.max.wait.ms", func(d time.Duration) kgo.Opt { return kgo.FetchMaxWait(d) })
	r.millis("session.timeout.ms", func(d time.Duration) kgo.Opt { return kgo.SessionTimeout(d) })
	r.millis("heartbeat.interval.ms", func(d time.Duration) kgo.Opt { return kgo.HeartbeatInterval(d) })
	r.millis("max.poll.interval.ms", func(d time.Duration) kgo.Opt { return kgo.RebalanceTimeout(d) })
	if strings.EqualFold(r.text("isolation.level", "read_uncommitted"), "read_committed") {
		r.add(kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if id := r.text("group.instance.id", ""); id != "" {
		r.add(kgo.InstanceID(id))
	}
	if rack := r.text("client.rack", ""); rack != "" {
		r.add(kgo.Rack(rack))
	}
	r.add(kgo.Balancers(balancers(r.text("partition.assignment.strategy", ""))...))
}

// balancers understands the names of Java's assignors. The default lets partitions
// move without stopping the others.
func balancers(strategy string) []kgo.GroupBalancer {
	var list []kgo.GroupBalancer
	for name := range strings.SplitSeq(strategy, ",") {
		switch simple := name[strings.LastIndexByte(name, '.')+1:]; strings.TrimSpace(simple) {
		case "RangeAssignor":
			list = append(list, kgo.RangeBalancer())
		case "RoundRobinAssignor":
			list = append(list, kgo.RoundRobinBalancer())
		case "StickyAssignor":
			list = append(list, kgo.StickyBalancer())
		case "CooperativeStickyAssignor":
			list = append(list, kgo.CooperativeStickyBalancer())
		}
	}
	if len(list) == 0 {
		return []kgo.GroupBalancer{kgo.CooperativeStickyBalancer()}
	}
	return list
}

// partitioner honours a record's own partition and leaves the others to Kafka's
// default: the key's murmur2 hash, or batch by batch.
type partitioner struct{ kgo.Partitioner }

func newPartitioner() kgo.Partitioner { return partitioner{kgo.StickyKeyPartitioner(nil)} }

// ForTopic implements kgo.Partitioner.
func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return &topicPartitioner{TopicPartitioner: p.Partitioner.ForTopic(topic)}
}

type topicPartitioner struct{ kgo.TopicPartitioner }

// RequiresConsistency implements kgo.TopicPartitioner: a partition chosen by the
// source must not be replaced because it cannot be written to right now.
func (p *topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || p.TopicPartitioner.RequiresConsistency(r)
}

// Partition implements kgo.TopicPartitioner.
func (p *topicPartitioner) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return p.TopicPartitioner.Partition(r, n)
}

// OnNewBatch lets records without a key move on to another partition with each
// batch.
func (p *topicPartitioner) OnNewBatch() {
	if nb, ok := p.TopicPartitioner.(kgo.TopicPartitionerOnNewBatch); ok {
		nb.OnNewBatch()
	}
}

// checkPolicyName accepts the override policies, by their short or Java names.
func checkPolicyName(name string) error {
	_, err := overridePolicy(name)
	return err
}

// overridePolicy returns the short name of a policy.
func overridePolicy(name string) (string, error) {
	simple := strings.TrimSuffix(name[strings.LastIndexByte(name, '.')+1:], "ConnectorClientConfigOverridePolicy")
	for _, known := range []string{"All", "Principal", "None", "Allowlist"} {
		if strings.EqualFold(simple, known) {
			return known, nil
		}
	}
	return "", &connect.Error{Code: "config.invalid", Message: "String must be one of: All, Principal, None, Allowlist"}
}

// principalSettings are what the policy Principal lets connectors override.
var principalSettings = []string{"sasl.jaas.config", "sasl.mechanism", "security.protocol"}

// overrides returns a connector's client settings by their full names.
func overrides(config connect.Config) connect.Config {
	found := maps.Clone(config)
	maps.DeleteFunc(found, func(name, _ string) bool {
		for _, kind := range []clientKind{producerClient, consumerClient, adminClient} {
			if strings.HasPrefix(name, string(kind)+".override.") {
				return false
			}
		}
		return true
	})
	return found
}
