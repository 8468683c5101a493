package main

import (
	"context"
	"fmt"
	"strings"
)

// benchSnapshot alternates psql's COPY of a table on one connection and a snapshot of
// it over two, records in Kafka.
func benchSnapshot(ctx context.Context, o options) error {
	b, err := newBed(ctx, o)
	if err != nil {
		return err
	}
	defer b.stop()
	l := load{name: "snapshot", what: "a first copy of rows of about 220 bytes over two connections", tables: []string{"load"}, changes: o.rows}
	if err := b.exec(ctx, append(fill(o.rows), "VACUUM ANALYZE load", "CHECKPOINT")...); err != nil {
		return err
	}
	rs := rounds{n: l.changes, alsoName: producerName}
	for range o.rounds {
		reference, err := b.copyTable(ctx, "load")
		if err != nil {
			return err
		}
		ours, found, err := b.engine.snapshot(ctx, b.database, l, "snapshot.max.threads", "2")
		if err != nil {
			return err
		}
		bare, err := b.engine.stack.produce(ctx, l.changes, found)
		if err != nil {
			return err
		}
		rs.limits, rs.ours, rs.also = append(rs.limits, reference), append(rs.ours, ours), append(rs.also, bare)
	}
	f := rs.figure("source.snapshot", "rows/s", copyName)
	f.What = l.what
	_, f.RSS = b.engine.memory()
	o.report(f.held(true, 0.5))
	return nil
}

// snapshot copies tables for the first time and nothing else.
func (e *engine) snapshot(ctx context.Context, d *database, l load, more ...string) (round, contents, error) {
	name := e.stack.unique("snapshot")
	r, found, err := e.timed(ctx, d, l, name, append(more, "snapshot.mode", "initial_only")...)
	if err != nil {
		return r, found, err
	}
	return r, found, d.dropSlot(ctx, name)
}

// benchTables copies a thousand small tables, as psql does in one session and as the
// worker does with a topic for each.
func benchTables(ctx context.Context, o options) error {
	b, err := newBed(ctx, o)
	if err != nil {
		return err
	}
	defer b.stop()
	const rows = 100
	l := load{name: "tables1000", what: "a first copy of 1,000 tables of 100 rows, a topic each", tables: manyNames(), changes: manyTables * rows}
	if err := b.exec(ctx, append(createMany(rows), "CHECKPOINT")...); err != nil {
		return err
	}
	var copies strings.Builder
	for _, t := range l.tables {
		fmt.Fprintf(&copies, "COPY %s TO STDOUT (FORMAT binary);", t)
	}
	rs := rounds{n: l.changes}
	for range l.rounds(o) {
		reference, err := b.tool(ctx, "psql", b.database.url.String(), "-qXc", copies.String(), "-o", "/dev/null")
		if err != nil {
			return err
		}
		ours, _, err := b.engine.snapshot(ctx, b.database, l)
		if err != nil {
			return err
		}
		rs.limits, rs.ours = append(rs.limits, reference), append(rs.ours, ours)
	}
	f := rs.figure("source.snapshot.tables1000", "rows/s", "psql COPY of each, one connection")
	f.What = l.what
	_, f.RSS = b.engine.memory()
	o.report(f)
	return nil
}
