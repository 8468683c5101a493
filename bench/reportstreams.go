package main

import (
	"fmt"
	"strings"
)

// streams writes what applications of the streams engine do beside their limits.
func (p *page) streams(all []figure) {
	p.say("## The streams engine\n")
	p.say("Applications are processes of their own, with one partition and one task. They read records of about 150 bytes of Avro with a registry,\n" +
		"keep their state on disk and commit ten times a second, at least once. All records are in Kafka before the clock starts. A rate for each\n" +
		"core is one for each second of processor time of the process, all its threads together. The limit is the Kafka client alone, with the same records.\n")
	rates := plot{title: "Records for each second of processor time of the application", unit: "records", series: []string{"tidemill", "its limit"}}
	var moving, rest []figure
	for _, f := range all {
		if !strings.HasSuffix(f.Unit, "/s") {
			rest = append(rest, f)
			continue
		}
		moving = append(moving, f)
		rates.rows = append(rates.rows, plotRow{label: strings.TrimPrefix(f.Name, "streams."), values: []float64{perCore(f.CPU), perCore(f.LimitCPU)}})
	}
	p.draw("streams", rates)
	p.say("| | what | a core | measured | limit | ratio | CPU | broker CPU | allocations | peak | wanted |\n|---|---|---|---|---|---|---|---|---|---|---|")
	for _, f := range moving {
		p.say("| %s | %s | %s | %s %s (%s–%s) | %s: %s | %s | %s | %s µs | %s, %s B | %s MB%s | %s |", strings.TrimPrefix(f.Name, "streams."), f.What, number(perCore(f.CPU)),
			number(f.Value), f.Unit, number(f.Min), number(f.Max), f.Limit, number(f.LimitValue), number(f.Ratio), pair(f.CPU, f.LimitCPU, "µs"), number(f.BrokerCPU),
			number(f.Allocations), number(f.AllocatedBytes), number(f.RSS), beside(f.LimitRSS), verdict(f))
	}
	p.say("\nProcessor time, allocations and bytes are for one record; after the stroke, and in brackets, the limit's.\n")
	p.small(rest)
}

// perCore turns seconds for a million into things for each second.
func perCore(cpu float64) float64 {
	if cpu == 0 {
		return 0
	}
	return 1e6 / cpu
}

// kstreams writes the comparison.
func (p *page) kstreams(all []figure) {
	p.say("## Beside Kafka Streams\n")
	p.say("The same topologies over the same records of one broker, in turn, with one thread, one partition and the same commit interval. Before\n" +
		"it is measured, each application has processed as many records as it is measured with, so that the Java machine has compiled its program.\n")
	series := []string{"tidemill", kstreamsName}
	rates := plot{title: "Records for each second of processor time of the application", unit: "records", series: series}
	peaks := plot{title: "Peak memory of the application", unit: "MB", series: series}
	for _, f := range all {
		label := strings.TrimPrefix(f.Name, "kstreams.")
		rates.rows = append(rates.rows, plotRow{label: label, values: []float64{perCore(f.CPU), perCore(f.LimitCPU)}})
		peaks.rows = append(peaks.rows, plotRow{label: label, values: []float64{f.RSS, f.LimitRSS}})
	}
	p.draw("kstreams-rates", rates)
	p.draw("kstreams-memory", peaks)
	p.say("| | what | tidemill | Kafka Streams | ratio | CPU | ratio | broker CPU | peak | wanted |\n|---|---|---|---|---|---|---|---|---|---|")
	for _, f := range all {
		p.say("| %s | %s | %s %s | %s | %s | %s | %s | %s | %s | %s |", strings.TrimPrefix(f.Name, "kstreams."), f.What, number(f.Value), f.Unit, number(f.LimitValue), number(f.Ratio),
			pair(f.CPU, f.LimitCPU, "s"), fmt.Sprintf("%.2f", f.LimitCPU/max(f.CPU, 1e-9)), pair(f.BrokerCPU, f.LimitBrokerCPU, "s"), pair(f.RSS, f.LimitRSS, "MB"), verdict(f))
	}
	p.say("\nProcessor time is in seconds for a million records: tidemill's, then that of Kafka Streams.")
}
