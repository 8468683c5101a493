package worker

import (
	"context"
	"maps"

	"github.com/tidemill/tidemill/connect"
)

// control is what the plugin steers its consumer with. The task's mutex is held
// whenever the plugin runs, so it is not taken here.
type control struct{ t *sinkTask }

// Assignment implements connect.ConsumerControl.
func (c control) Assignment() []connect.TopicPartition {
	list := make([]connect.TopicPartition, 0, len(c.t.assigned))
	for tp := range c.t.assigned {
		list = append(list, tp)
	}
	return list
}

func (c control) group(partitions []connect.TopicPartition) map[string][]int32 {
	m := map[string][]int32{}
	for _, tp := range partitions {
		m[tp.Topic] = append(m[tp.Topic], tp.Partition)
	}
	return m
}

// Pause implements connect.ConsumerControl.
func (c control) Pause(partitions ...connect.TopicPartition) {
	if c.t.client != nil {
		c.t.client.PauseFetchPartitions(c.group(partitions))
	}
}

// Resume implements connect.ConsumerControl.
func (c control) Resume(partitions ...connect.TopicPartition) {
	if c.t.client != nil {
		c.t.client.ResumeFetchPartitions(c.group(partitions))
	}
}

// Seek implements connect.ConsumerControl.
func (c control) Seek(offsets map[connect.TopicPartition]int64) { maps.Copy(c.t.seeks, offsets) }

// RequestCommit implements connect.ConsumerControl.
func (c control) RequestCommit() { c.t.asked = true }

// errants takes records the plugin cannot write. Letters are on their way until the
// next commit, which waits for them.
type errants struct{ t *sinkTask }

// Report implements connect.ErrantRecordReporter.
func (e errants) Report(ctx context.Context, r *connect.SinkRecord, cause error) (func(context.Context) error, error) {
	f := e.t.faults
	f.metrics.fail()
	f.metrics.failures.Add(1)
	bad := &fault{site: site{stagePut, e.t.config["connector.class"]}, err: cause}
	if f.logErrors {
		f.logFault(bad, whereConsumed(r))
	}
	if !f.tolerate {
		return nil, f.exceeded(bad, whereConsumed(r))
	}
	f.metrics.skipped.Add(1)
	if f.letters == nil {
		return func(context.Context) error { return nil }, nil
	}
	wait, err := f.letters.send(e.t.life, r, bad)
	if err != nil {
		return nil, err
	}
	e.t.letters = append(e.t.letters, wait)
	return wait, nil
}
