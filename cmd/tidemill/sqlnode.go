package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/converters/json"
	"github.com/tidemill/tidemill/internal/kafkalog"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/monitor"
	"github.com/tidemill/tidemill/streams/query"
	"github.com/tidemill/tidemill/streams/sql"
	"github.com/tidemill/tidemill/streams/status"
	"github.com/tidemill/tidemill/streams/topics"
	"github.com/tidemill/tidemill/worker"
)

// The settings of the SQL engine, with ksqlDB's names. Without a service id there is
// no SQL engine: a plain Connect worker makes no topics its users did not ask for.
const (
	settingService     = "ksql.service.id"
	settingStateDir    = "ksql.streams.state.dir"
	settingRegistry    = "ksql.schema.registry.url"
	settingReplication = "ksql.internal.topic.replicas"
	settingCache       = "ksql.streams.cache.max.bytes.buffering"
	settingStandbys    = "ksql.streams.num.standby.replicas"
	settingListener    = "ksql.internal.listener"
	settingAdvertised  = "ksql.advertised.listener"
	settingSecret      = "ksql.internal.secret"
	settingStale       = "ksql.query.pull.enable.standby.reads"
	settingStaleLag    = "ksql.query.pull.max.allowed.offset.lag"
	settingRecording   = "ksql.streams.metrics.recording.level"
)

func sqlConfigDef() *connect.ConfigDef {
	return connect.NewConfigDef(
		connect.ConfigKey{Name: settingService, Optional: true, Importance: connect.High, Group: "SQL",
			Doc: "Names the SQL service: workers with one name share streams, tables and queries. Without it there is no SQL interface."},
		connect.ConfigKey{Name: settingStateDir, Optional: true, Importance: connect.High, Group: "SQL",
			Doc: "The directory of local state. Without it state is kept in memory and rebuilt from Kafka at every start."},
		connect.ConfigKey{Name: settingRegistry, Optional: true, Importance: connect.High, Group: "SQL",
			Doc: "The schema registry, for the format AVRO and for columns that are not declared."},
		connect.ConfigKey{Name: settingReplication, Type: connect.TypeShort, Default: "1", Check: connect.Between(-1, 100), Importance: connect.Low, Group: "SQL",
			Doc: "How many copies Kafka keeps of changelogs, repartition topics and the statement log."},
		connect.ConfigKey{Name: settingCache, Type: connect.TypeLong, Default: "10485760", Check: connect.Between(0, 1<<40), Importance: connect.Low, Group: "SQL",
			Doc: "Bytes of each query's write-back cache."},
		connect.ConfigKey{Name: settingStandbys, Type: connect.TypeInt, Default: "0", Check: connect.Between(0, 100), Importance: connect.Medium, Group: "SQL",
			Doc: "How many other workers keep a copy of each table, so that one that is gone is replaced without a long restore."},
		connect.ConfigKey{Name: settingListener, Optional: true, Importance: connect.Medium, Group: "SQL",
			Doc: "The host:port at which other workers of the service ask this one for rows; 127.0.0.1 and a free port without it. Another than a loopback address needs ksql.internal.secret."},
		connect.ConfigKey{Name: settingAdvertised, Optional: true, Importance: connect.Medium, Group: "SQL",
			Doc: "The host:port by which other workers reach that address, when it is not the one listened at."},
		connect.ConfigKey{Name: settingSecret, Type: connect.TypePassword, Optional: true, Importance: connect.High, Group: "SQL",
			Doc: "What workers of the service sign their questions to each other with; the same for all. Where the REST interface asks who somebody is, workers answer each other only with it."},
		connect.ConfigKey{Name: settingStale, Type: connect.TypeBoolean, Default: "false", Importance: connect.Low, Group: "SQL",
			Doc: "Whether copies of a table may answer pull queries when the worker that has it does not."},
		connect.ConfigKey{Name: settingStaleLag, Type: connect.TypeLong, Default: "9223372036854775807", Importance: connect.Low, Group: "SQL",
			Doc: "How many changes a copy that answers pull queries may lack."},
		connect.ConfigKey{Name: settingRecording, Default: "INFO", Check: connect.OneOf("INFO", "DEBUG", "TRACE"), Importance: connect.Low, Group: "SQL",
			Doc: "With DEBUG, or TRACE, each operator of a query counts its records for the metrics."},
	).OpenTo(func(string) bool { return true })
}

// sqlNode is the SQL engine of a node. It answers once it has read its statement log.
type sqlNode struct {
	settings   connect.Settings
	raw        connect.Config
	connectors sql.Connectors
	log        *slog.Logger
	asked      bool // Whether the REST interface asks people who they are.

	mu     sync.Mutex // Guards the following.
	engine *sql.Engine
	runner *streams.Engine // Nil before the queries run.
}

// newSQLNode returns nil when the settings ask for no SQL engine.
func newSQLNode(raw connect.Config, connectors sql.Connectors, log *slog.Logger) (*sqlNode, error) {
	settings, err := sqlConfigDef().Parse(raw)
	if err != nil || settings.String(settingService) == "" {
		return nil, err
	}
	return &sqlNode{settings: settings, raw: raw, connectors: connectors, log: log}, nil
}

// Run runs the queries until ctx is done.
func (n *sqlNode) Run(ctx context.Context) error {
	options, err := worker.ClientOptions(n.raw)
	if err != nil {
		return err
	}
	brokers := strings.Split(n.raw["bootstrap.servers"], ",")
	client, err := topics.Open(brokers, options...)
	if err != nil {
		return err
	}
	defer client.Close()
	runner, err := streams.OpenEngine(streams.Config{
		Brokers: brokers, Client: options, Dir: n.settings.String(settingStateDir),
		CacheBytes: n.settings.Int64(settingCache), Replication: n.settings.Int(settingReplication), Logger: n.log, Remote: n.remote(),
		CountOperators: !strings.EqualFold(n.settings.String(settingRecording), "INFO"),
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.runner = runner
	n.mu.Unlock()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return runner.Run(ctx) })
	group.Go(func() error { return n.serve(ctx, runner, client) })
	return group.Wait()
}

// remote says how workers ask each other for rows. Where people have to show who they are,
// workers do too.
func (n *sqlNode) remote() *query.Remote {
	r := &query.Remote{Listen: address(n.settings.String(settingListener)), Advertise: address(n.settings.String(settingAdvertised)), Secret: n.settings.String(settingSecret)}
	if r.Secret == "" && r.Listen == "" && r.Advertise == "" && n.asked {
		return nil
	}
	return r
}

// address takes the scheme off a listener, which ksqlDB writes with it.
func address(listener string) string {
	return strings.TrimSuffix(strings.TrimPrefix(listener, "http://"), "/")
}

// serve opens the engine and keeps it until ctx is done.
func (n *sqlNode) serve(ctx context.Context, runner *streams.Engine, client *topics.Client) error {
	options, err := worker.ClientOptions(n.raw)
	if err != nil {
		return err
	}
	service := n.settings.String(settingService)
	log, err := n.openLog(ctx, kafkalog.Config{
		Client: options, Topic: "_confluent-ksql-" + service + "_command_topic", Replication: int16(n.settings.Int(settingReplication)), Log: n.log,
	})
	if err != nil {
		return err
	}
	defer log.Close()
	c := sql.Config{Service: service, Topics: client, Records: client, Runner: runner, Log: log, Formats: n.formats(), Connectors: n.connectors, Logger: n.log, Standbys: n.settings.Int(settingStandbys)}
	if n.settings.Bool(settingStale) {
		c.MaxLag = n.settings.Int64(settingStaleLag)
	}
	if url := n.settings.String(settingRegistry); url != "" {
		registry, err := avro.NewRegistry(n.registrySettings())
		if err != nil {
			return err
		}
		defer registry.Close()
		c.Schemas = schemaSource{registry}
	}
	engine, err := sql.Open(ctx, c)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.engine = engine
	n.mu.Unlock()
	<-ctx.Done()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return engine.Close(closing)
}

// openLog opens the log of statements. Brokers that do not answer are waited for, as the
// worker beside us waits for them: its connectors must not end with us.
func (n *sqlNode) openLog(ctx context.Context, c kafkalog.Config) (*sql.KafkaLog, error) {
	for {
		log, err := sql.OpenKafkaLog(ctx, c)
		network, ok := errors.AsType[*net.OpError](err)
		passing := ok && network != nil || kgo.IsRetryableBrokerErr(err) || kerr.IsRetriable(err)
		if err == nil || !passing {
			return log, err
		}
		n.log.Warn("the brokers do not answer, trying again", "error", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// registrySettings are those of the Avro converter.
func (n *sqlNode) registrySettings() connect.Config {
	config := connect.Config{}
	for name, value := range n.raw {
		if key, ok := strings.CutPrefix(name, "ksql.schema.registry."); ok {
			config["schema.registry."+key] = value
		}
	}
	return config
}

// formats are SQL's formats that a converter reads and writes.
func (n *sqlNode) formats() map[string]sql.Format {
	make := func(c func() connect.Converter, config connect.Config) sql.Format {
		return func(key bool) (connect.Converter, error) {
			converter := c()
			return converter, converter.Configure(maps.Clone(config), key)
		}
	}
	formats := map[string]sql.Format{
		"JSON": make(func() connect.Converter { return &json.Converter{} }, connect.Config{"schemas.enable": "false", "decimal.format": "NUMERIC"}),
	}
	if n.settings.String(settingRegistry) != "" {
		formats["AVRO"] = make(func() connect.Converter { return &avro.Converter{} }, n.registrySettings())
	}
	return formats
}

// schemaSource finds the schemas of topics in the registry, by topic name.
type schemaSource struct{ registry *avro.Client }

// Schema implements sql.SchemaSource.
func (s schemaSource) Schema(ctx context.Context, topic string, key bool) (*connect.Schema, bool, error) {
	subject := topic + "-value"
	if key {
		subject = topic + "-key"
	}
	schema, _, err := s.registry.LatestSchema(ctx, subject)
	if err != nil && connect.AsError(err).Code == "registry.not_found" {
		return nil, false, nil
	}
	return schema, err == nil, err
}

// applications returns what runs the queries, which are streams applications.
func (n *sqlNode) applications() (status.Source, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.runner == nil {
		return nil, &connect.Error{Code: "sql.starting", Class: connect.ClassRetriable, Message: "the queries do not run yet", Mend: "try again in a moment"}
	}
	return n.runner, nil
}

// Collect implements prometheus.Collector, for whatever runs by then.
func (n *sqlNode) Collect(out chan<- prometheus.Metric) {
	if s, err := n.applications(); err == nil {
		(&monitor.Collector{Source: s}).Collect(out)
	}
}

// Describe implements prometheus.Collector.
func (n *sqlNode) Describe(chan<- *prometheus.Desc) {}

// ready returns the engine, or an error while it is still starting.
func (n *sqlNode) ready() (*sql.Engine, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.engine == nil {
		return nil, &connect.Error{Code: "sql.starting", Class: connect.ClassRetriable, Message: "the SQL engine is still reading its statement log", Mend: "try again in a moment"}
	}
	return n.engine, nil
}

// Execute implements rest.SQL.
func (n *sqlNode) Execute(ctx context.Context, r sql.Request) ([]sql.Entity, error) {
	engine, err := n.ready()
	if err != nil {
		return nil, err
	}
	return engine.Execute(ctx, r)
}

// Follow implements rest.SQL.
func (n *sqlNode) Follow(ctx context.Context, r sql.Request, from query.Position, to sql.Follower) error {
	engine, err := n.ready()
	if err != nil {
		return err
	}
	return engine.Follow(ctx, r, from, to)
}

// Prepare implements pgwire.SQL.
func (n *sqlNode) Prepare(r sql.Request) (sql.Description, error) {
	engine, err := n.ready()
	if err != nil {
		return sql.Description{}, err
	}
	return engine.Prepare(r)
}

// Query implements rest.SQL.
func (n *sqlNode) Query(ctx context.Context, r sql.Request, to sql.Answer) (complete bool, err error) {
	engine, err := n.ready()
	if err != nil {
		return false, err
	}
	return engine.Query(ctx, r, to)
}
