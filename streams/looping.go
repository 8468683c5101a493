package streams

import (
	"github.com/twmb/franz-go/pkg/kgo"
)

// looping keeps what goes to repartition topics in the process, in transaction mode, and
// lets the rest pass.
type looping struct {
	collector
	e *epochs
	// begin opens a Kafka transaction, unless one is open: as late as possible, because
	// brokers abort one that takes long. It is nil where there are none.
	begin func() error
}

func (l looping) produce(r *kgo.Record, promise func(*kgo.Record, error)) {
	looped, err := l.e.loop(r)
	if err == nil && !looped && l.begin != nil {
		err = l.begin()
	}
	switch {
	case err != nil:
		l.failed(r, err)
	case !looped:
		l.collector.produce(r, promise)
	}
}
