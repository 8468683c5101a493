package fault

import (
	"errors"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// Stage is what was being done with a record.
type Stage string

// The stages, which are those of Kafka Streams' three exception handlers:
// deserialization, processing (KIP-1033) and production (KIP-210). A value that its
// Serde refuses to write fails at Writing, as does a record the broker refuses.
const (
	Reading    Stage = "reading"
	Processing Stage = "processing"
	Writing    Stage = "writing"
)

// Verdict is what becomes of a record at fault.
type Verdict int

// The verdicts. Fail stops the application until it is resumed; Continue passes the
// record over, where it failed: what other operators make of it stays; Retry takes
// the application back to its last commit, from where it tries again, after a pause
// that grows from one time to the next.
const (
	Fail Verdict = iota
	Continue
	Retry
)

// Fault is a record that could not be dealt with, and why.
type Fault struct {
	Stage Stage
	// App, Task and Node name the application, the task and the operator. Node is
	// empty when it was the broker that refused a record.
	App, Task, Node string
	// Topic, Partition and Offset are where the input record is that was being
	// processed. Topic is empty when it was none: in punctuation, when caches are
	// flushed, and when the broker refuses a record later.
	Topic     string
	Partition int32
	Offset    int64
	// Key, Value, Time and Headers are the input record's, as they are in Kafka, or,
	// when there is none, those of the record that was to be written. A nil Key or
	// Value is null. They are not changed, nor kept after the call.
	Key, Value []byte
	Time       int64 // in milliseconds since the epoch
	Headers    []kgo.RecordHeader
	// To is the topic that refused a record.
	To string
	// Err is what went wrong.
	Err error
}

// Skip passes over whatever is at fault.
func Skip(*Fault) Verdict { return Continue }

// SkipUnreadable passes over records that cannot be decoded.
func SkipUnreadable(f *Fault) Verdict {
	if f.Stage == Reading {
		return Continue
	}
	return Fail
}

// The headers of a dead letter, as Kafka Streams writes them (KIP-1034). Exception
// has the error's code and message, Message the message, Stacktrace the chain of
// causes, one on a line. Topic, Partition and Offset, all three as text, say where
// the input record is, and are left out when there is none.
const (
	HeaderException  = "__streams.errors.exception"
	HeaderMessage    = "__streams.errors.message"
	HeaderStacktrace = "__streams.errors.stacktrace"
	HeaderTopic      = "__streams.errors.topic"
	HeaderPartition  = "__streams.errors.partition"
	HeaderOffset     = "__streams.errors.offset"
)

// DeadLetter returns the record that tells of f in a dead letter topic: key, value,
// time and headers of the record at fault, and the headers of KIP-1034 after them.
func (f *Fault) DeadLetter(topic string) *kgo.Record {
	e := connect.AsError(f.Err)
	message := e.Message
	if message == "" {
		message = f.Err.Error()
	}
	var chain []string
	for err := f.Err; err != nil; err = errors.Unwrap(err) {
		chain = append(chain, err.Error())
	}
	r := &kgo.Record{Topic: topic, Key: clone(f.Key), Value: clone(f.Value)}
	r.Headers = append(append(r.Headers, f.Headers...),
		header(HeaderException, f.Err.Error()),
		header(HeaderMessage, message),
		header(HeaderStacktrace, strings.Join(chain, "\n")),
	)
	if f.Topic != "" {
		r.Headers = append(r.Headers,
			header(HeaderTopic, f.Topic),
			header(HeaderPartition, strconv.Itoa(int(f.Partition))),
			header(HeaderOffset, strconv.FormatInt(f.Offset, 10)),
		)
	}
	return r
}

// clone copies b and leaves null what is null.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

func header(key, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: key, Value: []byte(value)}
}

// Place says in words where the fault is.
func (f *Fault) Place() string {
	switch {
	case f.Topic != "":
		return "topic " + f.Topic + ", partition " + strconv.Itoa(int(f.Partition)) + ", offset " + strconv.FormatInt(f.Offset, 10)
	case f.To != "":
		return "topic " + f.To
	}
	return "operator " + f.Node + ", task " + f.Task
}
