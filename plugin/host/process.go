package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// startLimit is how long a process may take until it can be spoken to. A busy machine is
// no reason to fail.
const startLimit = time.Minute

// process is a plugin's process and the line to it.
type process struct {
	program *program
	client  *goplugin.Client
	child   *child
	line    *line.Line
	output  *output
	hangUp  context.CancelFunc
	ended   chan struct{} // Closed when nothing is heard any more.
	once    sync.Once
}

// launch starts a process. log takes what it writes; handler serves it. It is the caller's
// to close.
func (p *program) launch(ctx context.Context, log *slog.Logger, handler line.Handler) (*process, error) {
	if now, err := trusted(p.path); err != nil || now != p.mark {
		if p.changed != nil {
			p.changed()
		}
		return nil, &connect.Error{
			Code: "plugin.changed", Class: connect.ClassRetriable, Place: p.path, Message: "the file is not the one that was asked what it holds", Cause: err,
			Mend: "the next start takes what is in plugin.path now",
		}
	}
	r := &process{program: p, child: newChild(p.path), output: newOutput(log), ended: make(chan struct{})}
	r.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: line.Handshake(), Plugins: goplugin.PluginSet{line.Name: line.ClientEnd{}},
		RunnerFunc: func(_ hclog.Logger, told *exec.Cmd, dir string) (runner.Runner, error) {
			return r.child, r.child.prepare(told.Env, dir)
		},
		StartTimeout: startLimit, AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC}, SkipHostEnv: true,
		Stderr: r.output, SyncStdout: r.output, SyncStderr: r.output, Logger: hclog.NewNullLogger(), GRPCDialOptions: line.DialOptions(),
	})
	stop := context.AfterFunc(ctx, r.child.kill)
	stream, hangUp, err := r.connect()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		r.client.Kill()
		r.child.clean()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &connect.Error{
			Code: "plugin.start", Class: connect.ClassRetriable, Place: p.path, Message: "the plugin's process does not start" + r.output.reason(), Cause: err,
			Mend: "start the file by hand: a plugin says what it holds",
		}
	}
	r.hangUp, r.line = hangUp, line.New(stream, handler)
	go func() {
		defer close(r.ended)
		_ = r.line.Run() // Why it ended is told by failure.
	}()
	return r, nil
}

// connect waits until the process can be spoken to.
func (r *process) connect() (line.Stream, context.CancelFunc, error) {
	protocol, err := r.client.Client()
	if err != nil {
		return nil, nil, err
	}
	dispensed, err := protocol.Dispense(line.Name)
	if err != nil {
		return nil, nil, err
	}
	connection, ok := dispensed.(*grpc.ClientConn)
	if !ok {
		return nil, nil, errors.New("there is no connection")
	}
	ctx, hangUp := context.WithCancel(context.Background())
	stream, err := line.Dial(ctx, connection)
	if err != nil {
		hangUp()
		return nil, nil, err
	}
	return stream, hangUp, nil
}

// close ends the process, whatever it does, and waits until it is gone. Who has stopped
// what runs in it, or has its answer, needs nothing more of it.
func (r *process) close() {
	r.once.Do(func() {
		r.hangUp()
		r.child.kill()
		<-r.ended
		r.client.Kill()
		r.child.clean()
	})
}

// call calls the process; see [line.Line.Call].
func (r *process) call(ctx context.Context, m line.Method, body []byte) ([]byte, error) {
	reply, err := r.line.Call(ctx, m, body)
	return reply, r.explain(err)
}

// callServing is call for methods of a task, whose wishes are served meanwhile by the
// calling goroutine.
func (r *process) callServing(ctx context.Context, m line.Method, body []byte) ([]byte, error) {
	reply, err := r.line.CallServing(ctx, m, body)
	return reply, r.explain(err)
}

// explain says why a call failed when it was because the process has ended, and ends a
// process that does not return from a call.
func (r *process) explain(err error) error {
	if errors.Is(err, line.ErrEnded) {
		return r.failure()
	}
	if e, ok := errors.AsType[*connect.Error](err); ok && e.Code == "plugin.blocked" {
		r.hangUp()
		r.child.kill()
	}
	return err
}

// endLimit is how long it may take to learn how a process has ended whose line is dead.
const endLimit = 30 * time.Second

// failure is the error of a process that has ended by itself.
func (r *process) failure() error {
	how := r.child.outcome(endLimit)
	return &connect.Error{
		Code: "plugin.ended", Class: connect.ClassRetriable, Place: fmt.Sprintf("%s process %d", r.program.path, r.child.pid()),
		Message: "the plugin's process has ended: " + how + r.output.reason(),
		Mend:    "nothing else is touched and the task starts again; the worker's log has what the process wrote last",
	}
}

// question starts a process, asks one thing and ends it.
func (p *program) question(ctx context.Context, log *slog.Logger, m line.Method, body []byte) ([]byte, error) {
	r, err := p.launch(ctx, log.With("file", p.path), nobody{})
	if err != nil {
		return nil, err
	}
	defer r.close()
	return r.call(ctx, m, body)
}

// nobody serves nothing.
type nobody struct{}

// Notified implements line.Handler.
func (nobody) Notified(line.Method, []byte) {}

// Called implements line.Handler.
func (nobody) Called(_ context.Context, m line.Method, _ []byte) ([]byte, error) {
	return nil, unserved(m)
}

func unserved(m line.Method) error {
	return &connect.Error{Code: "plugin.protocol", Message: fmt.Sprintf("the worker does not serve %q here", m)}
}
