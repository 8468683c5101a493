package main

import "context"

// giantBound is the memory, in MB, that a transaction of any size should fit into.
const giantBound = 256

// benchGiant streams one transaction that is larger than any memory should have to
// hold.
func benchGiant(ctx context.Context, o options) error {
	b, err := newBed(ctx, o)
	if err != nil {
		return err
	}
	defer b.stop()
	// As the server comes: it then writes a large transaction to disk, or streams it.
	if err := b.exec(ctx, "ALTER SYSTEM SET logical_decoding_work_mem = '64MB'", "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	l := inserts(o.giantRows, o.giantRows)
	if _, err := b.database.write(ctx, l); err != nil {
		return err
	}
	r, _, err := b.engine.follow(ctx, b.database, l)
	if err != nil {
		return err
	}
	rs := rounds{n: l.changes, ours: []round{r}}
	f := rs.figure("source.stream.giant", "changes/s", "")
	f.What = "one transaction of " + plural(o.giantRows, "row")
	_, f.RSS = b.engine.memory()
	o.report(f.within(f.RSS, "MB", false, giantBound))
	return b.dropSlot(ctx, "origin")
}
