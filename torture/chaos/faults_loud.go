package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Captured names what the connector reads, for faults of these things themselves.
type Captured struct {
	Database, Slot, Publication string
	// CreatePublication is the statement that makes the publication. Touch is one that
	// changes a table in it, in a transaction of its own.
	CreatePublication, Touch string
}

// loudTime bounds a fault that loses data; a standby has to be made in it.
const loudTime = 3 * time.Minute

// loudFaults are those that lose data by their nature: nobody can read on as if nothing
// had been. The connector must fail, say so and name what mends it, and somebody has to
// ask for that.
func loudFaults() []class {
	return []class{
		{classSlotLost, 2, 0, 500 * ms, (*World).loseSlot},
		{classPublication, 2, 50 * ms, 700 * ms, (*World).dropPublication},
		{classPromote, 2, 0, 500 * ms, (*World).promote},
	}
}

// The classes of loud faults.
const (
	classSlotLost    = "slot.lost"
	classPublication = "pub.drop"
	classPromote     = "pg.promote"
)

// LoudClasses lists the kinds of faults that lose data by their nature.
func LoudClasses() []string {
	var names []string
	for _, c := range loudFaults() {
		names = append(names, c.name)
	}
	return names
}

// Loud tells whether the fault loses data by its nature.
func (f Fault) Loud() bool { return slices.Contains(LoudClasses(), f.Class) }

// Codes are those with which a connector may tell of the fault, none for one that it
// has to live with.
func (f Fault) Codes() []string {
	switch f.Class {
	case classSlotLost:
		return []string{"pg.slot.lost", "pg.slot.missing"}
	case classPublication:
		return []string{"pg.publication.missing_at_lsn", "pg.publication.dropped", "pg.publication.missing"}
	case classPromote:
		return []string{"pg.slot.missing", "pg.history.branched"}
	}
	return nil
}

// with runs something on a connection of its own.
func (w *World) with(ctx context.Context, database string, do func(*pgx.Conn) error) error {
	conn, err := w.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return do(conn)
}

// run executes statements one after the other, each in a transaction of its own.
func run(ctx context.Context, conn *pgx.Conn, statements ...string) error {
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// loseSlot takes the slot away while the worker is down: the server gives it up, because
// more log was written than slots may keep, or somebody drops it.
func (w *World) loseSlot(ctx context.Context, f Fault) error {
	ctx, cancel := context.WithTimeout(ctx, loudTime)
	defer cancel()
	if err := w.endWorkers(ctx, syscall.SIGKILL); err != nil {
		return err
	}
	defer w.releaseWorkers()
	pause(ctx, f.Hold)
	lose := w.dropSlot
	if f.Pick%2 == 0 {
		lose = w.outrunSlot
	}
	return w.with(ctx, w.o.Captured.Database, func(conn *pgx.Conn) error {
		if err := w.freeSlot(ctx, conn); err != nil {
			return err
		}
		// Something is missing for certain.
		return errors.Join(run(ctx, conn, w.o.Captured.Touch), lose(ctx, conn))
	})
}

// freeSlot returns when no process of the server holds the slot.
func (w *World) freeSlot(ctx context.Context, conn *pgx.Conn) error {
	for {
		var active bool
		err := conn.QueryRow(ctx, "SELECT coalesce(bool_or(pg_terminate_backend(active_pid)), false) FROM pg_replication_slots WHERE slot_name = $1 AND active", w.o.Captured.Slot).Scan(&active)
		if err != nil || !active {
			return err
		}
		if !pause(ctx, 20*ms) {
			return fmt.Errorf("waiting for the slot to be free: %w", context.Cause(ctx))
		}
	}
}

func (w *World) dropSlot(ctx context.Context, conn *pgx.Conn) error {
	w.o.Journal.Say("slot", "%s is dropped", w.o.Captured.Slot)
	_, err := conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", w.o.Captured.Slot)
	return err
}

// outrunSlot has the server give the slot up, by more log than slots may keep. Whoever
// reads the log beside the worker keeps up with that.
func (w *World) outrunSlot(ctx context.Context, conn *pgx.Conn) (err error) {
	const most, near = "64MB", 16 << 20
	if err := run(ctx, conn, "ALTER SYSTEM SET max_slot_wal_keep_size = '"+most+"'", "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, run(context.WithoutCancel(ctx), conn, "ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()"))
	}()
	w.o.Journal.Say("slot", "%s is outrun", w.o.Captured.Slot)
	for {
		if w.o.Beside != nil {
			if err := w.o.Beside.Drain(ctx); err != nil {
				return err
			}
		}
		var lost bool
		var behind int64
		err := conn.QueryRow(ctx, `SELECT bool_or(slot_name = $1 AND wal_status = 'lost'), coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) FILTER (WHERE slot_name <> $1), 0)::bigint
			FROM pg_replication_slots`, w.o.Captured.Slot).Scan(&lost, &behind)
		if err != nil || lost {
			return err
		}
		statements := []string{"CHECKPOINT"}
		if behind < near {
			statements = []string{"SELECT pg_logical_emit_message(false, 'ballast', '')", "SELECT pg_switch_wal()", "CHECKPOINT"}
		}
		if err := run(ctx, conn, statements...); err != nil {
			return err
		}
	}
}

// dropPublication drops the publication while transactions commit, and makes it again
// after a while, or leaves that to whoever is told that it is missing.
func (w *World) dropPublication(ctx context.Context, f Fault) error {
	ctx, cancel := context.WithTimeout(ctx, loudTime)
	defer cancel()
	return w.with(ctx, w.o.Captured.Database, func(conn *pgx.Conn) error {
		if err := run(ctx, conn, "DROP PUBLICATION "+w.o.Captured.Publication, w.o.Captured.Touch); err != nil {
			return err
		}
		pause(ctx, f.Hold)
		if f.Pick%2 == 0 {
			return run(ctx, conn, w.o.Captured.CreatePublication)
		}
		return nil
	})
}

// MendPublication makes the publication if there is none.
func (w *World) MendPublication(ctx context.Context) error {
	return w.with(ctx, w.o.Captured.Database, func(conn *pgx.Conn) error {
		var there bool
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)", w.o.Captured.Publication).Scan(&there)
		if err != nil || there {
			return err
		}
		return run(ctx, conn, w.o.Captured.CreatePublication)
	})
}
