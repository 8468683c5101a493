package postgres

import (
	"context"

	"github.com/tidemill/tidemill/connect"
)

// Version is the version of the connector, which source blocks carry.
const Version = "0.1.0"

// Plugin is the entry for the list of plugins: Debezium's class name, so that its
// configurations work unchanged.
func Plugin() connect.Plugin[connect.SourceConnector] {
	return connect.Plugin[connect.SourceConnector]{
		Class:   "io.debezium.connector.postgresql.PostgresConnector",
		Aliases: []string{"tidemill.PostgresSource", "PostgresSource"},
		Version: Version,
		Doc:     "Captures the rows and changes of PostgreSQL tables, from a consistent snapshot and the write-ahead log.",
		Config:  configDef(),
		New:     func() connect.SourceConnector { return &connector{} },
	}
}

// connector plans the work: there is one slot, hence one task.
type connector struct {
	config connect.Config
}

// Start keeps the configuration.
func (c *connector) Start(_ context.Context, env connect.ConnectorEnv) error {
	c.config = env.Config
	_, err := newSettings(env.Config)
	return err
}

// TaskConfigs returns the one task's configuration.
func (c *connector) TaskConfigs(context.Context, int) ([]connect.Config, error) {
	return []connect.Config{c.config}, nil
}

// Stop has nothing to release.
func (c *connector) Stop(context.Context) error { return nil }

// NewTask returns a task.
func (c *connector) NewTask() connect.SourceTask { return newTask() }

// ExactlyOnce is always possible: every record's position is one to resume from.
func (c *connector) ExactlyOnce(connect.Config) bool { return true }

// DefinesBoundaries tells that records carry the ends of their transactions.
func (c *connector) DefinesBoundaries(connect.Config) bool { return true }
