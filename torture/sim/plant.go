package sim

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/converters/raw"
	"github.com/tidemill/tidemill/sources/postgres"
	"github.com/tidemill/tidemill/worker"
)

// plant runs the worker: one life after another, each on a host of its own, so that
// nothing of a life that was ended reaches the next.
type plant struct {
	*world
	ctx  context.Context // Of the whole simulation.
	mu   sync.Mutex      // Guards what follows.
	life *life
	next int
	down sync.WaitGroup
}

// life is one worker from its start to its end.
type life struct {
	host   string
	worker *worker.Worker
	stop   context.CancelFunc
	done   chan struct{}
}

func (p *plant) settings(host string) connect.Config {
	c := connect.Config{
		"bootstrap.servers": brokers, "group.id": "sim", "rest.advertised.host.name": host, "rest.advertised.port": "8083",
		"config.storage.topic": "sim-configs", "offset.storage.topic": offsetsTopic, "status.storage.topic": "sim-status",
		"config.storage.replication.factor": "1", "offset.storage.replication.factor": "1", "status.storage.replication.factor": "1",
		"offset.storage.partitions": "1", "status.storage.partitions": "1",
		"key.converter": "io.confluent.connect.avro.AvroConverter", "value.converter": "io.confluent.connect.avro.AvroConverter",
		"key.converter.schema.registry.url": registryURL, "value.converter.schema.registry.url": registryURL,
		"plugin.state.dir": filepath.Join(p.Dir, "state"),
	}
	if p.Tight {
		c["producer.buffer.bytes"] = "65536"
	}
	if p.Heartbeat > 0 {
		c["heartbeat.interval.ms"] = fmt.Sprint(p.Heartbeat.Milliseconds())
	}
	if p.ExactlyOnce {
		c["exactly.once.source.support"] = "enabled"
	}
	return c
}

// begin starts a worker.
func (p *plant) begin(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != nil {
		return nil // Somebody else has begun one.
	}
	p.next++
	l := &life{host: fmt.Sprintf("10.0.1.%d", p.next), done: make(chan struct{})}
	props := p.settings(l.host)
	settings, err := worker.ConfigDef().Parse(props)
	if err != nil {
		return err
	}
	dial := p.net.dialer(l.host)
	if l.worker, err = worker.New(worker.Options{
		Config: settings, Raw: props, Log: p.log.With("worker", l.host), Dial: dial, Version: "sim",
		Plugins: connect.Plugins{
			Sources:    []connect.Plugin[connect.SourceConnector]{postgres.PluginVia(dial)},
			Converters: avro.PluginsVia(dial), HeaderConverters: raw.HeaderPlugins(),
		},
	}); err != nil {
		return err
	}
	ctx, l.stop = context.WithCancel(ctx)
	p.life = l
	p.down.Go(func() {
		defer close(l.done)
		if err := l.worker.Run(ctx); err != nil && p.now() == l {
			p.log.Error("the worker ended", "worker", l.host, "error", err)
			p.ended()
		}
	})
	return nil
}

// now returns the life that goes on, nil between two.
func (p *plant) now() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

// end ends the worker's life: in order, or without a word to anybody. Its system says
// goodbye for a process that is killed, and nobody does when the power fails.
func (p *plant) end(how Fault) {
	l := p.now()
	if l == nil {
		return
	}
	p.mu.Lock()
	p.life = nil
	p.mu.Unlock()
	switch how {
	case StopWorker:
		l.stop()
		<-l.done
	case KillWorker:
		p.net.hangUp(l.host)
	}
	p.net.unplug(l.host)
	l.stop()
}

// replace ends the worker's life and begins another after a while.
func (p *plant) replace(ctx context.Context, how Fault, after time.Duration) error {
	p.end(how)
	if !rest(ctx, after) {
		return nil
	}
	return p.begin(p.ctx)
}

// ended begins another life after one that ended by itself, as whoever keeps processes
// running does.
func (p *plant) ended() {
	const after = 5 * time.Second
	p.world.mu.Lock()
	p.exits++
	p.world.mu.Unlock()
	p.down.Go(func() {
		if err := p.replace(p.ctx, KillWorker, after); err != nil {
			p.note("worker", err.Error())
		}
	})
}

// close ends the worker and waits for all that ever ran.
func (p *plant) close() {
	p.end(StopWorker)
	p.down.Wait()
}

// start starts the worker and makes the connector.
func (p *plant) start(ctx context.Context) error {
	p.ctx = ctx
	if err := p.begin(ctx); err != nil {
		return err
	}
	config := connect.Config{
		"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1",
		"database.hostname": hostPostgres, "database.port": "5432", "database.user": "sim", "database.password": "sim", "database.dbname": "sim", "database.sslmode": "disable",
		"topic.prefix": "sim", "table.include.list": "public.accounts,public.items", "slot.name": "sim", "snapshot.mode": p.Snapshot,
	}
	if p.Tight {
		config["max.batch.size"], config["max.queue.size"] = "4", "8"
	}
	const patience = 10 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, err := p.now().worker.Herder().Create(ctx, worker.CreateRequest{Name: connector, Config: config})
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("creating the connector: %w", err)
		}
		if connect.AsError(err).Code != "worker.starting" {
			p.log.Warn("the connector cannot be created yet", "error", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// healthy tells what is wrong with the connector, "" for nothing.
func (p *plant) healthy() string {
	l := p.now()
	if l == nil {
		return "there is no worker"
	}
	s, err := l.worker.Herder().Status(connector)
	if err != nil {
		return err.Error()
	}
	if s.Connector.State != "RUNNING" {
		return "the connector is " + s.Connector.State + ": " + s.Connector.Trace
	}
	for _, t := range s.Tasks {
		if t.State != "RUNNING" {
			return "the task is " + t.State + ": " + t.Trace
		}
	}
	if len(s.Tasks) == 0 {
		return "there is no task"
	}
	return ""
}

// watch looks whether the task has failed for good: no fault of this simulation is a
// reason for that.
func (p *plant) watch(ctx context.Context) error {
	ticker := time.NewTicker(10 * time.Second)
	defer ticker.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		trouble := p.healthy()
		final := strings.HasPrefix(trouble, "the task is FAILED") && !strings.Contains(trouble, "starts the task again") ||
			strings.HasPrefix(trouble, "the connector is FAILED")
		if final && trouble != told {
			p.note("failed", trouble)
			told = trouble
		}
	}
}
