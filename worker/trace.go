package worker

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// guard calls plugin code. A panic becomes an error: it may take down the task it
// happens in, and nothing else.
func guard(what string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError(what, p)
		}
	}()
	return f()
}

// panicError is the error of a panic that was just recovered from.
func panicError(what string, p any) error {
	return &connect.Error{
		Code: "task.panic", Place: what, Message: fmt.Sprint(p),
		Mend:  "this is a fault of the plugin; report it with the trace",
		Cause: &panicked{stack: strings.TrimSpace(string(debug.Stack()))},
	}
}

// panicked holds where a panic happened. It says nothing in one line.
type panicked struct{ stack string }

// Error implements error.
func (p *panicked) Error() string { return "the plugin's code panicked" }

// trace renders an error for a status: the error in the first line, then what it
// wraps and, for a panic, the stack.
func trace(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	lines := []string{first}
	if all := err.Error(); all != first {
		lines = append(lines, strings.TrimPrefix(all, first+"\n"))
	}
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(cause) {
		if text := cause.Error(); text != lines[len(lines)-1] {
			lines = append(lines, "Caused by: "+text)
		}
	}
	if p, ok := errors.AsType[*panicked](err); ok {
		lines = append(lines, p.stack)
	}
	return strings.Join(lines, "\n")
}

// brokerError gives an error of the brokers a code, and says whether it may pass.
func brokerError(code, message string, err error) error {
	e := &connect.Error{Code: code, Class: connect.ClassRetriable, Message: message, Cause: err}
	for _, lasting := range []struct {
		err  error
		mend string
	}{
		{kerr.TopicAuthorizationFailed, "grant the connector's user the right to the topic"},
		{kerr.GroupAuthorizationFailed, "grant the connector's user Read on its group"},
		{kerr.TransactionalIDAuthorizationFailed, "grant the connector's user Write and Describe on its transactional ids"},
		{kerr.ClusterAuthorizationFailed, "grant the connector's user IdempotentWrite on the cluster"},
		{kerr.FencedInstanceID, "another task has taken this one's place: look for a second worker with the same group.id, or a second user of the same consumer.override.group.instance.id"},
		{kerr.SaslAuthenticationFailed, "check user and password"},
		{kerr.InvalidTransactionTimeout, "set producer.override.transaction.timeout.ms to what the brokers allow (transaction.max.timeout.ms)"},
		{kerr.MessageTooLarge, "raise producer.override.max.request.size and the topic's max.message.bytes, or leave such records out with errors.tolerance=all"},
		{kerr.InvalidTopicException, "the name is no topic's: change it with a transform such as RegexRouter"},
	} {
		if errors.Is(err, lasting.err) {
			e.Class, e.Mend = connect.ClassFatal, lasting.mend
		}
	}
	return e
}

// produceError is the error of a record the brokers did not take.
func produceError(r *kgo.Record, err error) error {
	e := brokerError("kafka.produce", "a record could not be written", err).(*connect.Error)
	e.Place = "topic " + r.Topic
	return e
}
