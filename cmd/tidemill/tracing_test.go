package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/internal/testenv/otlp"
)

// TestTraceFromLogToSink commits a row to PostgreSQL, which goes over Kafka into a file, and
// follows its traces there: from the header of its record to the poll, with its position and
// its age, and from the batch of the sink that put it there.
func TestTraceFromLogToSink(t *testing.T) {
	t.Setenv("TRACE_KEY", "canary-of-traces")
	dsn, to, dir := devstack.TestPostgres(t), otlp.Start(t), t.TempDir()
	execAll(t, dsn, "CREATE TABLE ledger (id bigint PRIMARY KEY, note text); INSERT INTO ledger VALUES (1, 'early')")
	base := runNode(t, "traces", "tracing.endpoint", to.URL, "tracing.record.headers", "true", "tracing.service.name", "mill",
		"tracing.headers", "x-key=${env:TRACE_KEY}", "config.providers", "env", "config.providers.env.class", "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
		settingFileDirs, dir)
	ctx, c, file := timeout(t, 4*time.Minute), newClient(base), filepath.Join(dir, "ledger")
	source := debeziumConfig(t, dsn)
	source["topic.prefix"] = "traces"
	source["topic.creation.default.replication.factor"], source["topic.creation.default.partitions"] = "1", "1"
	for name, config := range map[string]map[string]string{
		"traces-source": source,
		"traces-sink": {
			"connector.class": "tidemill.FileSink", "topics": "traces.public.ledger", "file": file, "format": "json",
			"value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false",
			"key.converter": "org.apache.kafka.connect.json.JsonConverter", "key.converter.schemas.enable": "false",
		},
	} {
		if err := c.createConnector(ctx, name, config); err != nil {
			t.Fatal(err)
		}
		if err := c.waitRunning(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	// What is written before the snapshot is a part of it.
	rowWith(ctx, t, file, "early")
	execAll(t, dsn, "INSERT INTO ledger VALUES (7, 'followed')")
	m := regexp.MustCompile(`00-([0-9a-f]{32})-([0-9a-f]{16})-01`).FindStringSubmatch(rowWith(ctx, t, file, "followed"))
	if m == nil {
		t.Fatal("the record has no context")
	}
	trace, span := m[1], m[2]
	var found []otlp.Span
	one := func(of func(otlp.Span) bool) *otlp.Span {
		if i := slices.IndexFunc(found, of); i >= 0 {
			return &found[i]
		}
		return nil
	}
	var poll, produce, commit, sink, put *otlp.Span
	err := until(ctx, "the spans", func() (bool, error) {
		found = to.Spans()
		poll = one(func(s otlp.Span) bool { return s.Trace == trace && s.Name == "poll" })
		produce = one(func(s otlp.Span) bool { return s.Trace == trace && s.ID == span })
		commit = one(func(s otlp.Span) bool { return s.Trace == trace && s.Name == "commit" })
		sink = one(func(s otlp.Span) bool { return slices.Contains(s.Links, trace+"/"+span) })
		if sink != nil {
			put = one(func(s otlp.Span) bool { return s.Parent == sink.ID && s.Name == "put" })
		}
		return poll != nil && produce != nil && commit != nil && put != nil, nil
	})
	if err != nil {
		t.Fatalf("%v: %+v", err, found)
	}
	var offset struct{ LSN uint64 }
	text, _ := poll.Attributes["tidemill.offset.last"].(string)
	if err := json.Unmarshal([]byte(text), &offset); err != nil || offset.LSN == 0 {
		t.Errorf("the position is %q: %v", text, err)
	}
	at, err := time.Parse(time.RFC3339Nano, poll.Attributes["tidemill.committed"].(string))
	if lag, _ := poll.Attributes["tidemill.lag.seconds"].(float64); err != nil || lag <= 0 || !at.Before(poll.Ended) {
		t.Errorf("it was committed at %v and is %v old when polled: %v", at, lag, err)
	}
	if produce.Name != "produce" || sink.Name != "sink batch" || sink.Attributes["tidemill.connector"] != "traces-sink" || put.Ended.Before(at) || poll.Resource["service.name"] != "mill" {
		t.Errorf("they are %+v, %+v and %+v", produce, sink, put)
	}
	if _, headers := to.Asked(); headers.Get("X-Key") != "canary-of-traces" {
		t.Errorf("requests have %v", headers)
	}
}

// rowWith waits for a line with a word in a file.
func rowWith(ctx context.Context, t *testing.T, file, word string) (row string) {
	t.Helper()
	err := until(ctx, "the row "+word, func() (bool, error) {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			return false, nil
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, word) && strings.HasSuffix(line, "\n") {
				row = line
			}
		}
		return row != "", err
	})
	if err != nil {
		t.Fatal(err)
	}
	return row
}
