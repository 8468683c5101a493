package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/internal/devstack"
)

// database is a private server.
type database struct {
	pg   *devstack.Postgres
	conn *pgx.Conn
	url  *url.URL
	pid  int // Of the parent of all its processes.
}

// serverSettings are those of the server that differ from its defaults; the report
// prints them.
var serverSettings = map[string]string{
	"max_wal_size": "16GB", "shared_buffers": "1GB", "logical_decoding_work_mem": "256MB", "synchronous_commit": "off",
	"max_replication_slots": "20", "autovacuum": "off", "track_commit_timestamp": "on",
}

func startDatabase(ctx context.Context, o options) (*database, error) {
	pg, err := devstack.StartPostgres(ctx, devstack.PostgresOptions{Settings: serverSettings})
	if err != nil {
		return nil, err
	}
	o.run.Machine.Postgres = pg.Version()
	d := &database{pg: pg}
	if d.conn, err = pgx.Connect(ctx, pg.DSN("postgres")); err == nil {
		_, err = d.conn.Exec(ctx, loadTable)
	}
	if err == nil {
		d.url, err = url.Parse(pg.DSN("postgres"))
	}
	if err == nil {
		d.pid, err = parentPID(pg.Dir())
	}
	if err != nil {
		d.stop()
		return nil, err
	}
	return d, nil
}

// parentPID returns the first line of the server's lock file.
func parentPID(dir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(line)
}

func (d *database) stop() {
	if d.conn != nil {
		_ = d.conn.Close(context.Background())
	}
	_ = d.pg.Stop(context.Background())
}

// cpu returns the processor time that all of the server's processes have used.
func (d *database) cpu() time.Duration { return familyTime(d.pid) }

// exec runs statements one after another.
func (d *database) exec(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if _, err := d.conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// write puts a load's changes behind the slot "origin", and returns where the log ends
// then.
func (d *database) write(ctx context.Context, l load) (end string, err error) {
	if err := d.exec(ctx, l.before...); err != nil {
		return "", err
	}
	if err := d.exec(ctx, "CHECKPOINT", "SELECT pg_create_logical_replication_slot('origin', 'pgoutput')"); err != nil {
		return "", err
	}
	if l.tool != nil {
		_, err = d.tool(ctx, l.tool[0], append(l.tool[1:], d.url.String())...)
	} else {
		err = d.exec(ctx, l.write...)
	}
	if err == nil {
		err = d.exec(ctx, "CHECKPOINT")
	}
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

// dropSlot drops a slot as soon as nobody reads from it any more, if it is there.
func (d *database) dropSlot(ctx context.Context, name string) error {
	for {
		if err := d.exec(ctx, fmt.Sprintf("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '%s' AND NOT active", name)); err != nil {
			return err
		}
		var there bool
		if err := d.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)", name).Scan(&there); err != nil || !there {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// followed waits until somebody reads from a slot.
func (e *engine) followed(ctx context.Context, d *database, slot string) error {
	for {
		var active bool
		err := d.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active)", slot).Scan(&active)
		if active || err != nil {
			return err
		}
		if err := e.process.pause(ctx); err != nil {
			return err
		}
		if err := e.healthy(ctx, slot); err != nil {
			return err
		}
	}
}

// connector is the configuration of a connector that reads tables.
func (d *database) connector(name, tables string, more ...string) map[string]string {
	config := map[string]string{
		"connector.class":   "io.debezium.connector.postgresql.PostgresConnector",
		"database.hostname": d.url.Hostname(), "database.port": d.url.Port(), "database.user": d.url.User.Username(), "database.password": "unused",
		"database.dbname": "postgres", "topic.prefix": name, "slot.name": name, "plugin.name": "pgoutput", "publication.name": "bench",
		"publication.autocreate.mode": "disabled", "table.include.list": tables,
	}
	for i := 0; i < len(more); i += 2 {
		config[more[i]] = more[i+1]
	}
	return config
}
