package streams

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/state"
)

// changelogSuffix ends the name of every changelog topic.
const changelogSuffix = "-changelog"

func isChangelog(topic string) bool { return strings.HasSuffix(topic, changelogSuffix) }

// replay puts changelog records into a batch as the rows they were.
func replay(b state.Batch, id state.ID, rs []*kgo.Record, scratch []byte) []byte {
	for _, r := range rs {
		if r.Value == nil {
			b.Delete(id, r.Key)
			continue
		}
		scratch = state.AppendTimed(scratch[:0], r.Timestamp.UnixMilli(), r.Value)
		b.Put(id, r.Key, scratch)
	}
	return scratch
}
