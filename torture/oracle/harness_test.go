package oracle

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/converters/raw"
	"github.com/tidemill/tidemill/internal/devstack"
	pgsource "github.com/tidemill/tidemill/sources/postgres"
	"github.com/tidemill/tidemill/torture/storm"
	"github.com/tidemill/tidemill/worker"
)

// scene is a database with a storm in it, a worker in this process that captures it, and
// a reader of what comes.
type scene struct {
	t        *testing.T
	once     bool
	dsn      string
	brokers  []string
	registry string
	storm    *storm.Storm
	decoding *Decoding
	reader   *Reader
	failed   func() string // What made the connector's task fail.
	signal   func(text string) error
}

func newScene(t *testing.T, once bool, o storm.Options) *scene {
	t.Helper()
	s := &scene{t: t, once: once, dsn: devstack.TestPostgres(t), brokers: devstack.TestKafka(t), registry: devstack.TestRegistry(t)}
	o.Connect = s.connect
	s.storm = storm.New(o)
	s.must(s.storm.Setup(t.Context()))
	s.decoding = NewDecoding(s.connect)
	s.must(s.decoding.Setup(t.Context()))
	reader, err := New(Options{Brokers: s.brokers, Registry: s.registry, ExactlyOnce: once})
	s.must(err)
	t.Cleanup(reader.Close)
	s.reader = reader
	s.background(reader.Run)
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) connect(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, s.dsn) }

// background runs something until the returned function is called or the test is over.
func (s *scene) background(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	}
	s.t.Cleanup(stop)
	return stop
}

// work starts a worker with the connector, or, when it has one, goes on with it.
func (s *scene) work(partitions int) (stop func()) {
	config := connect.Config{
		"bootstrap.servers": strings.Join(s.brokers, ","), "group.id": "oracle", "offset.flush.interval.ms": "100", "plugin.state.dir": s.t.TempDir(),
		"config.storage.topic": "oracle-configs", "offset.storage.topic": "oracle-offsets", "status.storage.topic": "oracle-status",
		"config.storage.replication.factor": "1", "offset.storage.replication.factor": "1", "status.storage.replication.factor": "1",
		"key.converter": "io.confluent.connect.avro.AvroConverter", "key.converter.schema.registry.url": s.registry,
		"value.converter": "io.confluent.connect.avro.AvroConverter", "value.converter.schema.registry.url": s.registry,
	}
	if s.once {
		config["exactly.once.source.support"] = "enabled"
	}
	settings, err := worker.ConfigDef().Parse(config)
	s.must(err)
	w, err := worker.New(worker.Options{
		Config: settings, Raw: config, Log: slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), Version: "test", WorkerID: "127.0.0.1:1",
		Plugins: connect.Plugins{Sources: []connect.Plugin[connect.SourceConnector]{pgsource.Plugin()}, Converters: avro.Plugins(), HeaderConverters: raw.HeaderPlugins()},
	})
	s.must(err)
	stop = s.background(w.Run)
	s.signal = func(text string) error { return w.Herder().Signal("storm", []byte(text)) }
	s.failed = func() string {
		status, err := w.Herder().Status("storm")
		for _, task := range status.Tasks {
			if err == nil && task.State == "FAILED" {
				return task.Trace
			}
		}
		return ""
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	s.until(ctx, func() bool { return w.Herder().Health(ctx).Status == "healthy" })
	if slices.Contains(w.Herder().Connectors(), "storm") {
		return stop
	}
	c, err := pgx.ParseConfig(s.dsn)
	s.must(err)
	_, err = w.Herder().Create(ctx, worker.CreateRequest{Name: "storm", Config: storm.ConnectorConfig(storm.ConnectorOptions{
		Host: c.Host, Port: int(c.Port), User: c.User, Password: c.Password, Database: c.Database,
		Slot: "storm_" + c.Database, Registry: s.registry, ExactlyOnce: s.once, Partitions: partitions,
	})})
	s.must(err)
	return stop
}

// until waits for a condition.
func (s *scene) until(ctx context.Context, ok func() bool) {
	s.t.Helper()
	for !ok() {
		if s.failed != nil {
			if trace := s.failed(); trace != "" {
				s.t.Fatal(trace)
			}
		}
		if rest(ctx, 10*time.Millisecond) != nil {
			s.t.Fatal(fmt.Sprintf("it did not come to be; %+v", s.reader.Stats()))
		}
	}
}

// blow runs the storm until it has committed a number of transactions more.
func (s *scene) blow(transactions int64) {
	s.t.Helper()
	goal := s.storm.Stats().Committed + transactions
	stop := s.background(s.storm.Run)
	defer stop()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	s.until(ctx, func() bool { return s.storm.Stats().Committed >= goal })
}

// finish ends the storm and waits until all of it was seen.
func (s *scene) finish() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	defer cancel()
	final, err := s.storm.Finish(ctx)
	s.must(err)
	s.until(ctx, func() bool { return s.reader.Has(final) })
	s.must(s.reader.Wait(ctx, final))
}

// settle waits until the snapshot is over: the first transaction may be in the snapshot
// itself, the second comes behind it.
func (s *scene) settle() {
	s.t.Helper()
	s.finish()
	s.finish()
}

// check compares with the source.
func (s *scene) check() []Anomaly {
	s.t.Helper()
	conn, err := s.connect(s.t.Context())
	s.must(err)
	defer conn.Close(context.Background())
	list, err := s.reader.Check(s.t.Context(), Truth{Source: conn, Decoded: s.decoding})
	s.must(err)
	return list
}
