package main

import (
	"context"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql"
	"github.com/tidemill/tidemill/worker"
)

// sqlConnectors lets SQL's CREATE CONNECTOR, DROP CONNECTOR and SHOW CONNECTORS act on
// the worker's connectors.
type sqlConnectors struct{ herder *worker.Herder }

// Create implements sql.Connectors.
func (c sqlConnectors) Create(ctx context.Context, name string, config map[string]string) error {
	_, err := c.herder.Create(ctx, worker.CreateRequest{Name: name, Config: connect.Config(config)})
	return err
}

// Drop implements sql.Connectors.
func (c sqlConnectors) Drop(ctx context.Context, name string) error {
	_, err := c.herder.Delete(ctx, name, false)
	return err
}

// List implements sql.Connectors. A connector whose state is not known yet is shown
// as UNASSIGNED.
func (c sqlConnectors) List(context.Context) ([]sql.ConnectorInfo, error) {
	var list []sql.ConnectorInfo
	for _, name := range c.herder.Connectors() {
		info, err := c.herder.Connector(name)
		if err != nil {
			continue // Deleted meanwhile.
		}
		one := sql.ConnectorInfo{Name: name, Type: info.Type, ClassName: info.Config["connector.class"], State: "UNASSIGNED"}
		if status, err := c.herder.Status(name); err == nil {
			one.State = status.Connector.State
		}
		list = append(list, one)
	}
	return list, nil
}
