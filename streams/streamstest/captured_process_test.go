package streamstest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/converters/avro"
	"github.com/tidemill/tidemill/converters/raw"
	pgsource "github.com/tidemill/tidemill/sources/postgres"
	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/join"
	"github.com/tidemill/tidemill/streams/serde"
	"github.com/tidemill/tidemill/streams/txn"
	"github.com/tidemill/tidemill/worker"
)

// childPlace says, in JSON, what a process of TestCaptured is to do.
const childPlace = "STREAMSTEST_CHILD_PLACE"

// place is where a captured bank is, and where a process of it keeps what it has.
type place struct {
	Role              string // worker or app
	Brokers           []string
	Registry, DSN, ID string
	Dir               string
	ExactlyOnce       bool // of the source
}

func runPlace(text string) error {
	var p place
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if p.Role == "worker" {
		return p.runWorker(logger)
	}
	if p.Role == "large" {
		return p.runLarge(logger)
	}
	c, err := p.captured()
	if err != nil {
		return err
	}
	e, err := c.engine(logger)
	if err != nil {
		return err
	}
	p.ID = "meetings"
	if c, err = p.captured(); err == nil {
		err = e.Add(c.app)
	}
	if err != nil {
		return errors.Join(err, e.Close())
	}
	return e.Run(context.Background())
}

// process is one that can be killed.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
}

func (p place) launch(t *testing.T, role, dir string) *process {
	t.Helper()
	p.Role, p.Dir = role, dir
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	r := &process{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0])}
	r.cmd.Env = append(os.Environ(), childPlace+"="+string(text))
	r.cmd.Stderr = t.Output()
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.cmd.Wait() // It was killed, and says so.
}

// runWorker runs a worker with the source, which it makes at the first time.
func (p place) runWorker(logger *slog.Logger) error {
	config := connect.Config{
		"bootstrap.servers": strings.Join(p.Brokers, ","), "group.id": "captured", "offset.flush.interval.ms": "100", "plugin.state.dir": p.Dir,
		"config.storage.topic": "captured-configs", "offset.storage.topic": "captured-offsets", "status.storage.topic": "captured-status",
		"config.storage.replication.factor": "1", "offset.storage.replication.factor": "1", "status.storage.replication.factor": "1",
		"key.converter": "io.confluent.connect.avro.AvroConverter", "key.converter.schema.registry.url": p.Registry,
		"value.converter": "io.confluent.connect.avro.AvroConverter", "value.converter.schema.registry.url": p.Registry,
	}
	if p.ExactlyOnce {
		config["exactly.once.source.support"] = "enabled"
	}
	settings, err := worker.ConfigDef().Parse(config)
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Options{
		Config: settings, Raw: config, Log: logger, Version: "test", WorkerID: "127.0.0.1:1",
		Plugins: connect.Plugins{Sources: []connect.Plugin[connect.SourceConnector]{pgsource.Plugin()}, Converters: avro.Plugins(), HeaderConverters: raw.HeaderPlugins()},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		if err := p.createSource(ctx, w.Herder()); err != nil {
			cancel(err)
		}
	}()
	if err := w.Run(ctx); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (p place) createSource(ctx context.Context, h *worker.Herder) error {
	for h.Health(ctx).Status != "healthy" {
		if !breathe(ctx) {
			return nil
		}
	}
	if slices.Contains(h.Connectors(), "bank") {
		return nil
	}
	c, err := pgx.ParseConfig(p.DSN)
	if err != nil {
		return err
	}
	config := connect.Config{
		"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1", "plugin.name": "pgoutput",
		"database.hostname": c.Host, "database.port": fmt.Sprint(c.Port), "database.user": c.User, "database.password": c.Password, "database.dbname": c.Database,
		"database.sslmode": "disable", "topic.prefix": "bank", "slot.name": "bank_" + c.Database, "publication.name": "bank", "publication.autocreate.mode": "all_tables",
		"table.include.list": `public\.(accounts|debits|credits|cards|fees)`, "column.exclude.list": `public\.accounts\.secret`,
		"skipped.operations": "none", "provide.transaction.metadata": "true", "transaction.metadata.snapshot": "true",
		"topic.creation.default.replication.factor": "1", "topic.creation.default.partitions": "3",
		"topic.creation.groups": "single", "topic.creation.single.include": `bank\.transaction`,
		"topic.creation.single.replication.factor": "1", "topic.creation.single.partitions": "1",
	}
	if p.ExactlyOnce {
		config["exactly.once.support"] = "required"
	}
	_, err = h.Create(ctx, worker.CreateRequest{Name: "bank", Config: config})
	return err
}

// breathe waits a moment between two looks at something.
func breathe(ctx context.Context) bool {
	select {
	case <-time.After(20 * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

// captured is the application over a captured bank.
type captured struct {
	place
	app   streams.App
	b     *streams.Builder
	keys  serde.Serde[connect.Value]
	value serde.Serde[connect.Value]
	// zero are the tables all of whose rows are 0 in every state that was committed, sums
	// those whose rows add up to 0. compared names the one of these that the database has too.
	zero, sums map[string]*streams.Table[int64, int64]
	compared   string
}

// truth is what the database has in place of the table that is compared.
func (p place) truth() string {
	if p.ID == "fees" {
		return "SELECT account, sum(amount)::bigint FROM fees GROUP BY account"
	}
	return "SELECT id, balance FROM accounts"
}

var capturedKey = connect.SchemaDef{Kind: connect.KindStruct, Fields: []connect.Field{{Name: "id", Schema: connect.Of(connect.KindInt64)}}}.MustBuild()

// captured builds the application: "bank" over all tables but those of fees, "fees" over
// these, and "meetings", which joins streams.
func (p place) captured() (*captured, error) {
	c := &captured{place: p, b: streams.NewBuilder(), zero: map[string]*streams.Table[int64, int64]{}, sums: map[string]*streams.Table[int64, int64]{}}
	if err := c.converters(); err != nil {
		return nil, err
	}
	switch p.ID {
	case "meetings":
		c.meetings()
	case "fees":
		c.sums["fees"], c.compared = c.sum("fees", "account", "amount"), "fees"
		c.sums["fees"].ToStream().To("fees-by-account", serde.Int64{}, serde.Int64{})
	default:
		c.build()
	}
	topology, err := c.b.Build()
	c.app = streams.App{
		ID: p.ID, Topology: topology, ExactlyOnce: true, CommitInterval: 5 * time.Millisecond,
		Transactions: &txn.Source{Topic: "bank.transaction", Value: c.value, MaxBytes: 128 << 10},
	}
	return c, err
}

func (c *captured) converters() error {
	for _, isKey := range []bool{true, false} {
		converter := avro.Plugins()[0].New()
		if err := converter.Configure(connect.Config{"schema.registry.url": c.Registry}, isKey); err != nil {
			return err
		}
		if isKey {
			c.keys = serde.Of(converter, nil)
		} else {
			c.value = serde.Of(converter, nil)
		}
	}
	return nil
}

func (c *captured) engine(logger *slog.Logger) (*streams.Engine, error) {
	e, err := streams.OpenEngine(streams.Config{Brokers: c.Brokers, Dir: c.Dir, Logger: logger})
	if err != nil {
		return nil, err
	}
	return e, e.Add(c.app)
}

// table reads two columns of a table beside its key.
func (c *captured) table(name, first, second string) *streams.Table[connect.Value, connect.Value] {
	return c.cdc(name, first, second).Table(c.b, streams.With{Name: name, Store: name})
}

func (c *captured) cdc(name, first, second string) streams.CDC {
	var fields []connect.Field
	for _, column := range []string{"id", first, second} {
		fields = append(fields, connect.Field{Name: column, Schema: connect.Of(connect.KindInt64)})
	}
	return streams.CDC{
		Topic: "bank.public." + name, Key: c.keys, Envelope: c.value, StoredKey: serde.Row(capturedKey),
		Row: connect.SchemaDef{Kind: connect.KindStruct, Fields: fields}.MustBuild(),
	}
}

// events are those that leave a row, by its first column.
func (c *captured) events(name, first, second string) *streams.Stream[int64, int64] {
	set := c.cdc(name, first, second).Stream(c.b).Filter(func(_ connect.Value, e streams.Change[connect.Value]) bool { return e.HasNew })
	return streams.Map(set, func(r streams.Record[connect.Value, streams.Change[connect.Value]]) streams.Record[int64, int64] {
		row := r.Value.New.Struct()
		return streams.Record[int64, int64]{Key: row.At(1).Int(), Value: row.At(2).Int(), Time: r.Time}
	})
}

// meetings joins both entries of each transfer, which are in one transaction and of one
// amount, and the events of cards with their accounts, of which these have seen everything.
func (c *captured) meetings() {
	less := func(_ int64, p join.Pair[int64, int64]) int64 { return p.Left - p.Right }
	join.Streams(c.events("debits", "transfer", "amount"), c.events("credits", "transfer", "amount"), join.Within[int64, int64, int64]{
		Before: time.Hour, After: time.Hour, Key: serde.Int64{}, Left: serde.Int64{}, Right: serde.Int64{},
	}, join.Outer(less), streams.With{Name: "paired"}).To("paired", serde.Int64{}, serde.Int64{})
	accounts := c.cdc("accounts", "balance", "version").Global(c.b, streams.With{Name: "all-accounts"})
	join.Global(c.events("cards", "account", "seen"), accounts, func(account, _ int64) (connect.Value, bool) {
		return connect.StructValue(capturedKey.StructOf([]connect.Value{connect.Int64(account)})), true
	}, join.Left(func(_ int64, p join.Pair[int64, connect.Value]) int64 {
		if !p.HasRight {
			return -1
		}
		return p.Left - p.Right.Struct().At(2).Int()
	}), streams.With{Name: "seen"}).To("seen", serde.Int64{}, serde.Int64{})
}

// sum adds up the second column by the first one.
func (c *captured) sum(table, by, amount string) *streams.Table[int64, int64] {
	return c.sumOf(c.table(table, by, amount), table+"-by-"+by, 1, 2)
}

func (c *captured) sumOf(t *streams.Table[connect.Value, connect.Value], name string, by, amount int) *streams.Table[int64, int64] {
	grouped := streams.GroupTable(t, func(_, row connect.Value) (int64, int64) {
		return row.Struct().At(by).Int(), row.Struct().At(amount).Int()
	}, serde.Int64{}, serde.Int64{}, streams.With{Name: name, Partitions: 2})
	return streams.Aggregate(grouped, summed[int64](), serde.Int64{}, streams.With{Name: name + "-sum", Store: name + "-sum"})
}

// less joins two tables to the difference of their rows.
func (c *captured) less(l, r *streams.Table[int64, int64], name string) *streams.Table[int64, int64] {
	return join.Tables(l, r, join.Outer(func(_ int64, p join.Pair[int64, int64]) int64 { return p.Left - p.Right }),
		serde.Int64{}, streams.With{Name: name, Store: name})
}

func (c *captured) build() {
	net := c.less(c.sum("credits", "account", "amount"), c.sum("debits", "account", "amount"), "net")
	accounts := c.table("accounts", "balance", "version")
	c.compared = "balances"
	c.sums["net"], c.sums["balances"] = net, c.sumOf(accounts, "balances", 0, 1)
	c.zero["unbooked"] = c.less(net, c.sums["balances"], "unbooked")
	all := streams.GroupTable(net, func(_, v int64) (int64, int64) { return 0, v }, serde.Int64{}, serde.Int64{}, streams.With{Name: "all", Partitions: 1})
	c.zero["total"] = streams.Aggregate(all, summed[int64](), serde.Int64{}, streams.With{Name: "total", Store: "total"})
	versions := c.sumOf(accounts, "versions", 0, 2)
	unseen := join.ForeignKey(c.table("cards", "account", "seen"), join.On(versions, func(_, card connect.Value) (int64, bool) { return card.Struct().At(1).Int(), true }),
		join.Left(func(_ connect.Value, p join.Pair[connect.Value, int64]) int64 {
			return p.Left.Struct().At(2).Int() - p.Right
		}),
		serde.Int64{}, streams.With{Name: "unseen", Store: "unseen"})
	unseen.ToStream().To("unseen", serde.Row(capturedKey), serde.Int64{})
	for name, t := range c.zero {
		t.ToStream().To(name, serde.Int64{}, serde.Int64{})
	}
}
