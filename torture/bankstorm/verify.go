package bankstorm

import (
	"context"
	"time"

	"github.com/tidemill/tidemill/torture/chaos"
	"github.com/tidemill/tidemill/torture/storm"
)

// again restarts everything: nothing that was emitted may be emitted again.
func (r *run) again(ctx context.Context) error {
	r.journal.Say("phase", "restart everything")
	ctx, cancel := context.WithTimeout(ctx, r.setupTime())
	defer cancel()
	before, err := r.world.Ends(ctx, prefix+".", prefix+"."+storm.TableManifest, prefix+".transaction")
	if err != nil {
		return err
	}
	if err := r.world.RestartAll(ctx); err != nil {
		return err
	}
	if err := r.settled(ctx, "the restart of everything"); err != nil {
		return err
	}
	after, err := r.world.Ends(ctx, prefix+".", prefix+"."+storm.TableManifest, prefix+".transaction")
	if err != nil {
		return err
	}
	for topic, end := range after {
		if end != before[topic] {
			r.journal.Found(chaos.AnomalyNew, "after a restart of everything, without a change, %s has %d more records", topic, end-before[topic])
		}
	}
	return nil
}

// leaks compares what the worker uses with what it used before the storm.
func (r *run) leaks(ctx context.Context, before chaos.Usage) error {
	const slack, patience = 1.3, 20 * time.Second
	most := chaos.Usage{Goroutines: int(float64(before.Goroutines)*slack) + 10, Files: int(float64(before.Files)*slack) + 10}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		now, err := r.world.Usage(ctx)
		if err == nil && now.Goroutines <= most.Goroutines && now.Files <= most.Files {
			return nil
		}
		if !sleep(ctx, 200*time.Millisecond) {
			r.journal.Found(chaos.AnomalyLeak, "the worker has %d goroutines and %d open files, %d and %d before the storm", now.Goroutines, now.Files, before.Goroutines, before.Files)
			return nil
		}
	}
}
