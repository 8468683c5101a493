package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// benchSnapshot alternates psql's COPY of a table on one connection and a snapshot of
// it over two, records in Kafka.
func benchSnapshot(ctx context.Context, o options) ([]figure, error) {
	d, err := startDatabase(ctx)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	if err := d.exec(ctx, fmt.Sprintf("CALL fill(%d, 50000)", o.rows), "VACUUM ANALYZE load", "CHECKPOINT"); err != nil {
		return nil, err
	}
	w, err := startWorker(ctx, o.binary)
	if err != nil {
		return nil, err
	}
	defer w.stop()
	var ours, theirs, ratios, cpu []float64
	for i := range o.rounds {
		limit, err := d.copyTable(ctx)
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("snap_%d", i)
		r, err := w.timed(ctx, o.rows, name, d.connector(name, "snapshot.mode", "initial_only", "snapshot.max.threads", "2"))
		if err != nil {
			return nil, err
		}
		if err := w.delete(ctx, "/connectors/"+name); err != nil {
			return nil, err
		}
		ours, theirs = append(ours, r.rate(o.rows)), append(theirs, round{took: limit}.rate(o.rows))
		ratios, cpu = append(ratios, limit.Seconds()/r.took.Seconds()), append(cpu, perMillion(r.cpu, o.rows))
	}
	_, peak := w.process.rss()
	f := figure{
		Name: "source.snapshot", Value: median(ours), Unit: "rows/s", Limit: "psql COPY binary, one connection", LimitValue: median(theirs),
		Ratio: median(ratios), CPU: median(cpu), RSS: peak,
	}.held(true, 0.5)
	o.show(f)
	return []figure{f}, nil
}

// copyTable returns how long psql takes to copy the table to /dev/null.
func (d *database) copyTable(ctx context.Context) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.pg.BinDir(), "psql"), d.url.String(), "-qc", "COPY load TO STDOUT (FORMAT binary)", "-o", "/dev/null")
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("psql: %w: %s", err, out)
	}
	return time.Since(began), nil
}
