package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/rest"
)

// runNode runs a worker in this process until the test ends, with further settings given as
// names and values by turns, and returns where its REST interface is.
func runNode(t *testing.T, group string, more ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	base := fmt.Sprintf("http://127.0.0.1:%d", freePorts(t, 1)[0])
	raw := connect.Config{
		"bootstrap.servers": strings.Join(devstack.TestKafka(t), ","), "group.id": group, "listeners": base, "plugin.state.dir": t.TempDir(), "offset.flush.interval.ms": "50",
		"key.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter": "org.apache.kafka.connect.json.JsonConverter",
		"config.storage.topic": group + "-configs", "config.storage.replication.factor": "1",
		"offset.storage.topic": group + "-offsets", "offset.storage.replication.factor": "1", "offset.storage.partitions": "3",
		"status.storage.topic": group + "-status", "status.storage.replication.factor": "1",
	}
	for i := 0; i < len(more); i += 2 {
		raw[more[i]] = more[i+1]
	}
	n, err := newNode(nodeOptions{raw: raw})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	err = until(timeout(t, time.Minute), "the worker", func() (bool, error) {
		var health struct{ Status string }
		return newClient(base).call(ctx, "GET", "/health", nil, &health) == nil && health.Status == "healthy", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// TestLogsCommand shows what a task has logged.
func TestLogsCommand(t *testing.T) {
	base := runNode(t, "logs-command")
	c := newClient(base)
	ctx := timeout(t, time.Minute)
	if err := c.createConnector(ctx, "rows", map[string]string{"connector.class": "tidemill.Datagen", "topic": "logs-command", "rows": "1", "topic.creation.default.replication.factor": "1", "topic.creation.default.partitions": "1"}); err != nil {
		t.Fatal(err)
	}
	var line rest.LogLine
	err := until(ctx, "a line", func() (bool, error) {
		var out, errs bytes.Buffer
		if code := run([]string{"logs", "rows", "--task", "0", "-n", "1", "--url", base, "-o", "json"}, &out, &errs); code != exitOK {
			return false, fmt.Errorf("%d: %s", code, errs.String())
		}
		if out.Len() == 0 {
			return false, nil
		}
		return true, json.Unmarshal(out.Bytes(), &line)
	})
	if err != nil {
		t.Fatal(err)
	}
	if line.Message != "created topic" || line.Fields["topic"] != "logs-command" || line.Logger != "tidemill.worker" {
		t.Errorf("it is %+v", line)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"logs", "rows", "--url", base}, &out, &errs); code != exitOK || !strings.Contains(out.String(), " INFO  task 0 created topic partitions=1 ") {
		t.Errorf("%d\n%s%s", code, out.String(), errs.String())
	}
	for _, args := range [][]string{{"logs", "nobody"}, {"logs", "rows", "--level", "loud"}, {"logs"}} {
		if code := run(append(args, "--url", base), &out, &errs); code != exitBadInput {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}
