package live

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	rows "github.com/tidemill/tidemill/streams/query"
)

// mark says of which record the events were made that end at an offset in a page.
type mark struct {
	end       int
	topic     string
	partition int32
	next      int64
}

// page is a part of what happened: events as they are sent.
type page struct {
	data  []byte
	marks []mark
}

// after returns the events of a page that a client has not seen who has come as far as at:
// all of them, as a rule.
func (p *page) after(at rows.Position) []byte {
	if at == nil {
		return p.data
	}
	var out []byte
	start := 0
	for _, m := range p.marks {
		if m.next > at[m.topic][m.partition] {
			out = append(out, p.data[start:m.end]...)
		}
		start = m.end
	}
	return out
}

// appendID writes a position as the id of an event: for each topic, in the order of their
// names, the next offset of each partition.
func appendID(b []byte, at rows.Position) []byte {
	for i, topic := range slices.Sorted(maps.Keys(at)) {
		if i > 0 {
			b = append(b, '/')
		}
		for j, p := range slices.Sorted(maps.Keys(at[topic])) {
			if j > 0 {
				b = append(b, '-')
			}
			b = strconv.AppendInt(b, at[topic][p], 10)
		}
	}
	return b
}

// readID reads the id of an event of the topics that at has.
func readID(id string, at rows.Position) (rows.Position, error) {
	names := slices.Sorted(maps.Keys(at))
	parts := strings.Split(id, "/")
	if len(parts) != len(names) {
		return nil, errID
	}
	read := rows.Position{}
	for i, topic := range names {
		offsets := strings.Split(parts[i], "-")
		if len(offsets) != len(at[topic]) {
			return nil, errID
		}
		for j, p := range slices.SortedFunc(maps.Keys(at[topic]), cmp.Compare) {
			n, err := strconv.ParseInt(offsets[j], 10, 64)
			if err != nil || n < 0 {
				return nil, errID
			}
			read.Merge(rows.Position{topic: {p: n}})
		}
	}
	return read, nil
}

var errID = fmt.Errorf("the id is not one of this query's")
