package main

import (
	"context"
)

// giantRows are the rows of the giant transaction.
const giantRows = 5_000_000

// benchGiant streams one transaction that is larger than any memory should have to
// hold.
func benchGiant(ctx context.Context, o options) ([]figure, error) {
	d, err := startDatabase(ctx)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	if err := d.exec(ctx, "ALTER SYSTEM RESET logical_decoding_work_mem", "SELECT pg_reload_conf()"); err != nil {
		return nil, err
	}
	if _, err := d.fill(ctx, giantRows, giantRows); err != nil {
		return nil, err
	}
	w, err := startWorker(ctx, o.binary)
	if err != nil {
		return nil, err
	}
	defer w.stop()
	r, err := w.follow(ctx, d, giantRows, "giant")
	if err != nil {
		return nil, err
	}
	_, peak := w.process.rss()
	f := figure{Name: "source.stream.giant", Value: r.rate(giantRows), Unit: "changes/s", CPU: perMillion(r.cpu, giantRows), RSS: peak}
	memory := figure{Name: "source.stream.giant.rss", Value: peak, Unit: "MB"}.held(false, 256)
	o.show(f)
	o.show(memory)
	return []figure{f, memory}, nil
}
