package worker

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// The memory that records of a connector may take is bounded by memory.max.bytes, which its
// tasks share in equal parts. A source's part bounds what is on its way to Kafka: when it
// is used up, Poll is not called. Half of a sink's part bounds what was fetched and not yet
// put; the other half is for the batch in hand and for letters on their way. Fetches are
// counted as they come from the brokers: compressed.
//
// What a plugin holds by itself is bounded by its own settings, such as
// max.queue.size.in.bytes.

// memoryKey is the setting, of the worker and of the connector over it.
const memoryKey = "memory.max.bytes"

// memoryLeast is the least a task is given: with less, nothing would move.
const memoryLeast = 256 << 10

// memoryShare returns how many bytes one of a connector's tasks may hold.
func memoryShare(worker connect.Settings, config connect.Config, among int) int64 {
	most := worker.Int64(memoryKey)
	own, _ := connect.NewConfigDef(overWorker()...).OpenTo(func(string) bool { return true }).Parse(config)
	if own.Given(memoryKey) {
		most = own.Int64(memoryKey)
	}
	return max(most/int64(max(among, 1)), memoryLeast)
}

// producing returns the bytes a source task may have on their way, and the options that
// stand behind that bound. A record larger than the bound is sent alone.
func (t *sourceTask) producing(props connect.Config) (room int64, opts []kgo.Opt) {
	room = min(t.rt.settings.Int64("producer.buffer.bytes"), t.memory)
	return room, []kgo.Opt{kgo.MaxBufferedBytes(int(2*room) + 2*largestRecord(props)), kgo.MaxBufferedRecords(1 << 22)}
}

// largestRecord returns how large a record a producer takes.
func largestRecord(props connect.Config) int {
	r := &clientReader{props: props}
	n, _ := r.number("max.request.size")
	return max(n, 1<<20)
}

// fetchMost is the most bytes of one fetch, unless settings or memory say less.
const fetchMost = 16 << 20

// fetching returns the options that bound what a sink task has fetched: one fetch from
// each broker. A batch larger than its bound is fetched alone, as brokers do it.
func (t *sinkTask) fetching(props connect.Config) []kgo.Opt {
	most := min(fetchMost, t.memory/2/int64(max(t.rt.brokers, 1)))
	bound := func(name string, of int64) int32 {
		r := &clientReader{props: props}
		if n, ok := r.number(name); ok && n > 0 {
			return int32(min(int64(n), of))
		}
		return int32(of)
	}
	return []kgo.Opt{
		kgo.FetchMaxBytes(bound("fetch.max.bytes", most)),
		kgo.FetchMaxPartitionBytes(min(bound("max.partition.fetch.bytes", 1<<20), int32(most))),
	}
}

// holding counts what a task holds, for whoever scrapes.
type holding struct {
	producer, consumer atomic.Pointer[kgo.Client]
	batch              atomic.Int64 // Of a sink: bytes of the records being put.
}

// bytes returns how many bytes of records the task holds now.
func (h *holding) bytes() (n int64) {
	if c := h.producer.Load(); c != nil {
		n += c.BufferedProduceBytes()
	}
	if c := h.consumer.Load(); c != nil {
		n += c.BufferedFetchBytes()
	}
	return n + h.batch.Load()
}

// over says that the task has ended and holds nothing.
func (h *holding) over() {
	h.producer.Store(nil)
	h.consumer.Store(nil)
	h.batch.Store(0)
}
