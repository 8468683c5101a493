package bankstorm

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/tidemill/tidemill/torture/chaos"
)

// What a sweep has beside the storm, for the failpoints that the storm does not lead to:
// a table in a database of its own, which one session changes, a connector that captures
// it with large values filled in, and a sink that keeps a copy in a third database.
const (
	asideName  = "aside"
	asideCopy  = "asidecopy"
	asideSink  = "asidecopy"
	asideRows  = 2000
	asideTable = "SELECT id::text, v::text || ' ' || md5(pad) FROM %s"
)

// aside is that.
type aside struct {
	r      *run
	config map[string]string
	tuned  int // How often the configuration was changed.
}

// newAside makes it all and starts the connectors.
func newAside(ctx context.Context, r *run) (*aside, error) {
	ctx, cancel := context.WithTimeout(ctx, r.setupTime())
	defer cancel()
	for _, db := range []string{asideName, asideCopy} {
		if err := r.execute(ctx, "postgres", "CREATE DATABASE "+db); err != nil {
			return nil, err
		}
	}
	const tables = `CREATE TABLE item (id int PRIMARY KEY, v bigint NOT NULL, pad text NOT NULL); ALTER TABLE item ALTER pad SET STORAGE EXTERNAL;`
	rows := fmt.Sprintf(`INSERT INTO item SELECT g, 0, repeat(md5(g::text), CASE WHEN g %% 10 = 0 THEN 100 ELSE 1 END) FROM generate_series(0, %d) g`, asideRows-1)
	for _, sql := range []string{tables, rows} {
		if err := r.execute(ctx, asideName, sql); err != nil {
			return nil, err
		}
	}
	a := &aside{r: r, config: maps.Clone(r.connector())}
	maps.Copy(a.config, map[string]string{
		"database.dbname": asideName, "topic.prefix": asideName, "slot.name": asideName, "publication.name": asideName, "publication.autocreate.mode": "filtered",
		"table.include.list": "public.item", "unavailable.value.mode": "fill", "incremental.snapshot.chunk.size": "64", "provide.transaction.metadata": "false",
	})
	if err := r.world.Create(ctx, asideName, a.config); err != nil {
		return nil, err
	}
	sink := map[string]string{
		"connector.class": "tidemill.PostgresSink", "tasks.max": "1", "topics": asideName + ".public.item", "connection.url": r.world.ProxiedDSN(asideCopy), "offsets.table": "positions",
		// A task of a killed worker takes its place again at once.
		"consumer.override.group.instance.id": asideSink,
	}
	if r.o.Mode == ExactlyOnce {
		sink["consumer.override.isolation.level"] = "read_committed"
	}
	return a, r.world.Create(ctx, asideSink, sink)
}

// write changes rows, one after the other, until ctx is done.
func (a *aside) write(ctx context.Context) error {
	const every = 20 * time.Millisecond
	conn, err := a.r.world.Connect(ctx, asideName)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for n := int64(1); sleep(ctx, every); n++ {
		sql := fmt.Sprintf("UPDATE item SET v = v + 1 WHERE id = %d", n*37%asideRows)
		if n%8 == 0 {
			sql = fmt.Sprintf("UPDATE item SET v = v + 1, pad = repeat(md5('%d'), 100) WHERE id = %d", n, n*13%asideRows)
		}
		if _, err := conn.Exec(context.WithoutCancel(ctx), sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// reconfigure changes a setting of the connector.
func (a *aside) reconfigure(ctx context.Context) error {
	a.tuned++
	config := maps.Clone(a.config)
	config["max.batch.size"] = strconv.Itoa(1024 + a.tuned%100)
	return a.r.world.Call(ctx, "PUT", "/connectors/"+asideName+"/config", config, nil)
}

// readBeside asks for the table to be read beside the log.
func (a *aside) readBeside(ctx context.Context) error {
	signal := map[string]any{"id": "sweep", "type": "execute-snapshot", "data": map[string]any{"type": "incremental", "data-collections": []string{"public.item"}}}
	return a.r.world.Call(ctx, "POST", "/connectors/"+asideName+"/signals", signal, nil)
}

// recovered waits until a change that is made now is in the copy, and returns how long
// after since that was.
func (a *aside) recovered(ctx context.Context, since time.Time) (time.Duration, error) {
	var want int64
	if err := a.value(ctx, asideName, "UPDATE item SET v = v + 1 WHERE id = 0 RETURNING v", &want); err != nil {
		return 0, err
	}
	conn, err := a.r.world.Connect(ctx, asideCopy)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		var have int64
		err := conn.QueryRow(ctx, `SELECT v FROM aside_public_item WHERE id = 0`).Scan(&have)
		if err == nil && have >= want {
			return time.Since(since), nil
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return time.Since(since), fmt.Errorf("no change made after it has come to the sink's table in %v: it has %d and not %d (%v)", time.Since(since).Round(time.Millisecond), have, want, err)
		}
	}
}

// confirmed waits until the log as it is now has been confirmed to the server through both
// slots, so that it keeps none of it, and returns how long after since that was.
func (a *aside) confirmed(ctx context.Context, since time.Time) (time.Duration, error) {
	conn, err := a.r.world.Connect(ctx, asideName)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var end, seen string
	if err := conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&end); err != nil {
		return 0, err
	}
	for {
		err := conn.QueryRow(ctx, "SELECT coalesce(string_agg(slot_name || ' ' || confirmed_flush_lsn::text, ', ') FILTER (WHERE confirmed_flush_lsn < $1::text::pg_lsn), '') FROM pg_replication_slots WHERE slot_name IN ($2, $3)",
			end, slot, asideName).Scan(&seen)
		if err == nil && seen == "" {
			return time.Since(since), nil
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return time.Since(since), fmt.Errorf("the log up to %s has not been confirmed in %v: %s (%v)", end, time.Since(since).Round(time.Millisecond), seen, err)
		}
	}
}

// value runs a statement that returns a number.
func (a *aside) value(ctx context.Context, db, sql string, to *int64) error {
	conn, err := a.r.world.Connect(ctx, db)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return conn.QueryRow(ctx, sql).Scan(to)
}

// verify waits until the copy is what the table is.
func (a *aside) verify(ctx context.Context) error {
	began := time.Now()
	truth, err := a.r.rows(ctx, asideName, fmt.Sprintf(asideTable, "item"))
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, a.r.setupTime())
	defer cancel()
	for {
		have, err := a.r.rows(waiting, asideCopy, fmt.Sprintf(asideTable, "aside_public_item"))
		differs := differences(truth, have)
		if err == nil && len(differs) == 0 {
			a.r.journal.Say("verified", "the copy beside the storm has its %d rows, after %v", len(truth), time.Since(began).Round(time.Millisecond))
			return nil
		}
		if !sleep(waiting, 100*time.Millisecond) {
			if ctx.Err() == nil {
				a.r.journal.Found(chaos.AnomalyDiffers, "the copy beside the storm differs in %d rows: %q (%v)", len(differs), differs[:min(len(differs), 3)], err)
			}
			return ctx.Err()
		}
	}
}
