package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/internal/devstack"
)

// devOptions say what a development stack has and where.
type devOptions struct {
	dir          string // Holds everything; a stack started on it again goes on where it was.
	postgres     bool
	pgBin        string
	log          slog.Handler // Nil: nothing is logged.
	restPort     int          // 0: a free one.
	kafkaPort    int
	registryPort int
	pgwirePort   int // 0: PostgreSQL's clients are not listened to.
	// brokers and registry are used instead of embedded ones where they are given.
	brokers, registry string
	// preferred tries the well-known ports first where a port is 0.
	preferred bool
	// said is told of each part that is up.
	said func(what, detail string, took time.Duration)
}

// devStack is a worker with all it needs, in this process and, for PostgreSQL, in
// child processes.
type devStack struct {
	postgres    *devstack.Postgres
	kafka       *devstack.Kafka
	registry    *devstack.Registry
	node        *node
	restURL     string
	pgwirePort  int
	registryURL string
	brokers     string
	said        func(what, detail string, took time.Duration)
	began       time.Time
}

// newDevStack starts PostgreSQL, Kafka and the registry and prepares the worker,
// which Run runs.
func newDevStack(ctx context.Context, o devOptions) (_ *devStack, err error) {
	d := &devStack{said: o.said}
	defer func() {
		if err != nil {
			d.stop()
		}
	}()
	for _, start := range []func(context.Context, devOptions) error{d.startPostgres, d.startKafka, d.startRegistry, d.prepareNode} {
		if err := start(ctx, o); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *devStack) startPostgres(ctx context.Context, o devOptions) (err error) {
	if !o.postgres {
		return nil
	}
	began := time.Now()
	d.postgres, err = devstack.StartPostgres(ctx, devstack.PostgresOptions{BinDir: o.pgBin, Dir: filepath.Join(o.dir, "postgres"), NoSync: true})
	if err != nil {
		return environment(err)
	}
	d.said("postgres", fmt.Sprintf("%s (%s) private cluster 127.0.0.1:%d, wal_level=logical", d.postgres.Version(), d.postgres.BinDir(), d.postgres.Port()), time.Since(began))
	return nil
}

func (d *devStack) startKafka(_ context.Context, o devOptions) (err error) {
	if d.brokers = o.brokers; d.brokers != "" {
		return nil
	}
	began := time.Now()
	port, err := choosePort(o.kafkaPort, 9092, o.preferred)
	if err != nil {
		return err
	}
	d.kafka, err = devstack.StartKafka(devstack.KafkaOptions{Port: port, Dir: filepath.Join(o.dir, "kafka")})
	if err != nil {
		return environment(err)
	}
	d.brokers = strings.Join(d.kafka.Brokers(), ",")
	d.said("kafka", "in-process broker "+d.brokers+" (embedded, not for production)", time.Since(began))
	return nil
}

func (d *devStack) startRegistry(_ context.Context, o devOptions) (err error) {
	if d.registryURL = o.registry; d.registryURL != "" {
		return nil
	}
	began := time.Now()
	port, err := choosePort(o.registryPort, 8081, o.preferred)
	if err != nil {
		return err
	}
	d.registry, err = devstack.StartRegistry(fmt.Sprintf("127.0.0.1:%d", port), filepath.Join(o.dir, "registry"))
	if err != nil {
		return environment(err)
	}
	d.registryURL = d.registry.URL()
	d.said("registry", "in-process, "+d.registryURL, time.Since(began))
	return nil
}

// prepareNode makes the worker with settings as its users write them.
func (d *devStack) prepareNode(_ context.Context, o devOptions) error {
	d.began = time.Now()
	port, err := choosePort(o.restPort, 8083, o.preferred)
	if err != nil {
		return err
	}
	d.restURL = fmt.Sprintf("http://127.0.0.1:%d", port)
	raw := d.settings(o.dir)
	d.pgwirePort = o.pgwirePort
	if o.pgwirePort != 0 {
		raw["pgwire.listeners"] = fmt.Sprintf("127.0.0.1:%d", o.pgwirePort)
	}
	d.node, err = newNode(nodeOptions{raw: raw, log: o.log})
	return err
}

// settings are the worker's, in the words of connect-distributed.properties.
func (d *devStack) settings(dir string) connect.Config {
	avro := "io.confluent.connect.avro.AvroConverter"
	return connect.Config{
		"bootstrap.servers": d.brokers, "group.id": "tidemill-dev", "listeners": d.restURL,
		"key.converter": avro, "key.converter.schema.registry.url": d.registryURL,
		"value.converter": avro, "value.converter.schema.registry.url": d.registryURL,
		"config.storage.topic": "tidemill-configs", "config.storage.replication.factor": "1",
		"offset.storage.topic": "tidemill-offsets", "offset.storage.replication.factor": "1", "offset.storage.partitions": "1",
		"status.storage.topic": "tidemill-status", "status.storage.replication.factor": "1", "status.storage.partitions": "1",
		"topic.creation.enable": "true", "plugin.state.dir": filepath.Join(dir, "plugins"),
		settingService: "tidemill_", settingStateDir: filepath.Join(dir, "state"), settingRegistry: d.registryURL,
	}
}

// Run runs the worker until ctx is done.
func (d *devStack) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.node.Run(ctx) })
	return group.Wait()
}

// ready waits until the worker takes requests.
func (d *devStack) ready(ctx context.Context) error {
	c := newClient(d.restURL)
	err := until(ctx, "the worker to be ready", func() (bool, error) {
		return c.call(ctx, "GET", "/health", nil, nil) == nil, nil
	})
	if err == nil {
		d.said("worker", "Connect and ksqlDB REST "+d.restURL, time.Since(d.began))
		if port := d.pgwirePort; port != 0 {
			d.said("sql", fmt.Sprintf("for PostgreSQL's clients: psql -h 127.0.0.1 -p %d", port), time.Since(d.began))
		}
	}
	return err
}

// stop takes everything down, in the order in which it depends on each other.
func (d *devStack) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if d.registry != nil {
		_ = d.registry.Stop(ctx)
	}
	if d.kafka != nil {
		d.kafka.Stop()
	}
	if d.postgres != nil {
		_ = d.postgres.Stop(ctx)
	}
}

// choosePort returns the port asked for; without one, the well-known port if that is
// wished and free, else any free one.
func choosePort(asked, known int, preferred bool) (int, error) {
	if asked != 0 {
		return asked, nil
	}
	if preferred {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", known)); err == nil {
			return known, l.Close()
		}
	}
	port, err := devstack.FreePort()
	if err != nil {
		return 0, environment(&connect.Error{Code: "port.none", Message: "no TCP port is free on 127.0.0.1", Cause: err})
	}
	return port, nil
}

// avroConverters are the worker's own converters, for those who read its topics.
func (d *devStack) avroConverters() (key, value connect.Converter, err error) {
	key, value = &avro.Converter{}, &avro.Converter{}
	settings := connect.Config{"schema.registry.url": d.registryURL}
	return key, value, errors.Join(key.Configure(settings, true), value.Configure(settings, false))
}
