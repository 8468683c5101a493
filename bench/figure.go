package main

import (
	"fmt"
	"slices"
	"strings"
)

// figure is one measured figure, and the limit of the same run it is held against. The
// first eight fields are those that tools may rely on.
type figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"` // The median of the rounds.
	Unit  string  `json:"unit"`
	// Limit names what Value is compared with, whose figure is LimitValue; Ratio is
	// the median of the rounds' own ratios.
	Limit      string  `json:"limit"`
	LimitValue float64 `json:"limit_value"`
	Ratio      float64 `json:"ratio"`
	// CPU is the processor time of the worker, in seconds for a million changes or rows;
	// of a figure that says so in What, in seconds for a minute.
	CPU float64 `json:"cpu_s"`
	RSS float64 `json:"rss_mb"` // The worker's peak so far.

	What string `json:"what,omitempty"`
	// Min and Max are the lowest and the highest of the rounds.
	Min float64 `json:"min,omitempty"`
	Max float64 `json:"max,omitempty"`
	// ServerCPU is the processor time of all of PostgreSQL's processes (the sender of the
	// log or the backends of a snapshot, mostly), BrokerCPU that of the broker; in seconds
	// for a million.
	ServerCPU float64 `json:"server_cpu_s,omitempty"`
	BrokerCPU float64 `json:"broker_cpu_s,omitempty"`
	// Allocations and AllocatedBytes are the worker's for one change.
	Allocations    float64 `json:"allocs,omitempty"`
	AllocatedBytes float64 `json:"alloc_bytes,omitempty"`
	// The same of the limit, as far as it has any.
	LimitCPU       float64 `json:"limit_cpu_s,omitempty"`
	LimitServerCPU float64 `json:"limit_server_cpu_s,omitempty"`
	LimitBrokerCPU float64 `json:"limit_broker_cpu_s,omitempty"`
	LimitRSS       float64 `json:"limit_rss_mb,omitempty"`
	// Also is a second limit, beside the one that Ratio speaks of.
	Also *limit `json:"also,omitempty"`
	// Bound says what the project wants of the figure, Met whether it is so.
	Bound string `json:"bound,omitempty"`
	Met   *bool  `json:"met,omitempty"`
}

// limit is something measured beside a figure.
type limit struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Ratio float64 `json:"ratio"`
}

func printFigure(f figure) {
	var b strings.Builder
	fmt.Fprintf(&b, "  %-34s %12s %-10s", f.Name, number(f.Value), f.Unit)
	if f.Limit != "" {
		fmt.Fprintf(&b, " %5.2f × %s (%s)", f.Ratio, f.Limit, number(f.LimitValue))
	}
	if f.Also != nil {
		fmt.Fprintf(&b, ", %.2f × %s (%s)", f.Also.Ratio, f.Also.Name, number(f.Also.Value))
	}
	for _, c := range []struct {
		what         string
		ours, theirs float64
	}{{"cpu", f.CPU, f.LimitCPU}, {"server", f.ServerCPU, f.LimitServerCPU}, {"broker", f.BrokerCPU, f.LimitBrokerCPU}} {
		if c.ours > 0 {
			fmt.Fprintf(&b, "  %s %.2f s", c.what, c.ours)
		}
		if c.theirs > 0 {
			fmt.Fprintf(&b, " (limit's %.2f)", c.theirs)
		}
	}
	if f.Allocations > 0 {
		fmt.Fprintf(&b, "  %.2f allocs %.0f B", f.Allocations, f.AllocatedBytes)
	}
	if f.RSS > 0 {
		fmt.Fprintf(&b, "  peak %.0f MB", f.RSS)
	}
	if f.LimitRSS > 0 {
		fmt.Fprintf(&b, " (limit's %.0f)", f.LimitRSS)
	}
	if f.Met != nil {
		b.WriteString("  " + f.Bound + " " + map[bool]string{true: "met", false: "MISSED"}[*f.Met])
	}
	fmt.Println(b.String())
}

// held returns f with its bound: the ratio, or the value when there is none, at least
// or at most bound.
func (f figure) held(atLeast bool, bound float64) figure {
	value, what := f.Value, f.Unit
	if f.Limit != "" {
		value, what = f.Ratio, "×"
	}
	return f.within(value, what, atLeast, bound)
}

// within returns f with a bound on a value of it.
func (f figure) within(value float64, what string, atLeast bool, bound float64) figure {
	met := value >= bound
	f.Bound = fmt.Sprintf("≥ %g %s", bound, what)
	if !atLeast {
		met, f.Bound = value <= bound, fmt.Sprintf("≤ %g %s", bound, what)
	}
	f.Met = &met
	return f
}

// number prints a figure with the digits that mean something.
func number(v float64) string {
	switch {
	case v >= 1000:
		return grouped(fmt.Sprintf("%.0f", v))
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// grouped sets commas between the thousands of a whole number.
func grouped(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	of = slices.Clone(of)
	slices.Sort(of)
	return of[len(of)/2]
}
