package devstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// startOver are the folders whose contents belong to the running server alone; the
// copy gets them empty. What the log holds comes by replication.
var startOver = map[string]bool{
	"pg_wal": true, "pg_replslot": true, "pg_dynshmem": true, "pg_notify": true, "pg_serial": true,
	"pg_snapshots": true, "pg_stat_tmp": true, "pg_subtrans": true,
}

// Standby starts a hot standby of the server from a copy of its files, taken while
// it runs, and returns when the standby answers queries. The standby streams through
// a physical slot of the primary named after its own port, and asks for feedback, so
// that it can serve logical slots; dbname in its connection string makes slot
// synchronisation possible (PostgreSQL 17). opts are as for [StartPostgres]; the
// programs are the primary's. Cancelling ctx gives the copy up.
func (p *Postgres) Standby(ctx context.Context, opts PostgresOptions) (*Postgres, error) {
	opts.BinDir, opts.User, opts.Password, opts.NoSync = p.bin.dir, p.opts.User, p.opts.Password, p.opts.NoSync
	s := &Postgres{opts: opts, bin: p.bin, as: p.as, port: opts.Port}
	if err := s.prepareDir(); err != nil {
		return nil, err
	}
	if err := s.beginFrom(ctx, p); err != nil {
		s.discard()
		return nil, err
	}
	return s, nil
}

// beginFrom copies the primary and starts the copy.
func (p *Postgres) beginFrom(ctx context.Context, primary *Postgres) (err error) {
	if p.reaper, err = startReaper(p.dir, p.temporary); err != nil {
		return err
	}
	slot := "standby_" + strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := primary.backup(ctx, p, slot); err != nil {
		return fmt.Errorf("copying the primary: %w", err)
	}
	settings := map[string]string{
		"primary_conninfo":  fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres application_name=%s", primary.Port(), primary.opts.User, slot),
		"primary_slot_name": slot, "hot_standby": "on", "hot_standby_feedback": "on",
	}
	if primary.opts.Password != "" {
		settings["primary_conninfo"] += " password=" + primary.opts.Password
	}
	for name, value := range primary.opts.Settings {
		if _, own := settings[name]; !own { // A primary that was a standby has the same settings, for its own one.
			settings[name] = value
		}
	}
	for name, value := range p.opts.Settings {
		settings[name] = value
	}
	p.opts.Settings = settings
	if err := p.configure(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.start(ctx)
}

// backup copies the files of the running server into to, between the two functions
// that make such a copy whole: https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-LOWLEVEL-BASE-BACKUP.
func (p *Postgres) backup(ctx context.Context, to *Postgres, slot string) error {
	conn, err := pgx.Connect(ctx, p.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "SELECT pg_create_physical_replication_slot($1, true)", slot); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_backup_start('standby', true)"); err != nil {
		return err
	}
	if err := copyCluster(p.dataDir(), to); err != nil {
		return err
	}
	var label, spaces string
	if err := conn.QueryRow(ctx, "SELECT labelfile, spcmapfile FROM pg_backup_stop(false)").Scan(&label, &spaces); err != nil {
		return err
	}
	for name, text := range map[string]string{"backup_label": label, "standby.signal": ""} {
		file := filepath.Join(to.dataDir(), name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		if err := to.as.own(file); err != nil {
			return err
		}
	}
	return nil
}

// copyCluster copies the files of a cluster. One that goes away meanwhile is no
// loss: the log tells of it.
func copyCluster(from string, to *Postgres) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		top, _, below := strings.Cut(filepath.ToSlash(rel), "/")
		target := filepath.Join(to.dataDir(), rel)
		switch {
		case startOver[top] && below && rel != filepath.Join("pg_wal", "archive_status"):
			return nil
		case d.IsDir():
			if err := os.MkdirAll(target, 0o700); err != nil {
				return err
			}
		case top == "postmaster.pid" || top == "postmaster.opts" || !d.Type().IsRegular():
			return nil
		default:
			if err := copyFile(path, target); err != nil {
				return err
			}
		}
		if _, err := os.Lstat(target); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return to.as.own(target)
	})
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}

// Promote makes a standby a primary and returns when it takes writes.
func (p *Postgres) Promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.DSN("postgres"))
	if err != nil {
		return fmt.Errorf("promoting a standby: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var done bool
	if err := conn.QueryRow(ctx, "SELECT pg_promote(true, 60)").Scan(&done); err != nil || !done {
		return fmt.Errorf("promoting a standby (done: %v): %w", done, err)
	}
	return nil
}

// NewTestStandby is [Postgres.Standby] for one test, which may promote it; it is
// stopped at the end of the test.
func NewTestStandby(tb TB, primary *Postgres, opts PostgresOptions) *Postgres {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	pg, err := primary.Standby(ctx, opts)
	if err != nil {
		tb.Fatalf("starting a standby for this test: %v", err)
	}
	tb.Cleanup(func() {
		if err := pg.Stop(context.Background()); err != nil {
			tb.Fatalf("stopping the standby: %v", err)
		}
	})
	return pg
}
