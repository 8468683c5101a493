package worker

import (
	"bufio"
	"encoding/json"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/kafkalog"
)

// TestGoldenTopics reads what a worker of Kafka Connect has written to its three topics,
// and writes it again. The file is from a run of make test-takeover with the variable
// TIDEMILL_TEST_GOLDEN=worker/testdata.
func TestGoldenTopics(t *testing.T) {
	file, err := os.Open("testdata/kafka-connect.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	kinds := map[string]int{}
	for lines.Scan() {
		parts := strings.SplitN(lines.Text(), "\t", 3)
		if len(parts) < 3 || parts[2] == "tombstone" {
			continue
		}
		// Versions before 4.1 do not write the version of a plugin, and nobody needs an empty one.
		key, value := parts[1], strings.Replace(parts[2], `,"version":null`, "", 1)
		kind, again := rewritten(t, parts[0], key, value)
		kinds[kind]++
		if string(again.Key) != key {
			t.Errorf("the key %s is written as %s", key, again.Key)
		}
		// Kafka Connect writes settings in no certain order.
		if got := string(again.Value); got != value && (kind != connectorPrefix && kind != taskPrefix || !sameJSON(t, got, value)) {
			t.Errorf("%s: the value\n%s is written as\n%s", key, value, got)
		}
	}
	for _, kind := range []string{
		connectorPrefix, taskPrefix, commitPrefix, targetPrefix, fencingPrefix, sessionKeyName,
		statusConnectorPrefix, statusTaskPrefix, statusTopicPrefix, "offsets",
	} {
		if kinds[kind] == 0 {
			t.Errorf("the file has no %s", kind)
		}
	}
}

// rewritten reads a record and returns what kind it is of, and what we would write.
func rewritten(t *testing.T, topic, key, value string) (kind string, e kafkalog.Entry) {
	t.Helper()
	read := kafkalog.Record{Key: []byte(key), Value: []byte(value)}
	switch topic {
	case "offsets":
		connector, p, err := parseOffsetKey(read.Key)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		s := newOffsetStore()
		s.apply(read)
		return topic, kafkalog.Entry{Key: offsetKey(connector, p), Value: s.get(connector, p)}
	case "status":
		return rewrittenStatus(t, key, read)
	}
	for _, prefix := range []string{connectorPrefix, taskPrefix, commitPrefix, targetPrefix, fencingPrefix, restartPrefix} {
		if name, ok := strings.CutPrefix(key, prefix); ok {
			return prefix, rewrittenConfig(t, prefix, name, read)
		}
	}
	if key != sessionKeyName {
		t.Fatalf("a record that is not known: %s %s", key, value)
	}
	s := newConfigState()
	s.apply(read)
	return key, kafkalog.Entry{Key: []byte(sessionKeyName), Value: appendJSON(nil, s.key)}
}

// rewrittenConfig does so for a record of the config topic.
func rewrittenConfig(t *testing.T, prefix, name string, read kafkalog.Record) kafkalog.Entry {
	t.Helper()
	s := newConfigState()
	if prefix != connectorPrefix && prefix != taskPrefix {
		s.apply(kafkalog.Record{Key: []byte(connectorPrefix + name), Value: []byte(`{"properties":{"name":"x"}}`)})
	}
	switch prefix {
	case connectorPrefix:
		s.apply(read)
		return connectorEntry(name, s.connectors[name].config)
	case taskPrefix:
		s.apply(read)
		dash := strings.LastIndexByte(name, '-')
		number, err := strconv.Atoi(name[dash+1:])
		if err != nil {
			t.Fatal(err)
		}
		id := TaskID{name[:dash], number}
		return taskEntry(id, s.deferred[id.Connector][number])
	case commitPrefix:
		var v struct{ Tasks int }
		if err := json.Unmarshal(read.Value, &v); err != nil {
			t.Fatal(err)
		}
		for i := range v.Tasks {
			s.apply(taskRecord(name, i))
		}
		s.apply(read)
		return commitEntry(name, len(s.connectors[name].tasks))
	case targetPrefix:
		s.apply(read)
		return targetEntry(name, s.target(name))
	case fencingPrefix:
		s.apply(read)
		return fencingEntry(name, s.fenced[name])
	}
	return restartEntry(name, *s.apply(read).restart)
}

func taskRecord(name string, number int) kafkalog.Record {
	e := taskEntry(TaskID{name, number}, nil)
	return kafkalog.Record{Key: e.Key, Value: []byte(`{"properties":{"n":"1"}}`)}
}

// rewrittenStatus does so for a record of the status topic.
func rewrittenStatus(t *testing.T, key string, read kafkalog.Record) (kind string, e kafkalog.Entry) {
	t.Helper()
	s := newStatusStore("w", nil)
	s.apply(read)
	e.Key = []byte(key)
	if _, ok := strings.CutPrefix(key, statusTopicPrefix); ok {
		for name, topics := range s.topics {
			for topic, use := range topics {
				e.Key, e.Value = []byte(statusTopicPrefix+topic+topicConnector+name), appendJSON(nil, use)
			}
		}
		return statusTopicPrefix, e
	}
	for name, r := range s.connectors {
		return statusConnectorPrefix, kafkalog.Entry{Key: []byte(statusConnectorPrefix + name), Value: appendJSON(nil, r)}
	}
	for id, r := range s.tasks.all() {
		return statusTaskPrefix, kafkalog.Entry{Key: []byte(statusTaskPrefix + id.String()), Value: appendJSON(nil, r)}
	}
	t.Fatalf("%s = %s is not read", key, read.Value)
	return "", e
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}
