package main

import "time"

// usage is the processor time that processes have used so far, and what the worker has
// allocated.
type usage struct {
	worker, server, broker time.Duration
	objects, bytes         float64
}

func (u usage) since(before usage) usage {
	return usage{
		worker: u.worker - before.worker, server: u.server - before.server, broker: u.broker - before.broker,
		objects: u.objects - before.objects, bytes: u.bytes - before.bytes,
	}
}

// round is one measured run.
type round struct {
	took  time.Duration
	first time.Duration // Of took, until the first record was there.
	usage
}

// rate returns so many things a second.
func (r round) rate(n int) float64 { return float64(n) / r.took.Seconds() }

// perMillion returns seconds for a million of n things.
func perMillion(d time.Duration, n int) float64 { return d.Seconds() * 1e6 / float64(n) }

// rounds are the runs of one measurement, each with the limit that was measured right
// before or after it.
type rounds struct {
	n            int // Changes or rows in each.
	ours, limits []round
	also         []round
	alsoName     string
}

// of returns the median of what pick says of each run.
func of(all []round, pick func(round) float64) float64 {
	values := make([]float64, len(all))
	for i, r := range all {
		values[i] = pick(r)
	}
	return median(values)
}

// ratio returns the median of the rounds' own ratios of rates.
func ratio(ours, limits []round) float64 {
	values := make([]float64, min(len(ours), len(limits)))
	for i := range values {
		values[i] = limits[i].took.Seconds() / ours[i].took.Seconds()
	}
	return median(values)
}

// figure sums the rounds up.
func (rs *rounds) figure(name, unit, limitName string) figure {
	rate := func(r round) float64 { return r.rate(rs.n) }
	f := figure{
		Name: name, Unit: unit, Value: of(rs.ours, rate),
		CPU:            of(rs.ours, func(r round) float64 { return perMillion(r.worker, rs.n) }),
		ServerCPU:      of(rs.ours, func(r round) float64 { return perMillion(r.server, rs.n) }),
		BrokerCPU:      of(rs.ours, func(r round) float64 { return perMillion(r.broker, rs.n) }),
		Allocations:    of(rs.ours, func(r round) float64 { return r.objects / float64(rs.n) }),
		AllocatedBytes: of(rs.ours, func(r round) float64 { return r.bytes / float64(rs.n) }),
	}
	for i, r := range rs.ours {
		if v := rate(r); i == 0 {
			f.Min, f.Max = v, v
		} else {
			f.Min, f.Max = min(f.Min, v), max(f.Max, v)
		}
	}
	if len(rs.limits) > 0 {
		f.Limit, f.LimitValue, f.Ratio = limitName, of(rs.limits, rate), ratio(rs.ours, rs.limits)
		f.LimitCPU = of(rs.limits, func(r round) float64 { return perMillion(r.worker, rs.n) })
		f.LimitServerCPU = of(rs.limits, func(r round) float64 { return perMillion(r.server, rs.n) })
	}
	if len(rs.also) > 0 {
		f.Also = &limit{Name: rs.alsoName, Value: of(rs.also, rate), Ratio: ratio(rs.ours, rs.also)}
	}
	return f
}
