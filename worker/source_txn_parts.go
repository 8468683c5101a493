package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/failpoint"
)

// A source transaction of more than transaction.max.records, transaction.max.bytes or
// half of the producer's transaction timeout is written in parts, each a Kafka
// transaction with an offset from which the source resumes inside of its own. Headers
// tell consumers, and only in this case: the last record of the first part and all
// records of the later ones carry the number of their part, counted from 1, and the
// last record of the last part carries the mark of the last.
const (
	headerPart = "__tidemill.transaction.part"
	headerLast = "__tidemill.transaction.last"
)

func partHeader(part int) kgo.RecordHeader {
	return kgo.RecordHeader{Key: headerPart, Value: strconv.AppendInt(nil, int64(part), 10)}
}

// partOffset is the offset behind a part that others follow: a task that starts there
// goes on counting.
type partOffset struct {
	connect.Offset
	part int
}

// partField is what a partOffset adds to the offset. Sources pass over it.
const partField = `"transaction_part":`

// AppendJSON implements connect.Offset.
func (o partOffset) AppendJSON(dst []byte) []byte {
	dst = o.Offset.AppendJSON(dst)
	dst = dst[:len(dst)-1]
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(strconv.AppendInt(append(dst, partField...), int64(o.part), 10), '}')
}

// nextPart returns the number of the part that follows a stored offset, 1 when it
// does not stand inside of a source transaction.
func nextPart(offset []byte) int {
	if !bytes.Contains(offset, []byte(partField)) {
		return 1
	}
	var o struct {
		Part int `json:"transaction_part"`
	}
	if json.Unmarshal(offset, &o) != nil {
		return 1
	}
	return o.Part + 1
}

// split commits a part of the unit under way, if the source can resume behind its
// last record: not where one change has become several records that share an offset,
// of which this is not the last.
func (x *transactions) split(life context.Context) bool {
	if x.previous == nil || bytes.Equal(x.previous.AppendJSON(nil), x.last.AppendJSON(nil)) {
		return false
	}
	if x.part == 1 && x.held != nil {
		x.held.Headers = append(x.held.Headers, partHeader(x.part))
	}
	x.produceHeld(life)
	failpoint.At("worker.transaction.split")
	x.open.part = x.part
	x.part, x.unit = x.part+1, amount{}
	x.commit()
	return true
}
