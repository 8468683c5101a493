package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/devstack"
	"github.com/tidemill/tidemill/worker"
)

// TestOffsetsCommand resets the offsets of a PostgreSQL source by mistake and puts them back:
// it goes on where it was, without a new snapshot. Where its slot has nothing any more it
// refuses to go.
func TestOffsetsCommand(t *testing.T) {
	dsn := devstack.TestPostgres(t)
	execAll(t, dsn, "CREATE TABLE ledger (id int PRIMARY KEY); INSERT INTO ledger VALUES (1)")
	base := runNode(t, "offsets-command")
	c := newClient(base)
	ctx := timeout(t, 3*time.Minute)
	config := debeziumConfig(t, dsn)
	config["topic.prefix"], config["slot.name"] = "offsets-command", "offsets_command"
	config["topic.creation.default.replication.factor"], config["topic.creation.default.partitions"] = "1", "1"
	if err := c.createConnector(ctx, "bank", config); err != nil {
		t.Fatal(err)
	}
	// tidemill runs a command and returns its exit code and what it printed.
	tidemill := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := run(append(args, "--url", base), &out, &errs)
		return code, out.String() + errs.String()
	}
	await := func(what string, done func() (bool, error)) {
		t.Helper()
		if err := until(ctx, what, done); err != nil {
			t.Fatal(err)
		}
	}
	ids := func(want string) {
		t.Helper()
		var got []string
		await("the rows "+want, func() (bool, error) {
			code, text := tidemill("peek", "bank", "--topic", "offsets-command.public.ledger", "-o", "json")
			if code != exitOK {
				return false, nil // The topic comes with the first row.
			}
			got = nil
			for dec := json.NewDecoder(strings.NewReader(text)); dec.More(); {
				var p struct {
					Value struct {
						Op    string
						After struct{ ID int }
					}
				}
				if err := dec.Decode(&p); err != nil {
					return false, err
				}
				got = append(got, fmt.Sprint(p.Value.Op, p.Value.After.ID))
			}
			return strings.Join(got, " ") == want, nil
		})
	}
	halt := func() {
		t.Helper()
		if err := c.call(ctx, "PUT", "/connectors/bank/stop", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	reset := func() {
		t.Helper()
		await("the offsets to be reset", func() (bool, error) {
			return c.call(ctx, "DELETE", "/connectors/bank/offsets", nil, nil) == nil, nil
		})
	}
	ids("r1")
	execAll(t, dsn, "INSERT INTO ledger VALUES (2)")
	ids("r1 c2")
	if code, text := tidemill("offsets", "history", "bank"); code != exitOK || text != "nobody has changed the offsets\n" {
		t.Errorf("%d %s", code, text)
	}
	halt()
	reset()
	var told struct{ History []worker.PastOffsets }
	code, text := tidemill("offsets", "history", "bank", "-o", "json")
	if err := json.Unmarshal([]byte(text), &told); err != nil || code != exitOK || len(told.History) != 1 || told.History[0].Change != "reset" || len(told.History[0].Offsets) != 1 {
		t.Fatalf("%d %s", code, text)
	}
	if code, text := tidemill("offsets", "history", "bank"); code != exitOK || !strings.Contains(text, `reset  {"server":"offsets-command"}  {"`) {
		t.Errorf("%d %s", code, text)
	}
	if code, text := tidemill("offsets", "rewind", "bank", "1", "--dry-run"); code != exitOK || !strings.HasPrefix(text, `{"server":"offsets-command"}: null → {"`) || !strings.HasSuffix(text, "Nothing was changed: this is what would be\n") {
		t.Errorf("%d %s", code, text)
	}
	if code, text := tidemill("offsets", "rewind", "bank", "1"); code != exitOK || !strings.Contains(text, "rewound successfully") {
		t.Fatalf("%d %s", code, text)
	}
	execAll(t, dsn, "INSERT INTO ledger VALUES (3)")
	if err := c.call(ctx, "PUT", "/connectors/bank/resume", nil, nil); err != nil {
		t.Fatal(err)
	}
	ids("r1 c2 c3")

	halt()
	reset()
	if code, text := tidemill("offsets", "rewind", "bank", "3", "--dry-run"); code != exitOK {
		t.Errorf("%d %s", code, text)
	}
	execAll(t, dsn, "INSERT INTO ledger VALUES (4);\nSELECT pg_replication_slot_advance('offsets_command', pg_current_wal_lsn())")
	for _, args := range [][]string{{"1"}, {"3"}, {"3", "--dry-run"}} {
		code, text := tidemill(append([]string{"offsets", "rewind", "bank"}, args...)...)
		if code != exitBadInput || !strings.Contains(text, "the slot is ahead of the stored offset") || !strings.Contains(text, "/remedies/resnapshot") || strings.Contains(text, "accept-gap") {
			t.Errorf("%v: %d %s", args, code, text)
		}
	}
	var now struct{ Offsets []worker.OffsetEntry }
	if err := c.call(ctx, "GET", "/connectors/bank/offsets", nil, &now); err != nil || len(now.Offsets) != 0 {
		t.Errorf("%v, a refused rewind has left %s", err, now.Offsets)
	}
	for _, args := range [][]string{{"offsets", "history", "nobody"}, {"offsets", "rewind", "bank", "first"}, {"offsets", "rewind", "bank", "9"}, {"offsets", "rewind", "bank"}} {
		if code, text := tidemill(args...); code != exitBadInput {
			t.Errorf("%v: exit code %d: %s", args, code, text)
		}
	}
}
