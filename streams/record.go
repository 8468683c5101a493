package streams

import "github.com/twmb/franz-go/pkg/kgo"

// Header is one header of a Kafka record.
type Header = kgo.RecordHeader

// Record is one record on its way through a topology. An operator that receives
// one reads it during the call and does not change it; what it passes on is a
// record of its own.
type Record[K, V any] struct {
	Key   K
	Value V
	// NoKey and NoValue say that Kafka's key or value was null, in which case
	// Key or Value is the zero value. A record without value deletes its key
	// where it meets a table.
	NoKey, NoValue bool
	// Time is the record's timestamp in milliseconds since the epoch.
	Time int64
	// Headers travel with the record that triggered an output.
	Headers []Header
}

// Change is what travels between the operators of a table: the row of a key
// before and after. An insert has no old row, a delete no new one. Old rows are
// only there where an operator further down asked for them.
type Change[V any] struct {
	Old, New       V
	HasOld, HasNew bool
	// Past says that New, or that there is none, is of a time before that of the row
	// that the key has, which is Old: the table keeps versions, and has a later one.
	// Who wants the rows there are passes it over.
	Past bool
}

// receiver is an operator's input.
type receiver[K, V any] interface {
	receive(r *Record[K, V]) error
}

// feeder is an operator's output, to which other operators' inputs are attached
// when a task is built.
type feeder[K, V any] interface {
	attach(t *task, r receiver[K, V])
}

// fan is the output that operators embed.
type fan[K, V any] struct {
	to   []receiver[K, V]
	task *task // decides on errors
}

func (f *fan[K, V]) attach(t *task, r receiver[K, V]) { f.to, f.task = append(f.to, r), t }

func (f *fan[K, V]) forward(r *Record[K, V]) error {
	for _, to := range f.to {
		if err := to.receive(r); err != nil {
			if err = f.task.caught(to, err); err != nil {
				return err
			}
		}
	}
	return nil
}
