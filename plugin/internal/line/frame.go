package line

import (
	"encoding/binary"
	"fmt"
)

// kind says what a message is.
type kind byte

const (
	kindCall kind = iota + 1
	kindReply
	kindFailure
	kindCancel
	kindNotice
)

// frame is the head of a message: its kind, the method, and the number of the call, which
// the calling end gives.
type frame struct {
	kind   kind
	method Method
	id     uint64
}

// headSize is the size of a head in bytes.
const headSize = 10

func (f frame) head() []byte {
	return binary.LittleEndian.AppendUint64(append(make([]byte, 0, headSize), byte(f.kind), byte(f.method)), f.id)
}

func parseHead(head []byte) (frame, error) {
	if len(head) != headSize || head[0] == 0 || kind(head[0]) > kindNotice {
		return frame{}, fmt.Errorf("a message of %d bytes has no head that is understood", len(head))
	}
	return frame{kind: kind(head[0]), method: Method(head[1]), id: binary.LittleEndian.Uint64(head[2:])}, nil
}

// Method names what is asked for.
type Method byte

// What a worker asks of a plugin's process. The process is for one thing: questions, a
// connector, a task, or a transform, predicate or converter of one; the first call says which.
const (
	Describe Method = iota + 1
	Validate
	Delivery
	AlterOffsets
	Remedy
	Retire
	StartConnector
	TaskConfigs
	StartSource
	Poll
	Commit
	StartSink
	Put
	PreCommit
	Open
	Close
	Stop
	Signal
	Consumed
	// End is a notice: the life of connector or task is over.
	End

	// What a plugin asks of its worker; the first are notices.
	Log
	Figures
	Show
	Reconfigure
	Fail
	StoredOffset
	Refresh
	Consume
	Assignment
	Pause
	Resume
	Seek
	RequestCommit
	Report
	AwaitLetter

	// What a worker asks of the process of a transform, predicate or converter. They stand
	// here since the numbers of those above are known to programs that were built before.
	StartStep
	Apply
	Encode
	Decode
	Probe
)

var methodNames = [...]string{
	"", "describe", "validate", "exactly-once support", "alter offsets", "remedy", "retire", "start", "task configs", "start", "poll", "commit",
	"start", "put", "pre-commit", "open", "close", "stop", "signal", "consumed", "end",
	"log", "figures", "show", "reconfigure", "fail", "stored offset", "refresh", "consume", "assignment", "pause", "resume", "seek",
	"request commit", "report", "await letter", "start", "apply", "encode", "decode", "probe",
}

// String returns the method's name for messages.
func (m Method) String() string {
	if int(m) < len(methodNames) {
		return methodNames[m]
	}
	return fmt.Sprintf("method %d", byte(m))
}
