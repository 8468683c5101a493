package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// The limits of what the streams engine does.
const (
	loopName      = "a bare consumer and producer"
	consumerName  = "a bare consumer"
	cachedName    = "all of it in the cache"
	bareQueryName = "a handler that looks nothing up"
)

// topologyLoad is a topology and the records it gets.
type topologyLoad struct {
	name, what string
	topology   string
	inputs     int // Topics that records go to in turn; 1 when zero.
	keys       int // The keys are drawn from so many; from none twice in an hour of the records' time when zero.
	table      int // Rows of a table that is there before; its topic comes last.
	fill       int // Records before all others, each with a key of its own, so that the state is there.
	stride     int // The key of each of them is so much after that of the one before, around the circle; 1 when zero.
	partitions int // Of the topics; 1 when zero.
	floor      float64
	result     result
	// least and most are bytes of the caches, of the application and of one it is held
	// against; the defaults, and a bare loop, when zero.
	least, most int64
}

// result is what is known beforehand about what a topology writes.
type result int

const (
	someResults result = iota
	oneOfEach          // One record for each read.
	nineOfTen
	oneOfTwo
	sumOfLast // The last values of all keys sum up to the records read.
)

func streamsLoads(rows int) []topologyLoad {
	const customers, many = 100_000, 1_000_000
	return []topologyLoad{
		{name: "stateless", what: "a filter and a change of a field", topology: "stateless", keys: customers, floor: 300_000, result: nineOfTen},
		{name: "count.uniform", what: "a count over 1,000,000 keys, all as frequent, all of them counted before", topology: "count", keys: many, fill: many, floor: 100_000, result: sumOfLast},
		{name: "count.hot", what: "a count over 1,000 keys", topology: "count", keys: 1000, floor: 200_000, result: sumOfLast},
		{name: "join.table", what: "a stream and a table of 100,000 rows", topology: "join.table", keys: customers, table: customers, floor: 100_000, result: oneOfEach},
		{name: "join.stream", what: "two streams, records within 10 s of each other, a result for each pair", topology: "join.stream", inputs: 2, floor: 40_000, result: oneOfTwo},
		{name: "window", what: "a count over 10,000 keys in windows of 10 s", topology: "window", keys: 10_000, result: sumOfLast},
		{name: "window.session", what: "a count over 10,000 keys in sessions", topology: "window.session", keys: 10_000, result: sumOfLast},
		{name: "window.sliding", what: "a count over 10,000 keys in sliding windows", topology: "window.sliding", keys: 10_000},
		largeLoad(rows),
	}
}

// largeBytes is about what a row of the topology "latest" takes.
const largeBytes = 170

// largeLoad has ten times as much state as its caches hold, of the engine and of the
// database together.
func largeLoad(rows int) topologyLoad {
	keys := max(rows/4, 1)
	state := int64(keys) * largeBytes
	return topologyLoad{
		name: "large", what: "the last record of each of " + grouped(fmt.Sprint(keys)) + " keys, ten times what the caches hold", topology: "latest",
		keys: keys, fill: keys, least: state / 20, most: state * 8,
	}
}

// largeBound is the share of its rate that an application should keep when its state is
// ten times as large as its caches.
const largeBound = 0.5

// benchStreams measures applications of the streams engine, each beside a bare loop over
// the same records.
func benchStreams(ctx context.Context, o options) error {
	b, err := newStreamsBed(ctx, o)
	if err != nil {
		return err
	}
	defer b.stop()
	o.run.Machine.Broker = b.broker.name
	if o.once {
		o.rounds = 1
	}
	for _, l := range streamsLoads(o.rows) {
		if !o.wants(l.name) {
			continue
		}
		if err := b.compare(ctx, o, l); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	for _, m := range []struct {
		name string
		run  func(context.Context, options) error
	}{{"restore", b.benchRestore}, {"takeover", b.benchTakeover}, {"query", b.benchQuery}, {"query.remote", b.benchRemoteQuery}} {
		if !o.wants(m.name) {
			continue
		}
		if err := m.run(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	return nil
}

// wants tells whether a load of the streams engine was asked for.
func (o options) wants(name string) bool {
	if len(o.streams) == 0 {
		return true
	}
	for _, s := range o.streams {
		if strings.TrimSpace(s) == name {
			return true
		}
	}
	return false
}

// compare measures one load and its limit in turn.
func (b *streamsBed) compare(ctx context.Context, o options, l topologyLoad) error {
	rs := rounds{n: o.rows}
	var peak, limitPeak float64
	for range o.rounds {
		ours, err := b.measure(ctx, l, b.tidemill(l, l.least), o.rows)
		if err != nil {
			return err
		}
		reference := ours.bare
		if l.most > 0 {
			cached, err := b.measure(ctx, l, b.tidemill(l, l.most), o.rows)
			if err != nil {
				return err
			}
			reference, limitPeak = cached.round, max(limitPeak, cached.peak)
		}
		rs.ours, rs.limits, peak = append(rs.ours, ours.round), append(rs.limits, reference), max(peak, ours.peak)
	}
	limit := loopName
	if l.most > 0 {
		limit = cachedName
	}
	f := rs.figure("streams."+l.name, "records/s", limit)
	f.What, f.RSS, f.LimitRSS = l.what, peak, limitPeak
	if l.most > 0 {
		f = f.held(true, largeBound)
	} else if l.floor > 0 {
		f = f.heldPerCore(l.floor)
	}
	o.report(f)
	return nil
}

// heldPerCore holds a figure against a rate for each core: so many records for each second of
// processor time. A machine that does other things beside changes that little.
func (f figure) heldPerCore(floor float64) figure {
	met := perCore(f.CPU) >= floor
	f.Bound, f.Met = "≥ "+grouped(fmt.Sprintf("%.0f", floor))+" a core", &met
	return f
}

// benchRestore measures how fast a store is rebuilt from its changelog, beside a bare
// consumer of that.
func (b *streamsBed) benchRestore(ctx context.Context, o options) error {
	l := topologyLoad{name: "restore", topology: "count", keys: o.rows, result: sumOfLast}
	rs := rounds{}
	var peak float64
	for range o.rounds {
		ours, bare, found, err := b.restored(ctx, l, o.rows)
		if err != nil {
			return err
		}
		rs.n = found
		rs.ours, rs.limits, peak = append(rs.ours, ours.round), append(rs.limits, bare), max(peak, ours.peak)
	}
	f := rs.figure("streams.restore", "records/s", consumerName)
	f.What, f.RSS = fmt.Sprintf("a count's store of %s keys, rebuilt from its changelog", grouped(fmt.Sprint(o.rows))), peak
	o.report(f.heldPerCore(400_000))
	return nil
}

// queryPace is the rate of point queries.
const queryPace = 10_000

// benchQuery measures point queries over HTTP, while the application takes in as many
// records, beside the same server's answers to which nothing is looked up.
func (b *streamsBed) benchQuery(ctx context.Context, o options) error {
	return b.benchQueries(ctx, o, topologyLoad{name: "query", what: "of one instance"}, 1)
}

// benchRemoteQuery measures the same of one of two instances that ask each other: half of
// the keys are with the other.
func (b *streamsBed) benchRemoteQuery(ctx context.Context, o options) error {
	return b.benchQueries(ctx, o, topologyLoad{name: "query.remote", what: "of one of two instances, for keys that are with either", partitions: 2}, 2)
}

func (b *streamsBed) benchQueries(ctx context.Context, o options, l topologyLoad, instances int) error {
	l.topology, l.keys, l.result = "count", min(o.rows, 100_000), sumOfLast
	ours, bare, used, err := b.queried(ctx, l, instances, pacing{rate: queryPace, last: min(o.latency, 5*time.Second)})
	if err != nil {
		return err
	}
	prefix := "streams." + l.name + "."
	for _, f := range latencyFigures(prefix, bareQueryName, ours, bare) {
		if f.What = fmt.Sprintf("a point query over HTTP, %s a second, %s, while as many records come in", grouped(fmt.Sprint(queryPace)), l.what); f.Name == prefix+"p99_ms" {
			f.CPU, f.RSS = perMillion(used.worker, used.n), used.peak
			f = f.within(f.Value, "ms", false, 5)
		}
		o.report(f)
	}
	return nil
}
