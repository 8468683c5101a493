package worker

import (
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
