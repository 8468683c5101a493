package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/rest"
	"github.com/tidemill/tidemill/streams/sql"
	"github.com/tidemill/tidemill/worker"
)

// sqlConnectors lets SQL's CREATE CONNECTOR, DROP CONNECTOR and SHOW CONNECTORS act on
// the worker's connectors. What the leader of the group has to do is asked of it.
type sqlConnectors struct {
	herder *worker.Herder
	peers  *http.Client
}

// Create implements sql.Connectors.
func (c sqlConnectors) Create(ctx context.Context, name string, config map[string]string) error {
	request := worker.CreateRequest{Name: name, Config: connect.Config(config)}
	_, err := c.herder.Create(ctx, request)
	if there, ok := errors.AsType[*worker.Elsewhere](err); ok {
		body, err := json.Marshal(map[string]any{"name": name, "config": config})
		if err != nil {
			return err
		}
		return c.ask(ctx, http.MethodPost, there.URL+"connectors", body)
	}
	return err
}

// Drop implements sql.Connectors.
func (c sqlConnectors) Drop(ctx context.Context, name string) error {
	_, err := c.herder.Delete(ctx, name, false)
	if there, ok := errors.AsType[*worker.Elsewhere](err); ok {
		return c.ask(ctx, http.MethodDelete, there.URL+"connectors/"+url.PathEscape(name), nil)
	}
	return err
}

// askLimit bounds the bytes of another worker's answer.
const askLimit = 1 << 20

// ask sends a request to another worker in the name of who has sent the statement, and
// returns when what it has done is known here.
func (c sqlConnectors) ask(ctx context.Context, method, address string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, address+"?forward=true", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if caller := rest.Authorization(ctx); caller != "" {
		req.Header.Set("Authorization", caller)
	}
	resp, err := c.peers.Do(req)
	if err != nil {
		return &connect.Error{Code: "worker.leader", Class: connect.ClassRetriable, Place: address, Message: "the leader of the workers does not answer", Cause: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, askLimit))
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		var said struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(text, &said) != nil || said.Message == "" {
			said.Message = strings.TrimSpace(string(text))
		}
		return &connect.Error{Code: "worker.leader", Class: connect.ClassConfig, Message: fmt.Sprintf("the leader of the workers answers %d: %s", resp.StatusCode, said.Message)}
	}
	return c.herder.CatchUp(ctx)
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
