package streams

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/tidemill/tidemill/streams/state"
)

// TestChangelogSettings keeps the settings of changelog topics, which are those of Kafka
// Streams: of stores with a history, compaction waits for a day longer than that.
func TestChangelogSettings(t *testing.T) {
	for _, c := range []struct {
		layout state.Spec
		want   string
	}{
		{state.Spec{}, "map[cleanup.policy:compact]"},
		{state.Spec{Form: state.WindowKeys, Retention: time.Hour}, "map[cleanup.policy:compact,delete message.timestamp.type:CreateTime retention.ms:90000000]"},
		{state.Spec{History: time.Hour}, "map[cleanup.policy:compact min.compaction.lag.ms:90000000]"},
		{state.Spec{History: math.MaxInt64}, "map[cleanup.policy:compact min.compaction.lag.ms:9223372036854]"},
	} {
		if got := fmt.Sprint(changelogConfig(c.layout)); got != c.want {
			t.Errorf("%+v: %s, want %s", c.layout, got, c.want)
		}
	}
}
