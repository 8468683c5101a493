package worker

import (
	"context"
	"sync"

	"github.com/tidemill/tidemill/internal/kafkalog"
)

// journal is where the records of an internal topic are kept: the topic itself, or
// memory or a file when the worker is standalone. Put returns when the entries are
// safe; every record, also one's own, arrives at the journal's apply function.
type journal interface {
	Put(ctx context.Context, entries ...kafkalog.Entry) error
	// ReadToEnd returns when everything written before the call has been applied.
	ReadToEnd(ctx context.Context) error
	Run(ctx context.Context) error
	Close()
}

// memoryJournal forgets everything at the end.
type memoryJournal struct {
	mu    sync.Mutex // Held while apply is called.
	apply func(kafkalog.Record)
}

func (j *memoryJournal) Put(_ context.Context, entries ...kafkalog.Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range entries {
		j.apply(kafkalog.Record{Key: e.Key, Value: e.Value})
	}
	return nil
}

func (j *memoryJournal) ReadToEnd(context.Context) error { return nil }
func (j *memoryJournal) Close()                          {}

func (j *memoryJournal) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
