package main

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/internal/devstack"
)

// database is a private server with the table of the measurements: ten columns of
// common types, about 220 bytes a row as text.
type database struct {
	pg   *devstack.Postgres
	conn *pgx.Conn
	url  *url.URL
}

const loadTable = `
CREATE TABLE load (
  id bigint PRIMARY KEY, customer int NOT NULL, amount numeric(12,2) NOT NULL, quantity int NOT NULL, paid boolean NOT NULL,
  created timestamp(6) NOT NULL, name varchar(40) NOT NULL, email text NOT NULL, city text, note text);
CREATE PUBLICATION bench FOR TABLE load;
CREATE PROCEDURE fill(rows bigint, size bigint) LANGUAGE plpgsql AS $$
DECLARE at bigint := 1;
BEGIN
  WHILE at <= rows LOOP
    INSERT INTO load SELECT g, g % 5000, (g % 100000) / 100.0, g % 7, g % 3 = 0, timestamp '2026-01-01' + g * interval '1 s',
      'customer ' || g, 'customer' || g || '@example.com', CASE WHEN g % 5 = 0 THEN NULL ELSE 'city ' || g % 100 END, repeat('n', 90)
      FROM generate_series(at, least(at + size - 1, rows)) g;
    COMMIT;
    at := at + size;
  END LOOP;
END $$;`

func startDatabase(ctx context.Context) (*database, error) {
	pg, err := devstack.StartPostgres(ctx, devstack.PostgresOptions{Settings: map[string]string{
		"max_wal_size": "16GB", "shared_buffers": "1GB", "logical_decoding_work_mem": "256MB", "synchronous_commit": "off",
		"max_replication_slots": "40", "autovacuum": "off",
	}})
	if err != nil {
		return nil, err
	}
	d := &database{pg: pg}
	if d.conn, err = pgx.Connect(ctx, pg.DSN("postgres")); err == nil {
		_, err = d.conn.Exec(ctx, loadTable)
	}
	if err == nil {
		d.url, err = url.Parse(pg.DSN("postgres"))
	}
	if err != nil {
		d.stop()
		return nil, err
	}
	return d, nil
}

func (d *database) stop() {
	if d.conn != nil {
		_ = d.conn.Close(context.Background())
	}
	_ = d.pg.Stop(context.Background())
}

// exec runs statements one after another.
func (d *database) exec(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if _, err := d.conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// fill writes rows in transactions of the given size behind the slot "origin", and
// returns where the log ends then.
func (d *database) fill(ctx context.Context, rows, size int) (end string, err error) {
	err = d.exec(ctx, "TRUNCATE load", "SELECT pg_create_logical_replication_slot('origin', 'pgoutput')",
		fmt.Sprintf("CALL fill(%d, %d)", rows, size), "CHECKPOINT")
	if err == nil {
		err = d.conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&end)
	}
	return end, err
}

// copySlot makes a slot that stands where "origin" does, so that each round reads the
// same WAL.
func (d *database) copySlot(ctx context.Context, name string) error {
	return d.exec(ctx, fmt.Sprintf("SELECT pg_copy_logical_replication_slot('origin', '%s')", name))
}

func (d *database) dropSlot(ctx context.Context, name string) error {
	return d.exec(ctx, fmt.Sprintf("SELECT pg_drop_replication_slot('%s')", name))
}

// recvlogical reads a slot to the given position with PostgreSQL's own client and
// returns how long that took and the processor time of its walsender.
func (d *database) recvlogical(ctx context.Context, slot, end string) (time.Duration, time.Duration, error) {
	if err := d.copySlot(ctx, slot); err != nil {
		return 0, 0, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(d.pg.BinDir(), "pg_recvlogical"), "-d", d.url.String(), "--slot", slot, "--start",
		"-o", "proto_version=1", "-o", "publication_names=bench", "--endpos", end, "--no-loop", "-f", "/dev/null")
	sender := d.watchSender(ctx, slot)
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("pg_recvlogical: %w: %s", err, out)
	}
	took := time.Since(began)
	return took, sender.end(), d.dropSlot(ctx, slot)
}

// sender follows the processor time of a slot's walsender, until it is gone.
type sender struct {
	stop context.CancelFunc
	cpu  chan time.Duration
}

func (d *database) watchSender(ctx context.Context, slot string) *sender {
	ctx, stop := context.WithCancel(ctx)
	s := &sender{stop: stop, cpu: make(chan time.Duration, 1)}
	go func() {
		var used time.Duration
		defer func() { s.cpu <- used }()
		conn, err := pgx.Connect(ctx, d.url.String())
		if err != nil {
			return
		}
		defer conn.Close(context.Background())
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		var pid int
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if pid == 0 {
				_ = conn.QueryRow(ctx, "SELECT coalesce(active_pid, 0) FROM pg_replication_slots WHERE slot_name = $1", slot).Scan(&pid)
				continue
			}
			used = max(used, processorTime(pid))
		}
	}()
	return s
}

// end returns the time used so far.
func (s *sender) end() time.Duration {
	s.stop()
	return <-s.cpu
}

// connector is the configuration of a connector that reads the table.
func (d *database) connector(name string, more ...string) map[string]string {
	config := map[string]string{
		"connector.class":   "io.debezium.connector.postgresql.PostgresConnector",
		"database.hostname": d.url.Hostname(), "database.port": d.url.Port(), "database.user": d.url.User.Username(), "database.dbname": "postgres",
		"topic.prefix": name, "slot.name": name, "plugin.name": "pgoutput", "publication.name": "bench",
		"publication.autocreate.mode": "disabled", "table.include.list": "public.load",
	}
	for i := 0; i < len(more); i += 2 {
		config[more[i]] = more[i+1]
	}
	return config
}
