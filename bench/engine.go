package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
)

// stack is what an engine needs around it: a broker, a schema registry and a folder.
type stack struct {
	binary   string
	dir      string
	broker   *broker
	registry *devstack.Registry
	engines  []*engine // Those it started, which end with it.
	names    int
}

// startStack starts a broker in a process of its own and a registry in this one, which
// is asked a few times in a run.
func startStack(ctx context.Context, binary, kafka string) (_ *stack, err error) {
	s := &stack{binary: binary}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "tidemill-bench-"); err != nil {
		return nil, err
	}
	if s.registry, err = devstack.StartRegistry("127.0.0.1:0", ""); err != nil {
		return nil, err
	}
	s.broker, err = startBroker(ctx, binary, kafka, s.dir)
	return s, err
}

func (s *stack) stop() {
	for _, e := range s.engines {
		e.process.stop()
	}
	if s.broker != nil {
		s.broker.stop()
	}
	if s.registry != nil {
		_ = s.registry.Stop(context.Background())
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// unique returns a name that nothing of this stack has had, also on a broker that was
// used before.
func (s *stack) unique(what string) string {
	s.names++
	return fmt.Sprintf("bench_%d_%s_%d", os.Getpid(), what, s.names)
}

// engine is what is measured: a process that speaks the REST API of Kafka Connect.
type engine struct {
	name    string
	stack   *stack
	process *process
	url     string
	ready   time.Duration // From the start of the process until /health says healthy.
	figures bool          // Whether it tells at /metrics what it has allocated.
}

// avroConverters and jsonConverters are the two forms records are measured in.
func (s *stack) avroConverters() string {
	return fmt.Sprintf(`key.converter=io.confluent.connect.avro.AvroConverter
key.converter.schema.registry.url=%[1]s
value.converter=io.confluent.connect.avro.AvroConverter
value.converter.schema.registry.url=%[1]s
`, s.registry.URL())
}

const jsonConverters = `key.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
`

// properties writes the settings of a distributed worker, those of Apache Kafka's own
// sample but for the addresses, and returns the file and the address of its REST API.
func (s *stack) properties(name string, more ...string) (file, url string, err error) {
	rest, err := devstack.FreePort()
	if err != nil {
		return "", "", err
	}
	url = fmt.Sprintf("http://127.0.0.1:%d", rest)
	settings := fmt.Sprintf(`bootstrap.servers=%[1]s
group.id=%[2]s
config.storage.topic=%[2]s-configs
config.storage.replication.factor=1
offset.storage.topic=%[2]s-offsets
offset.storage.replication.factor=1
status.storage.topic=%[2]s-status
status.storage.replication.factor=1
listeners=%[3]s
%[4]s
`, s.broker.addrs, name, url, strings.Join(more, "\n"))
	file = filepath.Join(s.dir, name+".properties")
	return file, url, os.WriteFile(file, []byte(settings), 0o600)
}

// tidemill starts a worker as users do, with an unchanged connect-distributed.properties.
// Settings are further lines of that file; without converters among them, records are
// Avro.
func (s *stack) tidemill(ctx context.Context, settings ...string) (*engine, error) {
	if !strings.Contains(strings.Join(settings, "\n"), "value.converter=") {
		settings = append(settings, s.avroConverters())
	}
	file, url, err := s.properties(s.unique("tidemill"), settings...)
	if err != nil {
		return nil, err
	}
	e := &engine{name: "tidemill", stack: s, url: url, figures: true}
	return e, e.run(ctx, s.binary, "worker", "-c", file)
}

// run starts the engine's process and waits until it is ready.
func (e *engine) run(ctx context.Context, program string, args ...string) (err error) {
	began := time.Now()
	if e.process, err = start(program, args...); err != nil {
		return err
	}
	e.stack.engines = append(e.stack.engines, e)
	if err := e.process.answers(ctx, e.url+"/health"); err != nil {
		return err
	}
	e.ready = time.Since(began)
	return nil
}

// memory returns the engine's resident memory now and at its peak, in MB.
func (e *engine) memory() (now, peak float64) { return memory(e.process.cmd.Process.Pid) }

// usage returns what everybody has used so far.
func (e *engine) usage(ctx context.Context, d *database) usage {
	u := usage{worker: processorTime(e.process.cmd.Process.Pid), server: d.cpu(), broker: e.stack.broker.cpu()}
	if e.figures {
		u.objects, u.bytes = e.allocated(ctx)
	}
	return u
}

// bed is a database and one engine with its stack.
type bed struct {
	*database
	*engine
}

// newBed starts what most parts need.
func newBed(ctx context.Context, o options) (*bed, error) {
	d, err := startDatabase(ctx, o)
	if err != nil {
		return nil, err
	}
	b := &bed{database: d}
	s, err := startStack(ctx, o.binary, o.kafka)
	if err != nil {
		d.stop()
		return nil, err
	}
	o.run.Machine.Broker = s.broker.name
	if b.engine, err = s.tidemill(ctx); err != nil {
		s.stop()
		d.stop()
		return nil, err
	}
	return b, nil
}

func (b *bed) stop() {
	b.engine.stack.stop()
	b.database.stop()
}
