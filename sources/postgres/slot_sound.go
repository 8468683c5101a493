package postgres

import (
	"context"
	"log/slog"
)

// A server that makes a slot lets it begin in three steps, between which it waits for the
// transactions that run. What a transaction changes in the catalogue between the first
// and the second step it remembers while it makes the slot, but not when the slot is read
// from later, since reading begins with the first step again (snapbuild.c: until the
// second one records of the catalogue are passed over; only for an exported view every
// commit counts). If other transactions run at the third step, rows that come later
// are decoded with the catalogue as it was: with names of columns that are not true any
// more or, of a table that was emptied, written anew or made, not at all ("could not map
// filenode"), for as long as the slot is there.

// slotTries is how many slots are made when tables are altered meanwhile.
const slotTries = 8

// soundSlot has make make a slot, and another one when the catalogue was changed
// meanwhile in a way that matters. After some it is content with what there is.
func (s *settings) soundSlot(ctx context.Context, d *db, name string, log *slog.Logger, make func() (newSlot, error)) (newSlot, error) {
	for n := 1; ; n++ {
		before, err := d.nextXid(ctx)
		if err != nil {
			return newSlot{}, err
		}
		slot, err := make()
		if err != nil {
			return slot, err
		}
		changed, err := d.changedSince(ctx, before, s.publication)
		if err != nil || changed == "" {
			return slot, err
		}
		if n == slotTries {
			log.Warn("Whenever the slot is made tables are altered, emptied or made. It is used all the same. If the server cannot decode what follows, there will be the error pg.decoding; hold such changes back while the connector starts for the first time.",
				"slot", name, "changed", changed)
			return slot, nil
		}
		log.Info("A table was altered, emptied or made while the slot was made, which the server would forget. Another slot is made.", "slot", name, "changed", changed)
		if err := d.dropSlot(ctx, name); err != nil {
			return newSlot{}, err
		}
	}
}

// nextXid returns the number that the next transaction gets, without its epoch.
func (d *db) nextXid(ctx context.Context) (string, error) {
	r, err := d.row(ctx, "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::xid::text")
	if err != nil || r == nil {
		return "", explain(err, "asking for the number of the next transaction")
	}
	return string(r[0]), nil
}

// changedSince names something of which a transaction with this number or a later one
// has changed what decoding needs to know of it, "" when there is nothing: a table, whose
// rows the server must be able to tell from those of others even when nobody wants them, or
// the publication.
func (d *db) changedSince(ctx context.Context, xid, publication string) (string, error) {
	r, err := d.row(ctx, `SELECT coalesce(pg_catalog.min(name), '') FROM (
	SELECT c.oid::pg_catalog.regclass::text AS name FROM pg_catalog.pg_class c
	WHERE c.relpersistence = 'p' AND c.relkind IN ('r', 'p', 'm', 't') AND pg_catalog.age(c.xmin) <= pg_catalog.age($1::xid)
	UNION ALL SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
	WHERE c.relpersistence = 'p' AND c.relkind IN ('r', 'p') AND pg_catalog.age(a.xmin) <= pg_catalog.age($1::xid)
	UNION ALL SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
	WHERE c.relpersistence = 'p' AND c.relkind IN ('r', 'p') AND pg_catalog.age(i.xmin) <= pg_catalog.age($1::xid)
	UNION ALL SELECT p.pubname::text FROM pg_catalog.pg_publication p
	WHERE p.pubname = $2 AND (pg_catalog.age(p.xmin) <= pg_catalog.age($1::xid)
		OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid AND pg_catalog.age(r.xmin) <= pg_catalog.age($1::xid)))
) t`, xid, publication)
	if err != nil || r == nil {
		return "", explain(err, "asking whether tables were altered")
	}
	return string(r[0]), nil
}
