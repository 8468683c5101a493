package host

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/plugin/internal/block"
	"github.com/tidemill/tidemill/plugin/internal/line"
)

// questionLimit is how long a question may take that has no context of its own.
const questionLimit = time.Minute

// connector is a connector whose code is in a process. Before it is started, each
// question is put to a process of its own.
type connector struct {
	program *program
	class   line.Class
	log     *slog.Logger
	process *process
	env     connect.ConnectorEnv
	ending  atomic.Bool
	watched chan struct{} // Closed when nobody watches the process any more.

	mu       sync.Mutex // Guards what follows.
	asked    connect.Config
	delivery line.Answer
	failure  error // That the delivery could not be asked for.
}

// sourceConnector and sinkConnector are the two kinds.
type (
	sourceConnector struct{ connector }
	sinkConnector   struct{ connector }
)

// NewTask implements connect.SourceConnector.
func (c *sourceConnector) NewTask() connect.SourceTask {
	return &sourceTask{task: task{program: c.program, class: c.class}, connector: &c.connector}
}

// NewTask implements connect.SinkConnector.
func (c *sinkConnector) NewTask() connect.SinkTask {
	return &sinkTask{task: task{program: c.program, class: c.class}}
}

func (c *connector) target() line.Target { return targetOf(c.class) }

func targetOf(c line.Class) line.Target {
	return line.Target{Role: c.Role, Class: c.Class, Version: c.Version}
}

// Start implements connect.Connector.
func (c *connector) Start(ctx context.Context, env connect.ConnectorEnv) error {
	c.env = env
	r, err := c.program.launch(ctx, env.Log, c)
	if err != nil {
		return err
	}
	c.process, c.watched = r, make(chan struct{})
	go func() {
		defer close(c.watched)
		<-r.ended
		if !c.ending.Load() {
			env.Fail(r.failure())
		}
	}()
	context.AfterFunc(ctx, func() { r.line.Notify(line.End, nil) })
	_, err = r.call(ctx, line.StartConnector, line.Pack(line.Start{
		Target: c.target(), Name: env.Name, Config: env.Config, Debug: env.Log.Enabled(ctx, slog.LevelDebug),
	}))
	return err
}

// TaskConfigs implements connect.Connector.
func (c *connector) TaskConfigs(ctx context.Context, most int) ([]connect.Config, error) {
	body, err := c.process.call(ctx, line.TaskConfigs, line.Pack(most))
	if err != nil {
		return nil, err
	}
	return line.Unpack[[]connect.Config](body)
}

// Stop implements connect.Connector.
func (c *connector) Stop(ctx context.Context) error {
	if c.process == nil {
		return nil
	}
	c.ending.Store(true)
	defer context.AfterFunc(ctx, c.process.child.kill)()
	_, err := c.process.call(ctx, line.Stop, nil)
	c.process.close()
	<-c.watched
	return err
}

// Notified implements line.Handler.
func (c *connector) Notified(m line.Method, body []byte) {
	switch m {
	case line.Log:
		relay(c.env.Log, body)
	case line.Reconfigure:
		c.env.Reconfigure()
	case line.Fail:
		c.env.Fail(line.UnpackError(body))
	}
}

// Called implements line.Handler.
func (c *connector) Called(_ context.Context, m line.Method, _ []byte) ([]byte, error) {
	return nil, unserved(m)
}

// ask puts a question.
func (c *connector) ask(ctx context.Context, m line.Method, q line.Question) (line.Answer, error) {
	q.Target = c.target()
	var body []byte
	var err error
	if c.process != nil && !c.ending.Load() {
		body, err = c.process.call(ctx, m, line.Pack(q))
	} else {
		body, err = c.program.question(ctx, c.log, m, line.Pack(q))
	}
	if err != nil {
		return line.Answer{}, err
	}
	return line.Unpack[line.Answer](body)
}

// Validate implements connect.Validator: all of the plugin's checks are made by its
// process, those of single settings included.
func (c *connector) Validate(ctx context.Context, config connect.Config, values connect.ConfigValues) {
	a, err := c.ask(ctx, line.Validate, line.Question{Config: config})
	if err != nil {
		values.AddError("connector.class", err.Error())
		return
	}
	maps.Copy(values, a.Values)
}

// deliver asks how a source can be delivered. A task of this connector does not start when
// that could not be found out.
func (c *connector) deliver(config connect.Config) line.Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked != nil && c.failure == nil && maps.Equal(c.asked, config) {
		return c.delivery
	}
	ctx, cancel := context.WithTimeout(context.Background(), questionLimit)
	defer cancel()
	c.asked = config
	c.delivery, c.failure = c.ask(ctx, line.Delivery, line.Question{Config: config})
	if c.failure != nil {
		c.log.Warn("the plugin could not be asked how it can be delivered", "class", c.class.Class, "error", c.failure)
	}
	return c.delivery
}

func (c *connector) deliveryFailure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// ExactlyOnce implements connect.ExactlyOnceSource.
func (c *sourceConnector) ExactlyOnce(config connect.Config) bool {
	return c.deliver(config).ExactlyOnce
}

// DefinesBoundaries implements connect.ExactlyOnceSource.
func (c *sourceConnector) DefinesBoundaries(config connect.Config) bool {
	return c.deliver(config).Boundaries
}

// AlterOffsets implements connect.OffsetAlterer.
func (c *connector) AlterOffsets(ctx context.Context, config connect.Config, offsets map[connect.SourcePartition][]byte) (bool, error) {
	a, err := c.ask(ctx, line.AlterOffsets, line.Question{Config: config, Offsets: texts(offsets)})
	return a.Did, err
}

// Remedy implements connect.OffsetAlterer.
func (c *connector) Remedy(ctx context.Context, config connect.Config, name string, offsets map[connect.SourcePartition][]byte) (map[connect.SourcePartition][]byte, string, error) {
	a, err := c.ask(ctx, line.Remedy, line.Question{Config: config, Name: name, Offsets: texts(offsets)})
	if err != nil {
		return nil, "", err
	}
	changed := map[connect.SourcePartition][]byte{}
	for text, offset := range a.Offsets {
		p, err := block.ParsePartition(text)
		if err != nil {
			return nil, "", err
		}
		changed[p] = []byte(offset)
		if offset == "" {
			changed[p] = nil
		}
	}
	return changed, a.Told, nil
}

// Retire implements connect.OffsetAlterer.
func (c *connector) Retire(ctx context.Context, config connect.Config, drop bool) (string, error) {
	a, err := c.ask(ctx, line.Retire, line.Question{Config: config, Drop: drop})
	return a.Told, err
}

// texts are offsets as they travel; none is empty.
func texts(offsets map[connect.SourcePartition][]byte) map[string]string {
	all := make(map[string]string, len(offsets))
	for p, offset := range offsets {
		all[p.JSON()] = string(offset)
	}
	return all
}
