package postgres

import (
	"context"

	"github.com/tidemill/tidemill/connect"
)

// Plugins returns the entries for the list of sinks: one with defaults that keep a
// table equal to its topic, and one for the configurations of JDBC sink connectors,
// with the defaults of those.
func Plugins() []connect.Plugin[connect.SinkConnector] {
	entry := func(d defaults, doc, class string, aliases ...string) connect.Plugin[connect.SinkConnector] {
		return connect.Plugin[connect.SinkConnector]{
			Class: class, Aliases: aliases, Doc: doc, Config: configDef(d),
			New: func() connect.SinkConnector { return &connector{defaults: d} },
		}
	}
	return []connect.Plugin[connect.SinkConnector]{
		entry(ours(), "Keeps tables of a PostgreSQL database equal to topics.", "tidemill.PostgresSink"),
		entry(jdbc(), "Writes records to PostgreSQL by the settings of the JDBC sink connectors.",
			"io.debezium.connector.jdbc.JdbcSinkConnector", "io.confluent.connect.jdbc.JdbcSinkConnector"),
	}
}

type connector struct {
	defaults defaults
	config   connect.Config
}

// Start implements connect.Connector.
func (c *connector) Start(_ context.Context, env connect.ConnectorEnv) error {
	if _, _, err := parse(c.defaults, env.Config); err != nil {
		return err
	}
	c.config = env.Config
	return nil
}

// TaskConfigs gives every task the same configuration: Kafka divides the work.
func (c *connector) TaskConfigs(_ context.Context, max int) ([]connect.Config, error) {
	configs := make([]connect.Config, max)
	for i := range configs {
		configs[i] = c.config
	}
	return configs, nil
}

// Stop implements connect.Connector.
func (c *connector) Stop(context.Context) error { return nil }

// NewTask implements connect.SinkConnector.
func (c *connector) NewTask() connect.SinkTask { return &task{defaults: c.defaults} }
