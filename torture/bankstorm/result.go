package bankstorm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidemill/tidemill/torture/chaos"
)

// Result is what came of a run.
type Result struct {
	Seed         uint64          `json:"seed"`
	Mode         string          `json:"mode"`
	Seconds      float64         `json:"seconds"`       // Of all of it.
	StormSeconds float64         `json:"storm_seconds"` // Of the part with faults.
	Faults       int             `json:"faults"`
	ByClass      map[string]int  `json:"by_class"`
	Transactions int64           `json:"transactions"` // Committed.
	Events       int64           `json:"events"`       // Rows of those.
	Anomalies    []chaos.Anomaly `json:"anomalies"`
	RecoveredP50 float64         `json:"recovered_p50_s"` // From the end of a fault to the first change made after it in Kafka.
	RecoveredP99 float64         `json:"recovered_p99_s"`
	RecoveredMax float64         `json:"recovered_max_s"`
	Slowest      string          `json:"slowest"` // The fault that took longest.
	// Of the streams application: until a change made after a fault has come through.
	StreamsP50     float64     `json:"streams_recovered_p50_s,omitempty"`
	StreamsP99     float64     `json:"streams_recovered_p99_s,omitempty"`
	StreamsSlowest string      `json:"streams_slowest,omitempty"`
	AckSamples     int         `json:"ack_samples"` // How often the confirmed position was held against Kafka.
	Usage          chaos.Usage `json:"usage"`       // Of the worker, at most.
	Loud           []Episode   `json:"loud,omitempty"`
	Plan           chaos.Plan  `json:"plan"` // The faults that were done, in order.
	Bundle         string      `json:"bundle,omitempty"`
	Shrunk         chaos.Plan  `json:"shrunk,omitempty"` // The shortest list of faults that still failed.
	recoveries     []recovered
	flows          []recovered // Of the streams application.
}

// recovered is how long it took after one fault.
type recovered struct {
	after chaos.Fault
	took  time.Duration
}

// OK tells that nothing was wrong.
func (r Result) OK() bool { return len(r.Anomalies) == 0 }

// Line is the result in one line.
func (r Result) Line() string {
	line := fmt.Sprintf("seed=%d mode=%s faults=%d transactions=%d events=%d anomalies=%d recovered_p50=%.2fs recovered_p99=%.2fs faults_per_hour=%.0f ack_samples=%d",
		r.Seed, r.Mode, r.Faults, r.Transactions, r.Events, len(r.Anomalies), r.RecoveredP50, r.RecoveredP99, r.perHour(), r.AckSamples)
	if len(r.Loud) > 0 {
		line += fmt.Sprintf(" loud=%d", len(r.Loud))
	}
	if len(r.flows) > 0 {
		line += fmt.Sprintf(" streams_recovered_p50=%.2fs streams_recovered_p99=%.2fs", r.StreamsP50, r.StreamsP99)
	}
	return line
}

func (r Result) perHour() float64 {
	if r.StormSeconds == 0 {
		return 0
	}
	return float64(r.Faults) / r.StormSeconds * time.Hour.Seconds()
}

// JSON is the result in full, on one line.
func (r Result) JSON() string {
	text, err := json.Marshal(r)
	if err != nil {
		return err.Error() // It has nothing that JSON does not have.
	}
	return string(text)
}

// Explain names each anomaly on a line.
func (r Result) Explain() string {
	var text strings.Builder
	for _, a := range r.Anomalies {
		fmt.Fprintf(&text, "%8.3f s  %s: %s\n", a.At, a.Name, a.Text)
	}
	if r.Bundle != "" {
		fmt.Fprintf(&text, "all there is to know is in %s; %s/repro.sh does it again\n", r.Bundle, r.Bundle)
	}
	return text.String()
}

// The percentages of recoveries that a result tells of.
const median, most, all = 50, 99, 100

// summarize works out how long recovery took.
func (r *Result) summarize() {
	if len(r.recoveries) > 0 {
		sortByTime(r.recoveries)
		r.RecoveredP50, r.RecoveredP99, r.RecoveredMax = within(r.recoveries, median), within(r.recoveries, most), within(r.recoveries, all)
		r.Slowest = r.recoveries[len(r.recoveries)-1].after.String()
	}
	if len(r.flows) > 0 {
		sortByTime(r.flows)
		r.StreamsP50, r.StreamsP99 = within(r.flows, median), within(r.flows, most)
		r.StreamsSlowest = r.flows[len(r.flows)-1].after.String()
	}
}

func sortByTime(list []recovered) {
	slices.SortFunc(list, func(a, b recovered) int { return int(a.took - b.took) })
}

// within returns the shortest time in seconds that at least so many percent do not exceed.
func within(list []recovered, percent int) float64 {
	i := (len(list)*percent + 99) / 100
	return list[max(i, 1)-1].took.Seconds()
}
