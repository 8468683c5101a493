package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/tidemill/tidemill/internal/devstack"
)

// Connect opens a connection to a server.
type Connect func(context.Context) (*pgx.Conn, error)

// Beside reads the log of the database beside the worker, through a slot of its own.
type Beside interface {
	// Drain reads what the log has by now, so that the server need not keep it.
	Drain(context.Context) error
	// Begin has it read a server that takes the place of the one before, and that nobody
	// has written to yet.
	Begin(ctx context.Context, now Connect) error
	// Leave reads what the former server still has, and forgets what that wrote after the
	// position at which the new one went on by itself.
	Leave(ctx context.Context, former Connect, at uint64) error
}

// promote has a standby take the server's place, which is gone for good. It may have been
// away for a while: then it lacks what was committed last.
func (w *World) promote(ctx context.Context, f Fault) error {
	ctx, cancel := context.WithTimeout(ctx, loudTime)
	defer cancel()
	standby, err := w.standby(ctx)
	if err != nil {
		return err
	}
	w.server.Lock()
	defer w.server.Unlock()
	late := f.Pick%2 == 0
	if late {
		standby.Crash(syscall.SIGQUIT)
		err = w.touch(ctx)
	}
	pause(ctx, f.Hold)
	former := w.pg.Load()
	former.Crash([]syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL}[f.Pick/2%2])
	w.keepLog()
	if late {
		err = errors.Join(err, standby.Restart(ctx))
	}
	if err == nil {
		err = standby.Promote(ctx)
	}
	if err != nil {
		return errors.Join(err, standby.Stop(ctx), former.Restart(ctx))
	}
	return w.follow(ctx, former, standby)
}

// touch commits a change that a standby which is away does not have.
func (w *World) touch(ctx context.Context) error {
	return w.with(ctx, w.o.Captured.Database, func(conn *pgx.Conn) error { return run(ctx, conn, w.o.Captured.Touch) })
}

// standby makes a standby of the server that has everything; from PostgreSQL 17 on also
// the slot of the connector, which then does not get ahead of the standby.
func (w *World) standby(ctx context.Context) (_ *devstack.Postgres, err error) {
	primary := w.pg.Load()
	settings := map[string]string{}
	copies := copiesSlots(primary)
	if copies {
		settings["sync_replication_slots"] = "on"
	}
	w.promotions++
	standby, err := primary.Standby(ctx, devstack.PostgresOptions{Dir: w.file(fmt.Sprintf("postgres-%d", w.promotions+1)), Settings: settings})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, standby.Stop(context.WithoutCancel(ctx)))
		}
	}()
	var end string
	err = w.with(ctx, "postgres", func(conn *pgx.Conn) error {
		if err := conn.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&end); err != nil || !copies {
			return err
		}
		var physical string
		if err := conn.QueryRow(ctx, "SELECT max(slot_name::text) FROM pg_replication_slots WHERE slot_type = 'physical'").Scan(&physical); err != nil {
			return err
		}
		return run(ctx, conn, "ALTER SYSTEM SET synchronized_standby_slots = '"+physical+"'", "SELECT pg_reload_conf()")
	})
	if err != nil {
		return nil, err
	}
	follows := "SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn"
	if copies {
		follows += " AND EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '" + w.o.Captured.Slot + "' AND synced AND NOT temporary)"
	}
	return standby, w.awaitStandby(ctx, standby, follows, end)
}

// awaitStandby waits until a query says that the standby has what it is to have.
func (w *World) awaitStandby(ctx context.Context, standby *devstack.Postgres, follows, end string) error {
	conn, err := pgx.Connect(ctx, standby.DSN("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		var ok bool
		if err := conn.QueryRow(ctx, follows, end).Scan(&ok); err != nil || ok {
			return err
		}
		if copiesSlots(standby) {
			// A copy of a slot is made at such a record, and the slot has to move on to it.
			err := w.with(ctx, "postgres", func(conn *pgx.Conn) error { return run(ctx, conn, "SELECT pg_log_standby_snapshot()") })
			if err != nil {
				return err
			}
		}
		if !pause(ctx, 50*ms) {
			return fmt.Errorf("waiting for the standby: %w", context.Cause(ctx))
		}
	}
}

// copiesSlots tells whether a server can have the slots of its primary, which it can from
// PostgreSQL 17 on.
func copiesSlots(pg *devstack.Postgres) bool {
	const first = 17
	major, _, _ := strings.Cut(pg.Version(), ".")
	n, err := strconv.Atoi(major)
	return err == nil && n >= first
}

// CopiesSlots tells whether a standby has the connector's slot when that is asked for.
func (w *World) CopiesSlots() bool { return copiesSlots(w.pg.Load()) }

// follow has everybody come to the new server, once it is known who is to read its log
// beside the worker. The former one is started once more, for that reader alone.
func (w *World) follow(ctx context.Context, former, now *devstack.Postgres) error {
	at, err := forkOf(ctx, now)
	if err != nil {
		return err
	}
	reach := func(pg *devstack.Postgres) Connect {
		return func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, pg.DSN(w.o.Captured.Database)) }
	}
	if w.o.Beside != nil {
		err = w.o.Beside.Begin(ctx, reach(now))
	}
	w.fork.Store(at)
	w.pg.Store(now)
	w.toPG.SetTarget(net.JoinHostPort("127.0.0.1", strconv.Itoa(now.Port())))
	w.toPG.Cut()
	w.o.Journal.Say("promoted", "the standby goes on by itself from %s", lsnText(at))
	if w.o.Beside != nil && err == nil {
		if err = former.Restart(ctx); err == nil {
			err = w.o.Beside.Leave(ctx, reach(former), at)
		}
	}
	err = errors.Join(err, former.Stop(ctx))
	return errors.Join(err, os.RemoveAll(filepath.Join(former.Dir(), "data")))
}

// Fork returns the position at which the server that was promoted last went on by itself,
// 0 when none was.
func (w *World) Fork() uint64 { return w.fork.Load() }

// forkOf reads from the history of a server where it left the timeline of its primary:
// https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES.
func forkOf(ctx context.Context, pg *devstack.Postgres) (uint64, error) {
	conn, err := pgx.Connect(ctx, pg.DSN("postgres"))
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var history string
	if err := conn.QueryRow(ctx, "SELECT pg_read_file('pg_wal/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || '.history')").Scan(&history); err != nil {
		return 0, fmt.Errorf("reading the history of the timelines: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(history), "\n")
	var timeline, high, low uint32
	if _, err := fmt.Sscanf(lines[len(lines)-1], "%d %X/%X", &timeline, &high, &low); err != nil {
		return 0, fmt.Errorf("the history of the timelines %q: %w", history, err)
	}
	return uint64(high)<<32 | uint64(low), nil
}
