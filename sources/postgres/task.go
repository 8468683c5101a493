package postgres

import (
	"context"

	"github.com/tidemill/tidemill/connect"
)

// task reads one database through one slot.
type task struct {
	env connect.SourceTaskEnv
	set *settings
}

func newTask() *task { return &task{} }

// Start checks the configuration.
func (t *task) Start(_ context.Context, env connect.SourceTaskEnv) (err error) {
	t.env = env
	t.set, err = newSettings(env.Config)
	return err
}

// Poll waits for records.
func (t *task) Poll(ctx context.Context) ([]connect.SourceRecord, error) {
	pause(ctx, t.set.pollInterval)
	return nil, nil
}

// Stop releases everything.
func (t *task) Stop(context.Context) error { return nil }
