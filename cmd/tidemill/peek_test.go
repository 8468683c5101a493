package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/worker"
)

// TestPeekCommand shows what a connector has written.
func TestPeekCommand(t *testing.T) {
	base := runNode(t, "peek-command")
	c := newClient(base)
	ctx := timeout(t, time.Minute)
	if err := c.createConnector(ctx, "rows", map[string]string{"connector.class": "tidemill.Datagen", "topic": "peek-command", "rows": "5", "topic.creation.default.replication.factor": "1", "topic.creation.default.partitions": "1"}); err != nil {
		t.Fatal(err)
	}
	var p worker.Peeked
	err := until(ctx, "the last record", func() (bool, error) {
		var out, errs bytes.Buffer
		if code := run([]string{"peek", "rows", "-n", "1", "--url", base, "-o", "json"}, &out, &errs); code != exitOK {
			return false, fmt.Errorf("%d: %s", code, errs.String())
		}
		if out.Len() == 0 {
			return false, nil
		}
		p = worker.Peeked{}
		err := json.Unmarshal(out.Bytes(), &p)
		return p.Offset == 4, err
	})
	if err != nil {
		t.Fatal(err)
	}
	var value map[string]any
	if err := json.Unmarshal(p.Value, &value); err != nil || p.Topic != "peek-command" || len(value) == 0 {
		t.Errorf("%v, it is %+v %s", err, p, p.Value)
	}
	var out, errs bytes.Buffer
	if code := run([]string{"peek", "rows", "--topic", "peek-command", "--url", base}, &out, &errs); code != exitOK || strings.Count(out.String(), "\n") != 5 || !strings.Contains(out.String(), " peek-command-0@4 ") {
		t.Errorf("%d\n%s%s", code, out.String(), errs.String())
	}
	for _, args := range [][]string{{"peek", "nobody"}, {"peek", "rows", "-n", "0"}, {"peek", "rows", "--topic", "theirs"}, {"peek"}} {
		if code := run(append(args, "--url", base), &out, &errs); code != exitBadInput {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}
