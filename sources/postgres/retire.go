package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// Retire tells what a connector that is deleted leaves on the server, or removes it: the
// slot, and the publication when a connector made it and no other slot of the database
// may need it. It implements connect.OffsetAlterer.
func (c *connector) Retire(ctx context.Context, config connect.Config, drop bool) (string, error) {
	set, err := newSettings(config)
	if err != nil {
		return "", err
	}
	set.over(c.dial)
	ctx, cancel := context.WithTimeout(ctx, remedyTime)
	defer cancel()
	d, err := set.open(ctx, application(config["name"])+" (delete)")
	if err != nil {
		if drop {
			return "", err
		}
		return "The server cannot be asked whether the slot " + set.slot + " is left: " + connect.AsError(err).Error(), nil
	}
	defer d.close(context.WithoutCancel(ctx))
	r := &retirement{set: set, db: d}
	if drop {
		err = r.drop(ctx)
	} else {
		err = r.look(ctx)
	}
	return strings.Join(r.told, " "), err
}

// retirement is what becomes of what a connector keeps on the server.
type retirement struct {
	set  *settings
	db   *db
	told []string // Sentences.
}

func (r *retirement) tell(format string, args ...any) {
	r.told = append(r.told, fmt.Sprintf(format, args...))
}

// look tells of a slot that nobody reads from any more.
func (r *retirement) look(ctx context.Context) error {
	info, err := r.db.slot(ctx, r.set.slot)
	if err != nil || info == nil || r.set.checkSlotKind(info) != nil {
		return err
	}
	report, err := r.db.slotReport(ctx, r.set.slot)
	if err != nil || report == nil {
		return err
	}
	r.tell("The slot %s is left on the server, which keeps its log for it, %d bytes by now, until the slot is read again or dropped: a connector of the same name and configuration goes on from there.", r.set.slot, report.Retained)
	r.tell("If none is to come: SELECT pg_drop_replication_slot(%s).", quoteLiteral(r.set.slot))
	return nil
}

// drop removes the slot and what belongs to it.
func (r *retirement) drop(ctx context.Context) error {
	info, err := r.set.awaitFreeSlot(ctx, r.db)
	switch {
	case err != nil && connect.AsError(err).Code == "pg.slot.in_use":
		return err
	case err != nil && info != nil:
		r.tell("The slot %s is not this connector's and was left: %v.", r.set.slot, connect.AsError(err).Message)
	case err != nil:
		return err
	case info == nil:
		r.tell("There is no slot %s.", r.set.slot)
	default:
		if err := r.dropSlot(ctx); err != nil {
			return err
		}
	}
	if err := r.dropPublication(ctx); err != nil {
		return err
	}
	if r.set.ddlPrefix != "" {
		r.tell("The event triggers of ddl.capture serve all connectors of the database and were left; if no other has them: DROP SCHEMA %s CASCADE.", quoteIdent(r.set.ddlSchema))
	}
	return nil
}

func (r *retirement) dropSlot(ctx context.Context) error {
	if err := r.db.dropSlot(ctx, r.set.slot); err != nil {
		return err
	}
	// One that somebody has begun to read from in this moment is passed over.
	info, err := r.db.slot(ctx, r.set.slot)
	if err != nil {
		return err
	}
	if info != nil {
		return slotInUse(r.set.slot, info.pid)
	}
	r.tell("The slot %s was dropped.", r.set.slot)
	return nil
}

// dropPublication removes the publication unless others may read by it: the log before
// its end could not be decoded for them any more.
func (r *retirement) dropPublication(ctx context.Context) error {
	name := quoteIdent(r.set.publication)
	pub, err := r.db.publication(ctx, r.set.publication)
	if err != nil || pub == nil {
		return err
	}
	others, err := r.db.row(ctx, "SELECT count(*), pg_catalog.min(slot_name::text) FROM pg_catalog.pg_replication_slots WHERE plugin = 'pgoutput' AND database = pg_catalog.current_database() AND slot_name <> $1", r.set.slot)
	if err != nil || others == nil {
		return explain(err, "asking for the slots of others")
	}
	statement := "DROP PUBLICATION IF EXISTS " + name
	switch {
	case !pub.ours:
		r.tell("The publication %s was not made by a connector and was left.", r.set.publication)
		return nil
	case number(others[0]) > 0:
		r.tell("The publication %s was left, because the slot %s may be read by it; if not: %s.", r.set.publication, others[1], statement)
		return nil
	case pub.standby:
		r.tell("The publication %s was left, because this is a standby; on the primary: %s.", r.set.publication, statement)
		return nil
	}
	if err := r.db.exec(ctx, statement); err != nil {
		const denied = "42501"
		if sqlState(err) != denied {
			return explain(err, "dropping the publication "+r.set.publication)
		}
		r.tell("The publication %s was left, because the user may not drop it: %s.", r.set.publication, statement)
		return nil
	}
	r.tell("The publication %s was dropped.", r.set.publication)
	return nil
}

// awaitFreeSlot returns the slot, nil when there is none, once nobody reads from it: the
// server may take a while to notice that a task which was stopped does not any more. It
// gives up while ctx leaves time for an answer. A slot of somebody else's comes with an
// error.
func (s *settings) awaitFreeSlot(ctx context.Context, d *db) (*slotInfo, error) {
	const answering = 25 * time.Second
	until, bounded := ctx.Deadline()
	for until = until.Add(-answering); ; {
		info, err := d.slot(ctx, s.slot)
		if err != nil || info == nil {
			return nil, err
		}
		if err := s.checkSlotKind(info); err != nil {
			return info, err
		}
		if !info.active {
			return info, nil
		}
		if bounded && time.Now().After(until) || !pause(ctx, 50*time.Millisecond) {
			return info, slotInUse(s.slot, info.pid)
		}
	}
}
