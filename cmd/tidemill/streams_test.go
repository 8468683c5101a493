package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tidemill/tidemill/internal/devstack"
)

// TestStreamsReset asks about an application that never ran, in both formats, and asks
// in ways that are wrong.
func TestStreamsReset(t *testing.T) {
	broker := devstack.TestKafka(t)[0]
	for _, c := range []struct {
		args []string
		code int
		out  string
	}{
		{[]string{"nobody", "--dry-run"}, exitOK, "application nobody\n  there is nothing of it\nnothing was changed: --dry-run\n"},
		{[]string{"nobody"}, exitOK, "application nobody\n  there is nothing of it\n"},
		{[]string{"nobody", "--to-datetime", "yesterday"}, exitBadInput, ""},
		{[]string{"nobody", "--to-latest", "--to-datetime", "2026-01-01T00:00:00Z"}, exitInternal, ""},
		{nil, exitBadInput, ""},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"streams", "reset", "--brokers", broker}, c.args...)
		if code := run(args, &out, &errs); code != c.code || out.String() != c.out {
			t.Errorf("%v: exit code %d, printed %q, %s", args, code, out.String(), errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := run([]string{"streams", "reset", "nobody", "--brokers", broker, "-o", "json"}, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var plan map[string]any
	if err := json.Unmarshal(out.Bytes(), &plan); err != nil || plan["application"] != "nobody" || plan["done"] != true || strings.Contains(out.String(), "null") {
		t.Errorf("printed %s, %v", out.String(), err)
	}
}
