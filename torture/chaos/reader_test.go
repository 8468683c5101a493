package chaos

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestReaderKnowsSnapshots reads offsets as a connector stores them while it reads the tables
// for the first time, in one go or again while it reads the log, and afterwards.
func TestReaderKnowsSnapshots(t *testing.T) {
	for _, c := range []struct {
		offset  string
		reading bool
	}{
		{`{"lsn_proc":10,"snapshot":"INITIAL"}`, true},
		{`{"lsn_proc":10,"snapshot":"INITIAL","snapshot_completed":true}`, false},
		{`{"lsn_proc":11,"incremental":"{\"requests\":[{\"id\":\"initial\",\"initial\":true}]}"}`, true},
		{`{"lsn_proc":12,"incremental":"{\"requests\":[{\"id\":\"asked for\"}]}"}`, false},
		{`{"lsn_proc":13}`, false},
	} {
		r := &reader{connector: []byte(`"bank"`), seen: map[int64]bool{}, reached: map[topicPartition]int64{}}
		r.take(&kgo.Record{Topic: offsetsTopic, Key: []byte(`["bank",{"server":"storm"}]`), Value: []byte(c.offset)})
		if r.snapshotting() != c.reading {
			t.Errorf("%s: a snapshot is under way: %v", c.offset, r.snapshotting())
		}
	}
}
