package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// round is one measured run.
type round struct {
	took, cpu, server time.Duration
}

// rate returns so many things a second.
func (r round) rate(n int) float64 { return float64(n) / r.took.Seconds() }

// perMillion returns seconds for a million of n things.
func perMillion(d time.Duration, n int) float64 { return d.Seconds() * 1e6 / float64(n) }

// benchStream alternates pg_recvlogical and the worker over copies of one slot.
func benchStream(ctx context.Context, o options) ([]figure, error) {
	d, err := startDatabase(ctx)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	var all []figure
	for _, text := range o.sizes {
		rows, size := o.rows, o.rows
		if text != "all" {
			if size, err = strconv.Atoi(text); err != nil || size < 1 {
				return nil, fmt.Errorf("%q is no size of a transaction", text)
			}
		}
		if size < 10 {
			rows /= 2 // Transactions are what takes the time here.
		}
		f, err := o.compareStream(ctx, d, rows, size)
		if err != nil {
			return nil, err
		}
		f.Name = "source.stream.tx" + text
		f = f.held(true, 0.8)
		o.show(f)
		all = append(all, f)
	}
	return all, nil
}

// compareStream measures one load against pg_recvlogical.
func (o options) compareStream(ctx context.Context, d *database, rows, size int) (f figure, err error) {
	end, err := d.fill(ctx, rows, size)
	if err != nil {
		return f, err
	}
	w, err := startWorker(ctx, o.binary)
	if err != nil {
		return f, err
	}
	defer w.stop()
	var ours, theirs, ratios, cpu, server, limitServer []float64
	for i := range o.rounds {
		took, sent, err := d.recvlogical(ctx, fmt.Sprintf("ref_%d_%d", size, i), end)
		if err != nil {
			return f, err
		}
		r, err := w.follow(ctx, d, rows, fmt.Sprintf("ours_%d_%d", size, i))
		if err != nil {
			return f, err
		}
		limit := round{took: took}.rate(rows)
		ours, theirs, ratios = append(ours, r.rate(rows)), append(theirs, limit), append(ratios, r.rate(rows)/limit)
		cpu, server, limitServer = append(cpu, perMillion(r.cpu, rows)), append(server, perMillion(r.server, rows)), append(limitServer, perMillion(sent, rows))
	}
	_, peak := w.process.rss()
	return figure{
		Value: median(ours), Unit: "changes/s", Limit: "pg_recvlogical", LimitValue: median(theirs), Ratio: median(ratios),
		CPU: median(cpu), ServerCPU: median(server), LimitCPU: median(limitServer), RSS: peak,
	}, d.dropSlot(ctx, "origin")
}

// follow streams what stands behind "origin": from the request that creates the
// connector to the last record's arrival in Kafka.
func (w *workerUnderTest) follow(ctx context.Context, d *database, rows int, name string, more ...string) (r round, err error) {
	if err := d.copySlot(ctx, name); err != nil {
		return r, err
	}
	sender := d.watchSender(ctx, name)
	defer sender.stop()
	if r, err = w.timed(ctx, rows, name, d.connector(name, append(more, "snapshot.mode", "no_data")...)); err != nil {
		return r, err
	}
	r.server = sender.end()
	return r, w.delete(ctx, "/connectors/"+name)
}

// timed creates a connector and waits until its topic has so many records.
func (w *workerUnderTest) timed(ctx context.Context, rows int, name string, config map[string]string) (r round, err error) {
	before, began := w.process.cpu(), time.Now()
	if err := w.post(ctx, "/connectors", map[string]any{"name": name, "config": config}); err != nil {
		return r, err
	}
	if err := w.arrived(ctx, name, name+".public.load", int64(rows)); err != nil {
		return r, err
	}
	return round{took: time.Since(began), cpu: w.process.cpu() - before}, nil
}

// benchExactlyOnce alternates a worker that delivers exactly once and one that
// delivers at least once over copies of one slot.
func benchExactlyOnce(ctx context.Context, o options) ([]figure, error) {
	d, err := startDatabase(ctx)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	var all []figure
	for _, size := range []int{1000, 100} {
		f, err := o.compareExactlyOnce(ctx, d, size)
		if err != nil {
			return nil, err
		}
		f.Name = fmt.Sprintf("source.stream.eos.tx%d", size)
		f = f.held(true, 0.9)
		o.show(f)
		all = append(all, f)
	}
	return all, nil
}

func (o options) compareExactlyOnce(ctx context.Context, d *database, size int) (f figure, err error) {
	if _, err := d.fill(ctx, o.rows, size); err != nil {
		return f, err
	}
	least, err := startWorker(ctx, o.binary)
	if err != nil {
		return f, err
	}
	defer least.stop()
	exactly, err := startWorker(ctx, o.binary, "exactly.once.source.support=enabled")
	if err != nil {
		return f, err
	}
	defer exactly.stop()
	var ours, theirs, ratios, cpu []float64
	for i := range o.rounds {
		limit, err := least.follow(ctx, d, o.rows, fmt.Sprintf("least_%d_%d", size, i))
		if err != nil {
			return f, err
		}
		r, err := exactly.follow(ctx, d, o.rows, fmt.Sprintf("exactly_%d_%d", size, i), "exactly.once.support", "required")
		if err != nil {
			return f, err
		}
		ours, theirs = append(ours, r.rate(o.rows)), append(theirs, limit.rate(o.rows))
		ratios, cpu = append(ratios, r.rate(o.rows)/limit.rate(o.rows)), append(cpu, perMillion(r.cpu, o.rows))
	}
	_, peak := exactly.process.rss()
	return figure{
		Value: median(ours), Unit: "changes/s", Limit: "at least once", LimitValue: median(theirs), Ratio: median(ratios), CPU: median(cpu), RSS: peak,
	}, d.dropSlot(ctx, "origin")
}
