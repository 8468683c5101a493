package plugin

import (
	"slices"
	"sync"

	"github.com/tidemill/tidemill/connect"
)

// kept are the offsets of the records that the worker has not yet told of: the task gets
// them back as it gave them. There are as many as records are on their way.
type kept struct {
	mu          sync.Mutex // Guards what follows.
	byPartition map[connect.SourcePartition]*keptQueue
	last        connect.SourcePartition
	lastQueue   *keptQueue
}

// keptQueue holds those of one partition in their order.
type keptQueue struct{ list []keptOffset }

type keptOffset struct {
	seq    uint64
	offset connect.Offset
}

func (k *kept) add(first uint64, records []connect.SourceRecord) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range records {
		r := &records[i]
		if r.SourceOffset == nil {
			continue
		}
		if k.lastQueue == nil || r.SourcePartition != k.last {
			k.last, k.lastQueue = r.SourcePartition, k.queue(r.SourcePartition)
		}
		k.lastQueue.list = append(k.lastQueue.list, keptOffset{first + uint64(i), r.SourceOffset})
	}
}

func (k *kept) queue(p connect.SourcePartition) *keptQueue {
	if k.byPartition == nil {
		k.byPartition = map[connect.SourcePartition]*keptQueue{}
	}
	q := k.byPartition[p]
	if q == nil {
		q = &keptQueue{}
		k.byPartition[p] = q
	}
	return q
}

// take returns the offset of a record and forgets those before it.
func (k *kept) take(p connect.SourcePartition, seq uint64) (connect.Offset, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	q := k.byPartition[p]
	if q == nil {
		return nil, false
	}
	drop := 0
	for drop < len(q.list) && q.list[drop].seq < seq {
		drop++
	}
	rest := q.list[drop:]
	if cap(q.list) > 4*len(rest)+1024 {
		q.list = slices.Clone(rest)
	} else {
		n := copy(q.list, rest)
		clear(q.list[n:])
		q.list = q.list[:n]
	}
	if len(q.list) == 0 || q.list[0].seq != seq {
		return nil, false
	}
	return q.list[0].offset, true
}
