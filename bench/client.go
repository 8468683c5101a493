package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// created makes a connector.
func (e *engine) created(ctx context.Context, name string, config map[string]string) error {
	text, err := json.Marshal(map[string]any{"name": name, "config": config})
	if err != nil {
		return err
	}
	return e.do(ctx, http.MethodPost, "/connectors", text)
}

// deleted removes a connector and waits until its task is gone.
func (e *engine) deleted(ctx context.Context, name string) error {
	if err := e.do(ctx, http.MethodDelete, "/connectors/"+name, nil); err != nil {
		return err
	}
	for {
		resp, err := e.get(ctx, "/connectors/"+name+"/status")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusNotFound {
			return nil
		}
		if err := e.process.pause(ctx); err != nil {
			return err
		}
	}
}

// healthy fails when a task of the connector has failed.
func (e *engine) healthy(ctx context.Context, connector string) error {
	resp, err := e.get(ctx, "/connectors/"+connector+"/status")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var s struct {
		Connector struct{ State, Trace string }
		Tasks     []struct{ State, Trace string }
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil // Its status is not written yet.
	}
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return err
	}
	for _, t := range append(s.Tasks, s.Connector) {
		if t.State == "FAILED" {
			return fmt.Errorf("%s: the connector failed: %s", e.name, t.Trace)
		}
	}
	return nil
}

func (e *engine) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+path, nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(req)
}

// do sends a request; while a worker's group rebalances, as Kafka Connect's does when it
// has just started, it answers 409 and is asked again.
func (e *engine) do(ctx context.Context, method, path string, body []byte) error {
	for {
		req, err := http.NewRequestWithContext(ctx, method, e.url+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		var said bytes.Buffer
		_, _ = said.ReadFrom(resp.Body)
		resp.Body.Close()
		switch {
		case resp.StatusCode < 300:
			return nil
		case resp.StatusCode != http.StatusConflict || !strings.Contains(said.String(), "rebalance"):
			return fmt.Errorf("%s: %s %s: %d %s", e.name, method, path, resp.StatusCode, said.String())
		}
		if err := e.process.pause(ctx); err != nil {
			return err
		}
	}
}

// allocated returns how many objects and bytes the engine has allocated so far.
func (e *engine) allocated(ctx context.Context) (objects, size float64) {
	resp, err := e.get(ctx, "/metrics")
	if err != nil {
		return 0, 0
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "go_memstats_mallocs_total":
			objects, _ = strconv.ParseFloat(value, 64)
		case "go_memstats_alloc_bytes_total":
			size, _ = strconv.ParseFloat(value, 64)
		}
	}
	return objects, size
}
