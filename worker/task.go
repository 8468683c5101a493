package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/connect"
)

// runtime is what all connectors of a worker share.
type runtime struct {
	settings     connect.Settings
	raw          connect.Config
	plugins      connect.Plugins
	resolve      func(connect.Config) (connect.Config, error)
	log          *slog.Logger
	offsets      *offsetStore
	statuses     *statusStore
	metrics      *workerMetrics
	exactlyOnce  bool
	groupID      string
	offsetsTopic string
	// commitRecords is after how many finished records offsets are stored.
	commitRecords int
}

// trackTopic records that a task uses a topic, unless tracking is off.
func (rt *runtime) trackTopic(id TaskID, topic string) {
	if rt.settings.Bool("topic.tracking.enable") {
		rt.statuses.useTopic(id, topic)
	}
}

// taskSetup is what a source or sink task is made from.
type taskSetup struct {
	rt      *runtime
	id      TaskID
	config  connect.Config // The connector's, secrets resolved.
	task    connect.Config // The task's, secrets resolved.
	gate    *gate
	report  func(state, trace string)
	metrics *taskMetrics
}

// gate keeps a paused task waiting.
type gate struct {
	mu      sync.Mutex // Guards what follows.
	paused  bool
	changed chan struct{} // Closed, and replaced, at each change.
	// polling ends when the task is paused; parent is the run it was made for.
	parent, polling context.Context
	interrupt       context.CancelFunc
}

func newGate(paused bool) *gate { return &gate{paused: paused, changed: make(chan struct{})} }

func (g *gate) set(paused bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused == paused {
		return
	}
	g.paused = paused
	close(g.changed)
	g.changed = make(chan struct{})
	if g.interrupt != nil {
		g.interrupt()
		g.parent, g.polling, g.interrupt = nil, nil, nil
	}
}

// state returns whether the task is paused and what tells of a change. While it is
// not paused, it also returns a context under ctx that ends with the next pause; it
// is the same one until then, so that asking at each poll costs nothing.
func (g *gate) state(ctx context.Context) (polling context.Context, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused {
		return nil, g.changed
	}
	if g.parent != ctx {
		if g.interrupt != nil {
			g.interrupt()
		}
		g.parent = ctx
		g.polling, g.interrupt = context.WithCancel(ctx)
	}
	return g.polling, g.changed
}

// open waits while the task is paused, and returns a context that ends when it is
// paused anew. report is told of the states in between. The error is that of ctx.
func (g *gate) open(ctx context.Context, report func(state, trace string)) (context.Context, error) {
	for waited := false; ; waited = true {
		polling, changed := g.state(ctx)
		if polling != nil {
			if waited {
				report(stateRunning, "")
			}
			return polling, ctx.Err()
		}
		if !waited {
			report(statePaused, "")
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// guard calls plugin code. A panic becomes an error: it may take down the task it
// happens in, and nothing else.
func guard(what string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &connect.Error{
				Code: "task.panic", Place: what, Message: fmt.Sprint(p),
				Mend:  "this is a fault of the plugin; report it with the trace",
				Cause: &panicked{stack: strings.TrimSpace(string(debug.Stack()))},
			}
		}
	}()
	return f()
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

// restartPolicy says when a failed connector or task is started again.
type restartPolicy struct {
	enabled bool
	delay   time.Duration
	longest time.Duration
	most    int // Negative: without end.
}

// restartClears is how long a run must have lasted for former failures not to count.
const restartClears = time.Hour

// newRestartPolicy reads the worker's settings and the connector's over them.
func newRestartPolicy(worker connect.Settings, config connect.Config) restartPolicy {
	own, _ := connect.NewConfigDef(restartKeys()...).OpenTo(func(string) bool { return true }).Parse(config)
	pick := worker
	choose := func(name string) connect.Settings {
		if own.Given(name) {
			return own
		}
		return pick
	}
	return restartPolicy{
		enabled: !strings.EqualFold(choose("errors.restart.policy").String("errors.restart.policy"), "never"),
		delay:   choose("errors.restart.delay.ms").Duration("errors.restart.delay.ms"),
		longest: choose("errors.restart.delay.max.ms").Duration("errors.restart.delay.max.ms"),
		most:    choose("errors.restart.max").Int("errors.restart.max"),
	}
}

// next returns the wait before the given restart (from 0), and whether there is one
// after such an error.
func (p restartPolicy) next(err error, restart int) (time.Duration, bool) {
	e := connect.AsError(err)
	if !p.enabled || e.Class != connect.ClassRetriable || p.most >= 0 && restart >= p.most {
		return 0, false
	}
	wait := min(p.delay<<min(restart, 20), p.longest)
	// Up to a fifth more or less, so that what failed together does not start together.
	wait += time.Duration(rand.Int64N(int64(wait)/5*2+1)) - wait/5
	return max(wait, e.After), true
}
