package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// debeziumPOM names what the comparison runs on the other side.
const debeziumPOM = "bench/debezium.pom.xml"

// javaSide is Kafka Connect with Debezium's connector, ready to be started.
type javaSide struct {
	connect, plugin string // Class paths.
	heap            string
}

// profile is a set of settings that the connectors of both sides get.
type profile struct {
	name, what string
	settings   []string
}

var profiles = []profile{
	{"defaults", "each with its documented defaults", nil},
	{"tuned", "both with larger batches and a shorter poll", []string{
		"max.batch.size", "8192", "max.queue.size", "32768", "poll.interval.ms", "10", "snapshot.max.threads", "2", "snapshot.fetch.size", "20000",
		"producer.override.batch.size", "1000000", "producer.override.linger.ms", "5", "producer.override.buffer.memory", "67108864",
	}},
}

// benchDebezium runs the same loads through Debezium in Kafka Connect and through
// tidemill: the same server, broker, tables, converters, rounds in turn, and the same
// consumer counts. The first round of each is not counted: it warms both up.
func benchDebezium(ctx context.Context, o options) error {
	java, err := resolve(ctx, o)
	if err != nil {
		return err
	}
	d, err := startDatabase(ctx, o)
	if err != nil {
		return err
	}
	defer d.stop()
	kafka := o.kafka
	if kafka == "" {
		kafka = "apache"
	}
	s, err := startStack(ctx, o.binary, kafka)
	if err != nil {
		return err
	}
	defer s.stop()
	o.run.Machine.Broker = s.broker.name
	o.announce(java)
	var idle [2][]idleness
	for _, p := range profiles {
		c, err := newComparison(ctx, d, s, java)
		if err != nil {
			return err
		}
		for i, e := range []*engine{c.ours, c.theirs} {
			found, err := e.idle(ctx, d, o.idle, p.settings...)
			if err != nil {
				return err
			}
			idle[i] = append(idle[i], found)
		}
		if err := c.run(ctx, o, p); err != nil {
			return fmt.Errorf("%s: %w", p.what, err)
		}
		c.ours.process.stop()
		c.theirs.process.stop()
	}
	theirs := idleFigures("debezium.", idle[1])
	for i, f := range idleFigures("debezium.", idle[0]) {
		f.Bound, f.Met = "", nil
		f.Limit, f.LimitValue, f.LimitCPU, f.LimitRSS, f.Ratio = debeziumName, theirs[i].Value, theirs[i].CPU, theirs[i].RSS, f.Value/theirs[i].Value
		o.report(f)
	}
	return nil
}

const debeziumName = "Debezium"

// resolve lets Maven find the jars, and notes their versions.
func resolve(ctx context.Context, o options) (java javaSide, err error) {
	java.heap = o.heap
	if java.connect, err = classPath(ctx, debeziumPOM, "connect"); err != nil {
		return java, err
	}
	if java.plugin, err = classPath(ctx, debeziumPOM, "debezium"); err != nil {
		return java, err
	}
	m := &o.run.Machine
	m.Java, m.Connect, m.Debezium = javaVersion(ctx), versionOf(java.connect, "connect-runtime"), versionOf(java.plugin, "debezium-connector-postgres")
	o.run.Settings["debezium.rows"] = grouped(fmt.Sprint(o.debeziumRows))
	o.run.Settings["connect.jvm"] = java.heap + " " + scriptFlags
	o.run.Settings["converters"] = strings.ReplaceAll(strings.TrimSpace(jsonConverters), "\n", ", ")
	for _, p := range profiles {
		o.run.Settings["profile."+p.name] = p.String()
	}
	return java, nil
}

func (p profile) String() string {
	pairs := make([]string, 0, len(p.settings)/2)
	for i := 0; i < len(p.settings); i += 2 {
		pairs = append(pairs, p.settings[i]+"="+p.settings[i+1])
	}
	if len(pairs) == 0 {
		return p.what
	}
	return p.what + ": " + strings.Join(pairs, ", ")
}

// announce says what is compared, so that nobody has to guess.
func (o options) announce(java javaSide) {
	if o.quiet {
		return
	}
	m := o.run.Machine
	fmt.Printf("  %s\n  Debezium %s in Kafka Connect %s, distributed, %s\n  %s\n  PostgreSQL %s, %s, JSON without schemas on both sides\n",
		m.Tidemill, m.Debezium, m.Connect, java.heap, m.Java, m.Postgres, m.Broker)
	for _, p := range profiles {
		fmt.Printf("  %s: %s\n", p.name, p)
	}
}

// connect starts Kafka Connect in a Java process with the flags of its own start script
// and the connector in a plugin folder. Its topics are made beforehand, since it does
// not understand everything the embedded broker says about topics it has just made.
func (s *stack) connect(ctx context.Context, java javaSide) (*engine, error) {
	name := s.unique("connect")
	plugins := filepath.Join(s.dir, name)
	if err := pluginDir(filepath.Join(plugins, "debezium-connector-postgres"), java.plugin); err != nil {
		return nil, err
	}
	compact := "compact"
	if err := s.broker.create(ctx, map[string]*string{"cleanup.policy": &compact}, name+"-configs", name+"-offsets", name+"-status"); err != nil {
		return nil, err
	}
	file, url, err := s.properties(name, jsonConverters, "plugin.path="+plugins)
	if err != nil {
		return nil, err
	}
	e := &engine{name: "Kafka Connect", stack: s, url: url}
	args := append(strings.Fields(java.heap+" "+scriptFlags), "-cp", java.connect, "org.apache.kafka.connect.cli.ConnectDistributed", file)
	return e, e.run(ctx, "java", args...)
}

// comparison is two engines on one stack and one server.
type comparison struct {
	ours, theirs *engine
	database     *database
}

func newComparison(ctx context.Context, d *database, s *stack, java javaSide) (c comparison, err error) {
	c.database = d
	if c.theirs, err = s.connect(ctx, java); err != nil {
		return c, err
	}
	c.ours, err = s.tidemill(ctx, jsonConverters)
	return c, err
}

// run measures all loads with one profile.
func (c comparison) run(ctx context.Context, o options, p profile) error {
	for _, l := range []load{inserts(o.debeziumRows, 1000), inserts(max(1, o.debeziumRows/3), 1)} {
		if _, err := c.database.write(ctx, l); err != nil {
			return err
		}
		err := c.alternate(ctx, o, p, l, func(e *engine) (round, contents, error) { return e.follow(ctx, c.database, l, p.settings...) })
		if err != nil {
			return err
		}
		if err := c.database.dropSlot(ctx, "origin"); err != nil {
			return err
		}
	}
	l := load{name: "snapshot", what: "a first copy of rows of about 220 bytes", tables: []string{"load"}, changes: o.debeziumRows}
	if err := c.database.exec(ctx, append(fill(o.debeziumRows), "VACUUM ANALYZE load", "CHECKPOINT")...); err != nil {
		return err
	}
	err := c.alternate(ctx, o, p, l, func(e *engine) (round, contents, error) { return e.snapshot(ctx, c.database, l, p.settings...) })
	if err != nil {
		return err
	}
	return c.latency(ctx, o, p)
}

// alternate lets both do one thing in turn. Rates are those from the first record to the
// last, so that how long a connector takes to start does not count in them; it is a
// figure of its own.
func (c comparison) alternate(ctx context.Context, o options, p profile, l load, do func(*engine) (round, contents, error)) error {
	rs := rounds{n: l.changes}
	var first [2][]float64
	var size [2]int
	for n := range o.rounds + 1 {
		for i, e := range []*engine{c.ours, c.theirs} {
			r, found, err := do(e)
			if err != nil {
				return err
			}
			key, value := found.sizes()
			size[i] = key + value
			if n == 0 {
				continue
			}
			first[i] = append(first[i], r.first.Seconds())
			r.took -= r.first
			if i == 0 {
				rs.ours = append(rs.ours, r)
			} else {
				rs.limits = append(rs.limits, r)
			}
		}
	}
	f := rs.figure("debezium."+l.name+"."+p.name, "records/s", debeziumName)
	f.What = fmt.Sprintf("%s; %s; records of %d and %d bytes", l.what, p.what, size[0], size[1])
	f.LimitBrokerCPU = of(rs.limits, func(r round) float64 { return perMillion(r.broker, rs.n) })
	_, f.RSS = c.ours.memory()
	_, f.LimitRSS = c.theirs.memory()
	o.report(f)
	start := figure{
		Name: f.Name + ".first", Unit: "s", Value: median(first[0]), Limit: debeziumName, LimitValue: median(first[1]),
		What: "from the request that creates the connector until its first record is in Kafka; " + p.what,
	}
	start.Ratio = start.Value / start.LimitValue
	o.report(start)
	return nil
}

// latency measures both at the same rate, one after the other, each warm by then.
func (c comparison) latency(ctx context.Context, o options, p profile) error {
	pace := pacing{o.rate, o.latency}
	ours, used, err := c.ours.latency(ctx, c.database, pace, p.settings...)
	if err != nil {
		return err
	}
	theirs, theirUse, err := c.theirs.latency(ctx, c.database, pace, p.settings...)
	if err != nil {
		return err
	}
	for _, f := range latencyFigures("debezium.latency."+p.name+".", debeziumName, ours, theirs) {
		f.What = pace.what() + "; " + p.what
		if strings.HasSuffix(f.Name, "p99_ms") {
			f.CPU, f.LimitCPU = perMillion(used.worker, pace.total()), perMillion(theirUse.worker, pace.total())
		}
		o.report(f)
	}
	return nil
}
