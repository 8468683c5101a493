package streams

import (
	"fmt"
	"maps"
	"testing"
	"time"
)

// TestCountOperators counts what each operator takes in, when that is asked for, also where
// each operator is guarded, and nothing when it is not.
func TestCountOperators(t *testing.T) {
	w := newWorld(t)
	for _, asked := range []bool{true, false} {
		w.drop("wc-words-repartition", "wc-counts-changelog")
		topology, counts := wordCount(t, With{Uncached: true, Name: "counted"})
		app := fmt.Sprint("wc-counted-", asked)
		e := w.start("", App{ID: app, Topology: topology, CommitInterval: 10 * time.Millisecond}, func(e *Engine) { e.cfg.CountOperators = asked })
		w.put(200)
		w.waitCounted(e, app, counts)
		total, want := map[string]int64{}, map[string]int64{}
		if asked {
			want = map[string]int64{"in-selectkey": 200, "words-sink": 200, "counted": 200, "counted-tostream": 200, "counted-tostream-sink": 200}
		}
		w.wait("all to be told", func() bool {
			clear(total)
			for _, k := range w.doing(e, app).Tasks {
				for _, o := range k.Operators {
					total[o.Name] += o.Processed
				}
			}
			return len(total) >= len(want) && (!asked || total["counted-tostream"] >= 200)
		})
		if !maps.Equal(total, want) {
			t.Errorf("operators have taken in %v, want %v", total, want)
		}
		e.end()
	}
}
