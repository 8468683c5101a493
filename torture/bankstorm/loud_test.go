package bankstorm

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tidemill/tidemill/torture/chaos"
)

// TestLoudStorm loses the slot, the publication and the server: each time the connector
// says what is missing, goes on after the remedy that it names, and nothing else is
// wrong.
func TestLoudStorm(t *testing.T) {
	binary, temp := builtBinary(t), openTemp(t)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	plan := chaos.Plan{
		{Class: "slot.lost", Pick: 16}, // The server gives it up; the gap is accepted, and the tables are read by a signal.
		{Class: "pub.drop", Hold: 100 * time.Millisecond},
		{Class: "pg.promote"}, // The standby lacks what was committed last.
	}
	result, err := Run(ctx, Options{
		Seed: 2, Binary: binary, Out: filepath.Join(temp, "out"), Duration: time.Hour, Patience: 4 * time.Minute, TPS: 50, Plan: plan,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !result.OK() || result.Faults != len(plan) || len(result.Loud) != len(plan) {
		t.Fatalf("%s\n%s", result.JSON(), result.Explain())
	}
	if e := result.Loud[0]; !slices.Equal(e.Codes, []string{"pg.slot.lost"}) || !slices.Equal(e.Remedies, []string{"accept-gap"}) {
		t.Errorf("%+v", e)
	}
	if e := result.Loud[1]; !slices.Contains(e.Codes, "pg.publication.missing_at_lsn") || !slices.Contains(e.Remedies, "resnapshot") {
		t.Errorf("%+v", e)
	}
	if left, err := filepath.Glob(filepath.Join(temp, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	t.Log(result.JSON())
}

// TestWhatErrorsSay reads what a connector says when something is missing.
func TestWhatErrorsSay(t *testing.T) {
	text := "pg.slot.missing: storm: the replication slot is gone, but an offset is stored; this concerns the log from 0/15F8 to 1/2A (4294960690 bytes) → " +
		"POST /connectors/bank/remedies/resnapshot reads the captured tables anew; POST /connectors/bank/remedies/accept-gap goes on\n\tat worker"
	if code := saidCode.FindString(text); code != "pg.slot.missing" {
		t.Error(code)
	}
	if said := saidRange.FindStringSubmatch(text); said == nil || lsnOf(said[1]) != 0x15F8 || lsnOf(said[2]) != 1<<32+0x2A {
		t.Error(said)
	}
	if names := saidRemedy.FindAllStringSubmatch(text, -1); len(names) != 2 || names[0][1] != "resnapshot" || names[1][1] != "accept-gap" {
		t.Error(names)
	}
}
