package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/connect"
)

// demoOptions are the flags of `tidemill demo`.
type demoOptions struct {
	once     bool
	changes  int
	rate     float64
	seed     uint64
	keep     string
	pgBin    string
	restPort int
	brokers  string
	registry string
	timeout  time.Duration
	torture  string // How long; empty for no torture.
	mode     string
}

func (a *app) demoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole of it on this machine, and leave nothing behind",
		Long: `Starts a private PostgreSQL, an in-process Kafka and a schema registry, captures a little shop's
database with a Debezium connector configuration, derives a table in SQL, fills a second database through a
sink, and prints the changes as they arrive. Everything lives in a temporary directory and goes away on Ctrl-C.

With --once it makes a fixed number of changes, verifies that the topics, the derived table and the sink equal
the source database, and exits: 0 when they do, 4 when they do not.

With --torture it captures a bank under heavy writing instead, while PostgreSQL, the broker, the registry, the network
and the worker are killed, stopped, cut off and restarted, over and over again, in an order that --seed decides; then it
verifies that nothing was lost, torn, doubled or out of order, and exits with 0 or 4. See docs/torture.md.`,
		Example: `  tidemill demo
  tidemill demo --rate 50
  tidemill demo --once --json
  tidemill demo --torture 60s --seed 7 --mode alo`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.torture != "" {
				return a.torture(cmd.Context(), o)
			}
			return a.demo(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.once, "once", false, "do the whole job once, verify it and exit")
	f.IntVar(&o.changes, "changes", 1500, "with --once: how many row changes to stream")
	f.Float64Var(&o.rate, "rate", 5, "changes a second the shop makes (0: none)")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the shop's choices, or of what goes wrong with --torture")
	f.StringVar(&o.keep, "keep", "", "keep everything in this directory instead of a temporary one")
	f.StringVar(&o.pgBin, "pg-bin", "", "folder of PostgreSQL's server programs (default: search)")
	f.IntVar(&o.restPort, "rest-port", 0, "port of the REST interface (default: 8083, or a free one)")
	f.StringVar(&o.brokers, "brokers", "", "use this Kafka, as host:port,…; the demo's topics stay there")
	f.StringVar(&o.registry, "registry", "", "use this schema registry, as a URL; the demo's subjects stay there")
	f.StringVar(&o.torture, "torture", "", "have everything fail for this time, such as 60s or 60, and verify")
	f.StringVar(&o.mode, "mode", "eos", "with --torture: what the worker promises, eos (exactly once) or alo (at least once)")
	f.DurationVar(&o.timeout, "timeout", 2*time.Minute, "with --once: give up after this time")
	return cmd
}

// demo is one run of the demo.
type demo struct {
	*app
	demoOptions
	info    io.Writer // Where progress goes: stdout, or stderr when stdout is for JSON.
	dev     *devStack
	shop    *shop
	client  *client
	state   *topicState
	printer *printer
	began   time.Time
	initial int // Rows of the snapshot.
}

// demo starts everything, does the job and takes everything down again.
func (a *app) demo(ctx context.Context, o demoOptions) (err error) {
	d := &demo{app: a, demoOptions: o, info: a.out, printer: newPrinter(a.out), began: time.Now()}
	if a.json {
		d.info = a.err
	}
	if o.once {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("the demo did not finish within %v", o.timeout))
		defer cancel()
	}
	dir, temporary, err := demoDir(o.keep)
	if err != nil {
		return err
	}
	if temporary {
		defer os.RemoveAll(dir)
	}
	fmt.Fprintf(d.info, "tidemill %s demo. Everything lives in %s%s\n\n", version, dir,
		map[bool]string{true: " and goes away on Ctrl-C (keep it with --keep DIR).", false: "."}[temporary])
	return d.run(ctx, dir)
}

func demoDir(keep string) (dir string, temporary bool, err error) {
	if keep != "" {
		return keep, false, os.MkdirAll(keep, 0o755)
	}
	dir, err = os.MkdirTemp("", "tidemill-demo-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // PostgreSQL runs as another user when started by root.
	}
	return dir, true, err
}

// run owns the goroutines: the stack, the reader of the topics, and the job itself,
// whose end ends the others.
func (d *demo) run(ctx context.Context, dir string) error {
	dev, err := d.startDev(ctx, dir)
	if err != nil {
		return err
	}
	d.dev = dev
	defer dev.stop()
	group, gctx := errgroup.WithContext(ctx)
	gctx, cancel := context.WithCancel(gctx)
	defer cancel()
	group.Go(func() error { return dev.Run(gctx) })
	group.Go(func() error {
		defer cancel()
		return d.job(gctx, group)
	})
	err = group.Wait()
	if ctx.Err() != nil && !d.once {
		return nil // Ctrl-C is how the demo ends.
	}
	return err
}

// startDev starts PostgreSQL beside a development stack and tells of each part.
func (d *demo) startDev(ctx context.Context, dir string) (*devStack, error) {
	dev, err := newDevStack(ctx, devOptions{
		dir: dir, postgres: true, pgBin: d.pgBin, restPort: d.restPort, preferred: true, brokers: d.brokers, registry: d.registry,
		said: func(what, detail string, took time.Duration) { d.say(d.info, what, detail, took) },
	})
	if err != nil {
		return nil, err
	}
	d.client = newClient(dev.restURL)
	return dev, nil
}

// job is what the demo shows, in order.
func (d *demo) job(ctx context.Context, group *errgroup.Group) error {
	if err := d.dev.ready(ctx); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, d.dev.postgres.DSN("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	d.shop = newShop(conn, d.seed)
	if d.initial, err = d.shop.open(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{d.capture, d.watch(group), d.snapshot, d.derive, d.sink} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if d.once {
		return d.prove(ctx)
	}
	group.Go(func() error { return d.follow(ctx, d.printer.derived) })
	return d.trade(ctx)
}

// capture registers the connector, exactly as a Debezium user has it in a file.
func (d *demo) capture(ctx context.Context) error {
	began := time.Now()
	if err := d.client.createConnector(ctx, "inventory-connector", d.dev.shopConnector()); err != nil {
		return err
	}
	if err := d.client.waitRunning(ctx, "inventory-connector"); err != nil {
		return err
	}
	d.say(d.info, "connector", "inventory-connector RUNNING (io.debezium.connector.postgresql.PostgresConnector)", time.Since(began))
	return nil
}

// watch starts reading the topics, as any consumer would.
func (d *demo) watch(group *errgroup.Group) func(context.Context) error {
	return func(ctx context.Context) error {
		key, value, err := d.dev.avroConverters()
		if err != nil {
			return err
		}
		d.state, err = newTopicState(strings.Split(d.dev.brokers, ","), shopTopics(), key, value)
		if err != nil {
			return err
		}
		if !d.once {
			d.state.seen = d.printer.print
		}
		group.Go(func() error { return d.state.Run(ctx) })
		return nil
	}
}

// snapshot shows how far the first copy of the tables is.
func (d *demo) snapshot(ctx context.Context) error {
	began := time.Now()
	var bars []bar
	for _, t := range shopTables {
		n, err := d.shop.count(ctx, t)
		if err != nil {
			return err
		}
		bars = append(bars, bar{name: "inventory." + t, topic: shopTopic(t), total: n})
	}
	progress := newProgress(d.info, d.fancy(d.info))
	err := d.state.wait(ctx, "the snapshot", func() bool {
		done := true
		for i := range bars {
			bars[i].done = d.state.count(bars[i].topic, connect.OpRead)
			done = done && bars[i].done >= bars[i].total
		}
		progress.draw(bars)
		return done
	})
	if err != nil {
		return err
	}
	progress.finish(bars)
	fmt.Fprintf(d.info, "              %d rows, %.2f s → streaming\n", d.initial, time.Since(began).Seconds())
	return nil
}

// derive makes a table that is kept up to date from a captured one.
func (d *demo) derive(ctx context.Context) error {
	began := time.Now()
	if _, err := d.client.ksql(ctx, derivedTable); err != nil {
		return err
	}
	d.say(d.info, "query", "ORDERS_BY_CUSTOMER (CREATE TABLE … GROUP BY purchaser) RUNNING", time.Since(began))
	return nil
}

// sink copies the captured tables into a second database.
func (d *demo) sink(ctx context.Context) error {
	began := time.Now()
	if _, err := d.shop.conn.Exec(ctx, "CREATE DATABASE warehouse"); err != nil {
		return err
	}
	if err := d.client.createConnector(ctx, "warehouse-sink", d.dev.warehouseSink()); err != nil {
		return err
	}
	if err := d.client.waitRunning(ctx, "warehouse-sink"); err != nil {
		return err
	}
	d.say(d.info, "sink", "warehouse-sink RUNNING (4 topics into the database warehouse)", time.Since(began))
	return nil
}

// trade lets the shop make changes until the user has seen enough.
func (d *demo) trade(ctx context.Context) error {
	fmt.Fprintf(d.info, demoHints, d.dev.restURL, d.rate, d.dev.postgres.DSN("postgres"), d.dev.restURL, d.dev.brokers)
	if d.rate <= 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(time.Duration(float64(2*time.Second) / d.rate)) // A trade is about two changes.
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := d.shop.trade(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

const demoHints = `
   REST       %s
   A little shop now makes about %g changes a second (--rate 0 to stop it). In another terminal:
     psql '%s'      change rows yourself
     curl -sN -X POST %s/query -d '{"ksql":"SELECT * FROM ORDERS_BY_CUSTOMER EMIT CHANGES LIMIT 3;"}'
     kcat -b %s -L                                   any Kafka tool works

`
