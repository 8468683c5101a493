package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// streamBound is the share of pg_recvlogical's rate that streaming should reach.
const streamBound = 0.8

// benchSizes alternates pg_recvlogical and the worker over copies of one slot, for
// transactions of each size.
func benchSizes(ctx context.Context, o options) error {
	b, err := newBed(ctx, o)
	if err != nil {
		return err
	}
	defer b.stop()
	for _, text := range o.sizes {
		rows, size := o.rows, o.rows
		if text != "all" {
			if size, err = strconv.Atoi(text); err != nil || size < 1 {
				return fmt.Errorf("%q is no size of a transaction", text)
			}
		}
		if size < 10 {
			rows = max(1, rows/2) // Transactions are what takes the time here.
		}
		l := inserts(rows, size)
		l.name = "tx" + text
		if err := b.compare(ctx, o, l, streamBound); err != nil {
			return err
		}
	}
	return nil
}

// benchLoads does the same for other loads.
func benchLoads(ctx context.Context, o options) error {
	b, err := newBed(ctx, o)
	if err != nil {
		return err
	}
	defer b.stop()
	for _, l := range []load{
		updates(o.rows), pgbench(o.rows / 10), wide(o.rows / 10), large(o.rows / 25), untouched(o.rows / 25), across(o.rows / 10),
	} {
		if err := b.compare(ctx, o, l, 0); err != nil {
			return err
		}
	}
	return nil
}

// compare measures one load against pg_recvlogical and a bare producer. Each load gets
// a worker of its own, so that its peak of memory is this load's.
func (b *bed) compare(ctx context.Context, o options, l load, bound float64) error {
	end, err := b.database.write(ctx, l)
	if err != nil {
		return err
	}
	e, err := b.engine.stack.tidemill(ctx)
	if err != nil {
		return err
	}
	defer e.process.stop()
	rs := rounds{n: l.changes, alsoName: producerName}
	for range l.rounds(o) {
		reference, err := b.recvlogical(ctx, end)
		if err != nil {
			return err
		}
		ours, found, err := e.follow(ctx, b.database, l)
		if err != nil {
			return err
		}
		bare, err := e.stack.produce(ctx, l.changes, found)
		if err != nil {
			return err
		}
		rs.limits, rs.ours, rs.also = append(rs.limits, reference), append(rs.ours, ours), append(rs.also, bare)
	}
	f := rs.figure("source.stream."+l.name, "changes/s", recvlogicalName)
	f.What = l.what
	_, f.RSS = e.memory()
	if bound > 0 {
		f = f.held(true, bound)
	}
	o.report(f)
	return b.dropSlot(ctx, "origin")
}

// follow streams what stands behind "origin": from the request that creates the
// connector to the last record's arrival in Kafka.
func (e *engine) follow(ctx context.Context, d *database, l load, more ...string) (round, contents, error) {
	name := e.stack.unique("stream")
	if err := d.copySlot(ctx, name); err != nil {
		return round{}, contents{}, err
	}
	r, found, err := e.timed(ctx, d, l, name, append(more, "snapshot.mode", "no_data")...)
	if err != nil {
		return r, found, err
	}
	return r, found, d.dropSlot(ctx, name)
}

// timed creates a connector, waits until its topics have all the records, and removes
// both. The clock stops before the records are counted.
func (e *engine) timed(ctx context.Context, d *database, l load, name string, more ...string) (r round, found contents, err error) {
	before, began := e.usage(ctx, d), time.Now()
	if err := e.created(ctx, name, d.connector(name, l.included(), more...)); err != nil {
		return r, found, err
	}
	topics := l.topics(name)
	first, err := e.arrived(ctx, name, topics, int64(l.changes))
	if err != nil {
		return r, found, err
	}
	if exactlyOnce(more) {
		if err := e.lastArrived(ctx, topics[0], int64(l.changes)); err != nil {
			return r, found, err
		}
	}
	r = round{took: time.Since(began), first: first.Sub(began)}
	r.usage = e.usage(ctx, d).since(before)
	if found, err = e.stack.broker.read(ctx, topics, l.changes); err != nil {
		return r, found, fmt.Errorf("%s, %s: %w", e.name, l.what, err)
	}
	if err := e.deleted(ctx, name); err != nil {
		return r, found, err
	}
	return r, found, e.stack.broker.remove(ctx, topics...)
}

// exactlyOnce tells whether a connector's settings ask for it.
func exactlyOnce(settings []string) bool {
	for i := 0; i < len(settings); i += 2 {
		if settings[i] == "exactly.once.support" {
			return settings[i+1] == "required"
		}
	}
	return false
}

// benchExactlyOnce alternates a worker that delivers exactly once and one that
// delivers at least once over copies of one slot.
func benchExactlyOnce(ctx context.Context, o options) error {
	b, err := newBed(ctx, o)
	if err != nil {
		return err
	}
	defer b.stop()
	for _, text := range o.eosSizes {
		size, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		if err := b.compareExactlyOnce(ctx, o, inserts(o.rows, size)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bed) compareExactlyOnce(ctx context.Context, o options, l load) error {
	if _, err := b.database.write(ctx, l); err != nil {
		return err
	}
	exactly, err := b.engine.stack.tidemill(ctx, "exactly.once.source.support=enabled")
	if err != nil {
		return err
	}
	defer exactly.process.stop()
	rs := rounds{n: l.changes}
	for range o.rounds {
		least, _, err := b.engine.follow(ctx, b.database, l)
		if err != nil {
			return err
		}
		ours, _, err := exactly.follow(ctx, b.database, l, "exactly.once.support", "required")
		if err != nil {
			return err
		}
		rs.limits, rs.ours = append(rs.limits, least), append(rs.ours, ours)
	}
	f := rs.figure("source.stream.eos."+l.name, "changes/s", "at least once")
	f.What = l.what + ", exactly once"
	_, f.RSS = exactly.memory()
	o.report(f.held(true, 0.9))
	return b.dropSlot(ctx, "origin")
}
