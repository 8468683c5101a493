package streams

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/streams/state"
)

// changelogSuffix ends the name of every changelog topic.
const changelogSuffix = "-changelog"

func isChangelog(topic string) bool { return strings.HasSuffix(topic, changelogSuffix) }

// changelogSlack is how much longer than a store its changelog keeps what expires:
// brokers go by the clock, stores by the time of records, which may stand behind it.
const changelogSlack = 24 * time.Hour

// changelogConfig are the settings of a store's changelog. It keeps the last record of
// each key, and those that expire only as long as they are needed. Where the rows before
// the last one are kept, it keeps all records as long as they are, as Kafka Streams has it.
func changelogConfig(layout state.Spec) map[string]string {
	if layout.History > 0 {
		return map[string]string{
			"cleanup.policy":        "compact",
			"min.compaction.lag.ms": strconv.FormatInt((layout.History + min(changelogSlack, math.MaxInt64-layout.History)).Milliseconds(), 10),
		}
	}
	if !layout.Segmented() {
		return map[string]string{"cleanup.policy": "compact"}
	}
	return map[string]string{
		"cleanup.policy":         "compact,delete",
		"retention.ms":           strconv.FormatInt((layout.Retention + changelogSlack).Milliseconds(), 10),
		"message.timestamp.type": "CreateTime",
	}
}

// logsAtOnce tells whether a store's changes go to the changelog as records are processed.
// In transaction mode, where rows may be staged, they go together; so do those that are
// also passed on then.
func (t *task) logsAtOnce(spec *storeSpec) bool {
	l := &spec.layout
	return l.LogAtOnce && !l.Unlogged && l.History <= 0 && !spec.cached && t.env.epochs == nil
}

// logNews writes to the changelogs what is not to wait for the commit.
func (t *task) logNews() error {
	for _, st := range t.ordered {
		if !st.atOnce {
			continue
		}
		if err := t.logStore(st); err != nil {
			return err
		}
	}
	return nil
}

// logStore writes to the changelog what it does not have yet of the changes of a store.
func (t *task) logStore(st *taskStore) error {
	return st.cache.News(func(e state.Entry) error {
		t.log(st, e)
		return nil
	})
}

// replay puts changelog records into a batch as the rows they were.
func (t *task) replay(b state.Batch, st *taskStore, rs []*kgo.Record, scratch []byte) ([]byte, error) {
	if st.versions != nil {
		return scratch, t.replayVersions(b, st, rs)
	}
	for _, r := range rs {
		scratch = st.spec.layout.AppendLocal(scratch[:0], r.Key)
		if r.Value == nil {
			b.Delete(st.id, scratch)
			continue
		}
		n := len(scratch)
		scratch = state.AppendTimed(scratch, r.Timestamp.UnixMilli(), r.Value)
		b.Put(st.id, scratch[:n], scratch[n:])
	}
	return scratch, nil
}
