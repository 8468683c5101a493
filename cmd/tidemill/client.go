package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// client speaks the REST interfaces of Kafka Connect and ksqlDB to a worker.
type client struct {
	base string // Such as http://127.0.0.1:8083.
	http *http.Client
}

// newClient returns a client of the worker there, which shows who it is as the variables
// TIDEMILL_LOGIN_… say.
func newClient(base string) *client {
	return &client{base: strings.TrimSuffix(base, "/"), http: loginFrom(os.Getenv)}
}

// restError is an answer that says no.
type restError struct {
	status  int
	message string
}

func (e *restError) Error() string {
	return fmt.Sprintf("the worker answered %d: %s", e.status, e.message)
}

// call sends body as JSON and reads the answer into result; both may be nil.
func (c *client) call(ctx context.Context, method, path string, body, result any) error {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if result == nil || resp.StatusCode == http.StatusNoContent {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(result); err != nil {
		return fmt.Errorf("reading the answer of %s %s: %w", method, path, err)
	}
	return nil
}

// send returns the open answer, or an error when it says no.
func (c *client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return nil, badInput(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, environment(&connect.Error{
			Code: "rest.unreachable", Place: c.base, Message: "the worker cannot be reached", Cause: err,
			Mend: "is it running there? --server names another address",
		})
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	var said struct{ Message string }
	if json.Unmarshal(text, &said) != nil || said.Message == "" {
		said.Message = string(text)
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, environment(&connect.Error{
			Code: "rest.unauthorized", Place: c.base, Message: "the worker asks who you are",
			Mend: "set TIDEMILL_LOGIN_USER and TIDEMILL_LOGIN_PASSWORD, or TIDEMILL_LOGIN_TOKEN",
		})
	}
	return nil, &restError{resp.StatusCode, said.Message}
}

// connectorStatus is the answer of GET /connectors/{name}/status.
type connectorStatus struct {
	Name      string
	Connector struct{ State, Trace string }
	Tasks     []struct {
		ID           int
		State, Trace string
	}
}

// failed returns what the first failed part says, "" when none has failed.
func (s connectorStatus) failed() string {
	if s.Connector.State == "FAILED" {
		return s.Connector.Trace
	}
	for _, t := range s.Tasks {
		if t.State == "FAILED" {
			return t.Trace
		}
	}
	return ""
}

func (s connectorStatus) running() bool {
	for _, t := range s.Tasks {
		if t.State != "RUNNING" {
			return false
		}
	}
	return s.Connector.State == "RUNNING" && len(s.Tasks) > 0
}

// createConnector registers a connector as its configuration file has it.
func (c *client) createConnector(ctx context.Context, name string, config map[string]string) error {
	body := map[string]any{"name": name, "config": config}
	return c.call(ctx, http.MethodPost, "/connectors", body, nil)
}

func (c *client) status(ctx context.Context, name string) (connectorStatus, error) {
	var s connectorStatus
	err := c.call(ctx, http.MethodGet, "/connectors/"+url.PathEscape(name)+"/status", nil, &s)
	return s, err
}

// waitRunning waits until the connector and its tasks run, or one has failed.
func (c *client) waitRunning(ctx context.Context, name string) error {
	return until(ctx, name+" to run", func() (bool, error) {
		s, err := c.status(ctx, name)
		if e, ok := err.(*restError); ok && e.status == http.StatusNotFound {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if why := s.failed(); why != "" {
			first, _, _ := strings.Cut(why, "\n")
			return false, fmt.Errorf("connector %s failed: %s", name, first)
		}
		return s.running(), nil
	})
}

// ksql runs statements and returns the entities ksqlDB's interface answers with.
func (c *client) ksql(ctx context.Context, statements string) ([]map[string]any, error) {
	var entities []map[string]any
	body := map[string]any{"ksql": statements, "streamsProperties": map[string]string{"auto.offset.reset": "earliest"}}
	err := c.call(ctx, http.MethodPost, "/ksql", body, &entities)
	return entities, err
}

// query runs a pull query and returns its rows.
func (c *client) query(ctx context.Context, sql string) ([][]any, error) {
	var messages []struct {
		Row          *struct{ Columns []any }
		ErrorMessage *struct{ Message string } `json:"errorMessage"`
	}
	if err := c.call(ctx, http.MethodPost, "/query", map[string]any{"ksql": sql}, &messages); err != nil {
		return nil, err
	}
	var rows [][]any
	for _, m := range messages {
		if m.ErrorMessage != nil {
			return nil, fmt.Errorf("query failed: %s", m.ErrorMessage.Message)
		}
		if m.Row != nil {
			rows = append(rows, m.Row.Columns)
		}
	}
	return rows, nil
}
