package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"
)

// benchIdle measures a worker that has nothing to do, first without any connector, then
// with one that follows an idle database.
func benchIdle(ctx context.Context, o options) error {
	d, err := startDatabase(ctx, o)
	if err != nil {
		return err
	}
	defer d.stop()
	s, err := startStack(ctx, o.binary, o.kafka)
	if err != nil {
		return err
	}
	defer s.stop()
	o.run.Machine.Broker = s.broker.name
	var all []idleness
	for range o.rounds {
		e, err := s.tidemill(ctx)
		if err != nil {
			return err
		}
		i, err := e.idle(ctx, d, o.idle)
		if err != nil {
			return err
		}
		all = append(all, i)
		e.process.stop()
	}
	for _, f := range idleFigures("worker.", all) {
		o.report(f)
	}
	return nil
}

// idleness is what an engine takes while nothing happens.
type idleness struct {
	ready         time.Duration
	watched       time.Duration // How long the processor time was counted.
	empty, joined float64       // Memory in MB, without and with a connector.
	cpu           time.Duration
	peak          float64
}

// idle lets an engine do nothing for a while, twice.
func (e *engine) idle(ctx context.Context, d *database, pause time.Duration, more ...string) (i idleness, err error) {
	i.ready, i.watched = e.ready, pause
	if err := rest(ctx, pause); err != nil {
		return i, err
	}
	i.empty, _ = e.memory()
	name := e.stack.unique("idle")
	if err := e.created(ctx, name, d.connector(name, "public.load", append(more, "snapshot.mode", "no_data")...)); err != nil {
		return i, err
	}
	if err := e.followed(ctx, d, name); err != nil {
		return i, err
	}
	before := processorTime(e.process.cmd.Process.Pid)
	if err := rest(ctx, pause); err != nil {
		return i, err
	}
	i.cpu = processorTime(e.process.cmd.Process.Pid) - before
	i.joined, i.peak = e.memory()
	if err := e.deleted(ctx, name); err != nil {
		return i, err
	}
	return i, d.dropSlot(ctx, name)
}

// rest lets time pass: here it is what is measured.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func idleFigures(prefix string, all []idleness) []figure {
	pick := func(of func(idleness) float64) float64 {
		values := make([]float64, len(all))
		for n, i := range all {
			values[n] = of(i)
		}
		return median(values)
	}
	idle := figure{Name: prefix + "idle", Unit: "MB", Value: pick(func(i idleness) float64 { return i.empty }), What: "memory of a worker without connectors"}
	joined := figure{
		Name: prefix + "idle.connected", Unit: "MB", Value: pick(func(i idleness) float64 { return i.joined }), RSS: pick(func(i idleness) float64 { return i.peak }),
		CPU: pick(func(i idleness) float64 { return i.cpu.Seconds() * 60 / i.watched.Seconds() }), What: "memory with a connector of an idle database; processor seconds a minute",
	}
	ready := figure{Name: prefix + "ready", Unit: "s", Value: pick(func(i idleness) float64 { return i.ready.Seconds() }), What: "from the start of the process until it is healthy"}
	return []figure{idle.held(false, 60), joined, ready.held(false, 1)}
}

// benchDemo times the whole demo, set-up and verification included.
func benchDemo(ctx context.Context, o options) error {
	var seconds []float64
	for range o.rounds {
		began := time.Now()
		out, err := exec.CommandContext(ctx, o.binary, "demo", "--once", "--json").Output()
		if err != nil {
			return fmt.Errorf("demo --once: %w", err)
		}
		var result struct{ OK bool }
		if err := json.Unmarshal(out, &result); err != nil || !result.OK {
			return fmt.Errorf("demo --once said %s", out)
		}
		seconds = append(seconds, time.Since(began).Seconds())
	}
	o.report(figure{Name: "demo.once", Value: median(seconds), Unit: "s", What: "the demo, set-up and verification included"}.held(false, 15))
	return nil
}
