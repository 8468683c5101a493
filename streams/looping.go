package streams

import (
	"github.com/twmb/franz-go/pkg/kgo"
)

// looping keeps what goes to repartition topics in the process, in transaction mode, and
// lets the rest pass.
type looping struct {
	collector
	e *epochs
}

func (l looping) produce(r *kgo.Record, promise func(*kgo.Record, error)) {
	looped, err := l.e.loop(r)
	switch {
	case err != nil:
		l.failed(r, err)
	case !looped:
		l.collector.produce(r, promise)
	}
}
