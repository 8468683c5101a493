package bankstorm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tidemill/tidemill/torture/chaos"
	"github.com/tidemill/tidemill/torture/oracle"
	"github.com/tidemill/tidemill/torture/storm"
)

// Run makes one run and, when it failed and o.Shrink asks for it, some more. The error
// tells that the harness could not do its work; what was found is in the result.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.complete(); err != nil {
		return Result{}, err
	}
	result, err := once(ctx, o)
	if !result.OK() && o.Shrink > 0 && ctx.Err() == nil {
		result.Shrunk = shrink(ctx, o, result)
		err = errors.Join(err, rewriteBundle(o, result))
	}
	return result, err
}

// once makes one run in a directory that is gone afterwards.
func once(ctx context.Context, o Options) (_ Result, err error) {
	dir, err := os.MkdirTemp("", "tidemill-torture-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // PostgreSQL runs as another user when started by root.
	}
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	timeline, err := os.Create(filepath.Join(dir, "timeline.jsonl"))
	if err != nil {
		return Result{}, err
	}
	defer timeline.Close()
	r := &run{o: o, dir: dir, journal: chaos.NewJournal(timeline, o.Seen), began: time.Now(), flow: newFlow()}
	r.result = Result{Seed: o.Seed, Mode: o.Mode, ByClass: map[string]int{}}
	err = r.all(ctx)
	r.result.Seconds = time.Since(r.began).Seconds()
	r.result.summarize()
	if most := o.Recovery.Seconds(); most > 0 && r.result.RecoveredP99 > most {
		r.journal.Found(chaos.AnomalySlow, "99 of 100 recoveries took up to %.2f s, more than %.2f s; the slowest was that from %s", r.result.RecoveredP99, most, r.result.Slowest)
	}
	r.result.Anomalies = r.journal.Anomalies()
	if ctx.Err() != nil && !o.Keep {
		return r.result, err // Somebody has interrupted it: there is nothing to look into.
	}
	if err != nil || !r.result.OK() || o.Keep {
		if err != nil {
			r.journal.Say("error", "%v", err)
		}
		r.result.Bundle, err = r.bundle(err)
	}
	return r.result, err
}

// run is one run.
type run struct {
	o       Options
	dir     string
	journal *chaos.Journal
	began   time.Time
	world   *chaos.World
	storm   *storm.Storm
	monitor *chaos.Monitor
	oracle  *oracle.Reader
	decoded *oracle.Decoding
	final   int64        // The last transaction.
	early   func() error // Ends the storm that the tables are read in.
	fork    uint64       // Where the newest promotion was.
	flow    *flow        // Of the streams application.
	// reading has something read on until the run is over.
	reading func(func(context.Context) error)

	telling sync.Mutex // Guards told.
	told    map[string]bool
	result  Result
}

// The names of what is in the world.
const (
	database = "bank"
	prefix   = "storm"
	slot     = "storm"
)

// setupTime bounds each step before the storm and after it. A sweep has much to verify.
func (r *run) setupTime() time.Duration {
	least := time.Minute
	if r.o.sweep != nil {
		least = 5 * time.Minute
	}
	return max(least, r.o.Patience)
}

// all goes through the phases.
func (r *run) all(ctx context.Context) (err error) {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	defer r.oracle.Close()
	defer func() {
		r.slots()
		err = errors.Join(err, r.world.Stop())
	}()
	watching, unwatch := context.WithCancel(ctx)
	group, watching := errgroup.WithContext(watching)
	group.Go(func() error { return r.monitor.Run(watching) })
	group.Go(func() error { return r.oracle.Run(watching) })
	group.Go(func() error { return r.listen(watching) })
	r.reading = func(read func(context.Context) error) { group.Go(func() error { return read(watching) }) }
	err = r.phases(ctx)
	r.result.AckSamples, r.result.Usage = r.monitor.Samples(), r.monitor.Usage()
	unwatch()
	return errors.Join(err, group.Wait())
}

// prepare makes the world and what is captured in it.
func (r *run) prepare(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, r.setupTime())
	defer cancel()
	r.world, err = chaos.Start(ctx, chaos.Options{
		Dir: r.dir, Binary: r.o.Binary, Workers: r.o.Workers, Lan: r.o.Lan, Env: r.o.Env, Points: r.o.Points, ExactlyOnce: r.o.Mode == ExactlyOnce, PGBin: r.o.PGBin, Journal: r.journal,
		Captured: chaos.Captured{Database: database, Slot: slot, Publication: storm.Publication, CreatePublication: storm.CreatePublication, Touch: marker()},
		Beside:   beside{r},
	})
	if err != nil {
		return err
	}
	if err := r.fill(ctx); err != nil {
		return errors.Join(err, r.world.Stop())
	}
	return nil
}

// fill makes the database, starts to capture it and prepares who watches that.
func (r *run) fill(ctx context.Context) (err error) {
	if err := r.execute(ctx, "postgres", "CREATE DATABASE "+database); err != nil {
		return err
	}
	r.storm = storm.New(storm.Options{Seed: int64(r.o.Seed), Clients: r.o.Clients, TPS: r.o.TPS, Templates: r.o.Templates, Connect: func(ctx context.Context) (*pgx.Conn, error) {
		return r.world.Connect(ctx, database)
	}})
	if err := r.storm.Setup(ctx); err != nil {
		return err
	}
	if err := r.judges(ctx); err != nil {
		return err
	}
	r.early = r.begin()
	if err := r.world.Create(ctx, chaos.Connector, r.connector()); err != nil {
		return errors.Join(err, r.early())
	}
	watch := chaos.MonitorOptions{Database: database, Connector: chaos.Connector, Slot: slot, Prefix: prefix, Mark: marker(), Table: storm.TableManifest, Memory: r.o.Memory}
	if r.o.Streams {
		watch.Marked = r.flow.marked
	}
	r.monitor, err = r.world.NewMonitor(watch)
	if err != nil {
		err = errors.Join(err, r.early())
	}
	return err
}

func (r *run) connector() map[string]string {
	host, port := r.world.PostgresProxy()
	config := storm.ConnectorConfig(storm.ConnectorOptions{
		Host: host, Port: port, User: "postgres", Password: r.world.Secret(), Database: database,
		Prefix: prefix, Slot: slot, Registry: r.world.WorkerRegistry(), ExactlyOnce: r.o.Mode == ExactlyOnce,
		Grouped: r.o.sweep == nil && r.o.Seed%3 != 0,
	})
	if r.o.sweep != nil && r.o.Mode == ExactlyOnce {
		config["transaction.max.records"] = "2000" // Large ones are written in parts.
	}
	if r.world.CopiesSlots() {
		config["slot.failover"] = "true"
	}
	maps.Copy(config, r.o.Connector)
	return config
}

// execute runs statements on a connection of their own.
func (r *run) execute(ctx context.Context, db, sql string) error {
	conn, err := r.world.Connect(ctx, db)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// phases are what a run does while it is watched.
func (r *run) phases(ctx context.Context) error {
	err := errors.Join(r.settled(ctx, "the snapshot"), r.early())
	if err != nil {
		return err
	}
	r.journal.Say("started", "%s", strings.Join(r.world.Acted(), " "))
	if r.o.sweep != nil {
		if err := r.o.sweep.started(ctx, r); err != nil {
			return err
		}
	}
	r.monitor.Settled()
	if err := errors.Join(r.copies(ctx), r.startStreams(ctx)); err != nil {
		return err
	}
	before, err := r.world.Usage(ctx)
	if err != nil {
		return err
	}
	if err := r.stormy(ctx); err != nil {
		return err
	}
	for _, phase := range []func(context.Context) error{r.quiesce, r.verify, r.verifyStreams, r.verifyCopies, r.verifyAside, r.again, r.rebuilt, r.rebuiltStreams} {
		if err := phase(ctx); err != nil {
			return err
		}
	}
	return r.leaks(ctx, before)
}

// begin has the storm begin: tables are read while they change. What it returns ends it.
func (r *run) begin() func() error {
	ctx, stop := context.WithCancel(context.Background())
	var group errgroup.Group
	group.Go(func() error { return r.storm.Run(ctx) })
	return func() error {
		stop()
		return group.Wait()
	}
}

// settled waits until a change that is made now has come to Kafka.
func (r *run) settled(ctx context.Context, after string) error {
	ctx, cancel := context.WithTimeout(ctx, r.setupTime())
	defer cancel()
	took, err := r.monitor.Recovered(ctx, time.Now())
	if err != nil {
		status, _ := r.world.Status(context.WithoutCancel(ctx), chaos.Connector)
		r.journal.Found(chaos.AnomalyStuck, "after %s: %v; the connector is %s", after, err, status)
		return fmt.Errorf("after %s: %w; the connector is %s", after, err, status)
	}
	r.journal.Say("settled", "after %s in %v", after, took.Round(time.Millisecond))
	return nil
}

// stormy writes while things go wrong.
func (r *run) stormy(ctx context.Context) error {
	writing, stop := context.WithCancel(ctx)
	defer stop()
	group, writing := errgroup.WithContext(writing)
	group.Go(func() error { return r.storm.Run(writing) })
	if r.o.sweep != nil {
		group.Go(func() error { return r.o.sweep.aside.write(writing) })
	}
	group.Go(func() error {
		defer stop()
		warm := min(5*time.Second, r.o.Duration/6)
		r.journal.Say("phase", "warm for %v", warm)
		if !sleep(writing, warm) {
			return nil
		}
		if r.o.sweep != nil {
			r.journal.Say("phase", "sweep")
			return r.o.sweep.faults(writing)
		}
		r.journal.Say("phase", "storm for %v", r.o.Duration)
		return r.faults(writing)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// faults does the faults of the plan, one after the other, until the time is up.
func (r *run) faults(ctx context.Context) error {
	began := time.Now()
	defer func() { r.result.StormSeconds = time.Since(began).Seconds() }()
	for i, f := range r.o.Plan {
		if !sleep(ctx, f.Gap) || time.Since(began) > r.o.Duration {
			break
		}
		if err := r.world.Inject(ctx, f); err != nil {
			if ctx.Err() != nil {
				break
			}
			r.journal.Found(chaos.AnomalyHarness, "%s could not be done: %v", f, err)
		}
		healed := time.Now()
		r.result.Faults++
		r.result.ByClass[f.Class]++
		r.result.Plan = append(r.result.Plan, f)
		if f.Loud() {
			r.loud(ctx, f, healed)
			continue
		}
		if i+1 < len(r.o.Plan) && r.o.Plan[i+1].Press {
			continue // The next one comes before this one is recovered from.
		}
		r.recover(ctx, f, healed)
		r.recoverStreams(ctx, f, healed)
	}
	return nil
}

// recover waits until a change made after a fault has come to Kafka, and takes note of
// how long that took.
func (r *run) recover(ctx context.Context, f chaos.Fault, healed time.Time) {
	waiting, cancel := context.WithTimeout(ctx, r.o.Patience)
	defer cancel()
	took, err := r.monitor.Recovered(waiting, healed)
	if ctx.Err() != nil {
		return
	}
	r.result.recoveries = append(r.result.recoveries, recovered{f, took})
	if err != nil {
		status, _ := r.world.Status(ctx, chaos.Connector)
		r.journal.Found(chaos.AnomalyStuck, "after %s: %v; the connector is %s", f, err, status)
		r.world.Dump(ctx)
		return
	}
	r.journal.Say("recovered", "from %s in %v", f.Class, took.Round(time.Millisecond))
}

// quiesce writes a last transaction and waits until everything has come through.
func (r *run) quiesce(ctx context.Context) (err error) {
	r.journal.Say("phase", "quiesce")
	ctx, cancel := context.WithTimeout(ctx, r.setupTime())
	defer cancel()
	if r.final, err = r.storm.Finish(ctx); err != nil {
		return err
	}
	stats := r.storm.Stats()
	r.result.Transactions, r.result.Events = stats.Committed, stats.Events
	return r.settled(ctx, "the last transaction")
}

// sleep waits; false means that ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
