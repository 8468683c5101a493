package window_test

import (
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams"
	"github.com/tidemill/tidemill/streams/streamstest"
	"github.com/tidemill/tidemill/streams/window"
)

// TestStreamBehindFindsItsWindows has one of two streams that are grouped together come
// far behind the other: its windows are open by its own time, and what is in them is there
// however often there was a commit.
func TestStreamBehindFindsItsWindows(t *testing.T) {
	for name, w := range map[string]window.Windows{
		"fixed": window.Tumbling(20 * time.Millisecond), "sliding": window.Sliding(20 * time.Millisecond), "session": window.Session(20 * time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			s := shape{kind: name, together: true}
			b := streams.NewBuilder()
			table := s.over(streams.From(b, "in", text{}, text{}), w.Grace(15*time.Millisecond), streams.With{Store: "rows"})
			topology, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			d := streamstest.New(t, topology)
			d.Hold()
			in := streamstest.In(d, "in", text{}, text{})
			for _, r := range []input{{Key: "k", Value: "a", Time: 100}, {Key: "other", Value: "z", Time: 30_000}, {Key: "k", Value: "b", Time: 105}} {
				in.Record(r)
				d.Commit()
			}
			for _, value := range streamstest.Table(d, table) {
				if value == "ab" {
					return
				}
			}
			t.Errorf("there is no window with both records: %v", streamstest.Table(d, table))
		})
	}
}
