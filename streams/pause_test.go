package streams

import (
	"log/slog"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFullQueuesArePaused fills queues by number and by size, of tasks that run, wait
// for restoring and are being restored: none is fetched on, and one whose partition
// was taken away can be fetched when it comes back.
func TestFullQueuesArePaused(t *testing.T) {
	large := []*kgo.Record{{Value: make([]byte, queueBytes+1)}}
	many := make([]*kgo.Record, queueRecords+1)
	for i := range many {
		many[i] = &kgo.Record{Offset: int64(i)}
	}
	for name, rs := range map[string][]*kgo.Record{"large": large, "many": many} {
		for _, where := range []string{"running", "fresh", "restoring"} {
			tk, _, _ := twoTopics(t)
			cl, err := kgo.NewClient(kgo.ConsumeTopics("a", "b"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cl.Close)
			sub := &subTopology{index: tk.id.sub}
			a := newApplication(&Engine{cfg: Config{Logger: slog.New(slog.DiscardHandler)}}, App{Topology: &Topology{subs: []*subTopology{sub}}})
			r := &runner{a: a, cl: cl, tasks: map[taskID]*task{}, fresh: map[taskID]*task{}, bySource: map[string]*subTopology{"a": sub, "b": sub}}
			in := map[taskID]*task{tk.id: tk}
			switch where {
			case "running":
				r.tasks = in
			case "fresh":
				r.fresh = in
			default:
				r.pending = &restoration{tasks: in}
			}
			paused := func() int { return len(cl.PauseFetchPartitions(nil)["a"]) }
			q := tk.queues[0]
			q.push(rs, 0)
			r.pauseFull()
			if paused() != 1 {
				t.Fatalf("%s, %s: the queue is full and goes on being filled", name, where)
			}
			for q.len() > 0 {
				q.pop()
			}
			r.pauseFull()
			if paused() != 0 || q.bytes != 0 {
				t.Fatalf("%s, %s: the queue is empty and stays paused, with %d bytes", name, where, q.bytes)
			}
			q.push(rs, 0)
			r.pauseFull()
			r.drop(map[string][]int32{"a": {tk.id.partition}})
			if paused() != 0 {
				t.Fatalf("%s, %s: a partition that went away would come back paused", name, where)
			}
		}
	}
}
