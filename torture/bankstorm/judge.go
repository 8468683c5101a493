package bankstorm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/torture/chaos"
	"github.com/tidemill/tidemill/torture/oracle"
	"github.com/tidemill/tidemill/torture/storm"
)

// marker is a transaction of the storm that has nothing but its manifest.
func marker() string {
	var nothing storm.Digest
	return fmt.Sprintf("INSERT INTO manifest VALUES (pg_current_xact_id()::text::bigint, 0, '%s', '%s', 'marker', pg_current_wal_insert_lsn()) RETURNING txid", nothing.Values(), nothing.Shape())
}

// judges prepares those who know what is right, before anything is captured.
func (r *run) judges(ctx context.Context) (err error) {
	r.told = map[string]bool{}
	r.decoded = oracle.NewDecoding(func(ctx context.Context) (*pgx.Conn, error) { return r.world.Connect(ctx, database) })
	if err := r.decoded.Setup(ctx); err != nil {
		return err
	}
	r.oracle, err = oracle.New(oracle.Options{
		Brokers: r.world.Brokers(), Kafka: r.world.Direct(), Registry: r.world.Registry(), Prefix: prefix,
		ExactlyOnce: r.o.Mode == ExactlyOnce, Secrets: []string{r.world.Secret()},
	})
	return err
}

// beside has who reads the log beside the worker follow what happens to the server.
type beside struct{ r *run }

// Drain reads what the log has by now.
func (b beside) Drain(ctx context.Context) error { return b.r.decoded.Drain(ctx) }

// Begin begins to read a server that takes the place of the one before.
func (b beside) Begin(ctx context.Context, now chaos.Connect) error {
	return b.r.decoded.Begin(ctx, now)
}

// Leave reads what the former server still has.
func (b beside) Leave(ctx context.Context, former chaos.Connect, at uint64) error {
	return b.r.decoded.Leave(ctx, former, at)
}

// listen tells what the oracle finds as soon as it does.
func (r *run) listen(ctx context.Context) error {
	for sleep(ctx, 200*time.Millisecond) {
		r.tell(r.oracle.Found())
	}
	return nil
}

func (r *run) tell(list []oracle.Anomaly) {
	r.telling.Lock()
	defer r.telling.Unlock()
	for _, a := range list {
		if text := a.String(); !r.told[text] {
			r.told[text] = true
			r.journal.Found(a.Name, "%s", text)
		}
	}
}

// verify holds what is in Kafka against the truth.
func (r *run) verify(ctx context.Context) error {
	r.journal.Say("phase", "verify")
	ctx, cancel := context.WithTimeout(ctx, r.setupTime())
	defer cancel()
	release, err := r.monitor.Hold(ctx)
	if err == nil {
		defer release()
		err = r.oracle.Wait(ctx, r.final)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		r.journal.Found(chaos.AnomalyStuck, "%v", err)
		return nil
	case err != nil:
		return err
	}
	source, err := r.world.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer source.Close(context.WithoutCancel(ctx))
	list, err := r.oracle.Check(ctx, oracle.Truth{Source: source, Decoded: r.decoded})
	if err != nil {
		return err
	}
	r.tell(list)
	return nil
}
