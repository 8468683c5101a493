package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// callLimit is how long a connector may take to start or to divide its work. A
// connector that takes longer is given up; its goroutine may still be there.
const callLimit = time.Minute

// connectorRun is a connector that has been started.
type connectorRun struct {
	plugin  connect.Connector
	source  bool
	config  connect.Config // As stored.
	values  connect.Config // Secrets resolved.
	cancel  context.CancelFunc
	version string
	ctx     context.Context
	blocked bool // A call of the plugin has not come back.
}

// startConnector makes a connector and starts it.
func startConnector(ctx context.Context, rt *runtime, env connect.ConnectorEnv, stored connect.Config) (*connectorRun, error) {
	values, err := rt.resolve(stored)
	if err != nil {
		return nil, fmt.Errorf("resolve secrets: %w", err)
	}
	plugin, source, version, err := connectorPlugin(rt, values)
	if err != nil {
		return nil, err
	}
	c := &connectorRun{plugin: plugin, source: source, config: stored, values: values, version: version}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	env.Config = values
	err = c.call(ctx, callLimit, "starting the connector", func() error { return plugin.Start(c.ctx, env) })
	if err != nil {
		c.stop(graceful(rt.settings), env.Log)
		return nil, err
	}
	return c, nil
}

// call calls the connector, unless an earlier call has never come back.
func (c *connectorRun) call(ctx context.Context, limit time.Duration, what string, f func() error) error {
	if c.blocked {
		return &connect.Error{Code: "connector.blocked", Message: what + " is not possible, since an earlier call still blocks"}
	}
	err := bounded(ctx, limit, what, f)
	_, c.blocked = errors.AsType[*givenUp](err)
	return err
}

// stop stops the connector, or gives it up.
func (c *connectorRun) stop(wait time.Duration, log *slog.Logger) {
	defer c.cancel()
	if c.blocked {
		return // All that can be done is to end its context.
	}
	ctx, cancel := context.WithTimeout(c.ctx, wait)
	defer cancel()
	err := c.call(context.Background(), wait, "stopping the connector", func() error { return c.plugin.Stop(ctx) })
	if err != nil {
		log.Warn("the connector did not stop well", "error", err)
	}
}

// taskConfigs asks how the work is divided, and returns the configurations as they
// are stored: with references in the place of secrets, and what the worker adds.
func (c *connectorRun) taskConfigs(ctx context.Context, name string) ([]connect.Config, error) {
	s, err := frameworkDef(c.source).Parse(c.values)
	if err != nil {
		return nil, err
	}
	most := s.Int("tasks.max")
	var configs []connect.Config
	err = c.call(ctx, callLimit, "generating task configs", func() (err error) {
		configs, err = c.plugin.TaskConfigs(c.ctx, most)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(configs) > most && s.Bool("tasks.max.enforce") {
		return nil, &connect.Error{
			Code: "connector.too_many_tasks", Class: connect.ClassConfig,
			Message: fmt.Sprintf("The connector %s has generated %d tasks, which is greater than %d, the maximum number of tasks it is configured to create. ", name, len(configs), most),
			Mend:    "raise tasks.max",
		}
	}
	stored := make([]connect.Config, len(configs))
	for i, config := range configs {
		stored[i] = c.storedTask(config)
	}
	return stored, nil
}

// storedTask returns a task's configuration as it may be seen: where the connector
// took over a setting of its own whose value came from a reference, the reference
// stands again.
func (c *connectorRun) storedTask(config connect.Config) connect.Config {
	stored := make(connect.Config, len(config)+2)
	for k, v := range config {
		if raw, ok := c.config[k]; ok && raw != v && c.values[k] == v {
			v = raw
		}
		stored[k] = v
	}
	stored["task.class"] = taskClass(c.config["connector.class"])
	if !c.source {
		for _, k := range []string{"topics", "topics.regex"} {
			if v, ok := c.config[k]; ok {
				stored[k] = v
			}
		}
	}
	return stored
}

// bounded calls plugin code in a goroutine of its own and waits at most for the limit
// or for ctx. What does not return then is given up: Go cannot end it.
func bounded(ctx context.Context, limit time.Duration, what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- guard(what, f) }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		// It may just be about to return.
		select {
		case err := <-done:
			return err
		case <-time.After(100 * time.Millisecond):
			return &givenUp{ctx.Err()}
		}
	case <-timer.C:
		return &givenUp{&connect.Error{
			Code: "connector.blocked", Message: fmt.Sprintf("%s took longer than %s and was given up", what, limit),
			Mend: "look at what the connector waits for, then restart it",
		}}
	}
}

// givenUp is the error of a call that has not come back.
type givenUp struct{ cause error }

// Error implements error.
func (e *givenUp) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *givenUp) Unwrap() error { return e.cause }
