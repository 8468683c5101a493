package streams

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// part is a partition.
type part struct {
	topic     string
	partition int32
}

// start is where a partition begins to be read: where the group has come to, -1 when it has
// not begun, or, when chosen, the end that the partition had when this process first saw it.
type start struct {
	at     int64
	chosen bool
}

// adjust settles where partitions begin for which the group has no offset. Repartition
// topics start at their start, whatever the application wants for topics of others: what is
// in them has been taken in already.
func (r *runner) adjust(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	internal := map[string]bool{}
	for _, n := range r.a.Topology.nodes {
		if n.isSource && n.internal {
			internal[topicName(r.a.ID, n.topic)] = true
		}
	}
	starts, latest := map[part]start{}, []part{}
	for topic, ps := range offsets {
		for p, o := range ps {
			at := part{topic, p}
			starts[at] = start{at: max(o.EpochOffset().Offset, -1)}
			switch {
			case o.EpochOffset().Offset >= 0:
			case internal[topic]:
				ps[p] = kgo.NewOffset().AtStart()
			case r.a.FromLatest:
				latest = append(latest, at)
			}
		}
	}
	ends, err := r.a.firstSeen(ctx, latest)
	if err != nil {
		return nil, err
	}
	for at, end := range ends {
		starts[at] = start{end, true}
		offsets[at.topic][at.partition] = kgo.NewOffset().At(end)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.starts, starts)
	if len(ends) > 0 {
		r.unsaid = true
	}
	return offsets, nil
}

// firstSeen returns where partitions ended when this process first looked at them. A start
// after that, for whatever reason there is one, leaves out nothing that came since.
func (a *application) firstSeen(ctx context.Context, parts []part) (map[part]int64, error) {
	seen, names := map[part]int64{}, map[string]bool{}
	a.mu.Lock()
	for _, at := range parts {
		if end, ok := a.ends[at]; ok {
			seen[at] = end
		} else {
			names[at.topic] = true
		}
	}
	a.mu.Unlock()
	if len(names) == 0 {
		return seen, nil
	}
	ends, err := a.e.client.StableEnds(ctx, slices.Collect(maps.Keys(names))...)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, at := range parts {
		if _, ok := seen[at]; !ok {
			seen[at] = ends[at.topic][at.partition]
			a.ends[at] = seen[at]
		}
	}
	return seen, nil
}

// say has the next commit note where partitions begin that are read from their end, also
// when nothing comes: another process that gets one, or this one when it starts again,
// begins there too.
func (r *runner) say() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.unsaid {
		return nil
	}
	r.unsaid = false
	for at, s := range r.starts {
		t := r.tasks[r.taskAt(at)]
		q := r.queue(at.topic, at.partition)
		switch {
		case !s.chosen || q == nil || !q.here:
			continue
		case t == nil:
			r.unsaid = true // It does not run yet.
			continue
		case q.next >= 0:
			continue
		}
		if err := r.begin(); err != nil {
			return err
		}
		q.next, t.dirty = s.at, true
	}
	return nil
}

// taskAt is the task that reads a partition.
func (r *runner) taskAt(at part) taskID {
	sub := r.bySource[at.topic]
	if sub == nil {
		return taskID{sub: -1}
	}
	return taskID{sub.index, at.partition}
}

// begins checks, when the first of a partition's records come to a task that runs already,
// that they are those after what the task had when it was restored. They are not if somebody
// else has had the partition meanwhile: then the task would have state that is too old.
func (r *runner) begins(q *queue, partition int32, records int) error {
	if !q.running || q.first >= 0 || records == 0 {
		return nil
	}
	r.mu.Lock()
	s, known := r.starts[part{q.topic, partition}]
	r.mu.Unlock()
	if !known || s.chosen || s.at == max(q.saved, -1) {
		return nil
	}
	return &connect.Error{
		Code: "streams.task.stale", Class: connect.ClassRetriable, Place: fmt.Sprintf("topic %s, partition %d", q.topic, partition),
		Message: fmt.Sprintf("the task was restored as of offset %d, and the group has the partition read from %d", q.saved, s.at),
		Mend:    "nothing: the application begins anew",
	}
}
